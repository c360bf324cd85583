"""`msd`: a task of the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022).

`dataset.json` names the pairs (`training`), the labels by value and the modalities; scans of several
modalities are one 4D file, channels last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medzoo.data.dataset import DataEntry, Item, Sample
from medzoo.data.file_names import distinct_names, refuse_hidden
from medzoo.data.sighting import Listing, Sighting
from medzoo.data.volumes import DatasetJson, DatasetJsonParams, described, file_inside
from medzoo.errors import UserError
from medzoo.io.read import read_image
from medzoo.io.sequences import read_stacked
from medzoo.types import Image


class Msd(DatasetJson):
    """Items are the training pairs of dataset.json, called after the image's file, or after its path where several
    files share a name; group "case"."""

    def items(self) -> Sequence[Item]:
        pairs = self.document.get("training")
        if not isinstance(pairs, list) or not all(isinstance(p, dict) and {"image", "label"} <= set(p) for p in pairs):
            raise UserError('has no list "training" of images and labels', self.where)
        assert self.table
        files = [self._files(pair) for pair in pairs]
        images = [pair["image"] for pair in files]
        repeated = [path for path, count in Counter(path.resolve() for path in images).items() if count > 1]
        if repeated:
            raise UserError(f"lists {repeated[0].name} more than once in training", self.where, "list each pair once")
        cases = distinct_names(images, self.params.root, short=_file_stem)
        items = [Item(case, pair, self.groups(case)) for case, pair in zip(cases, files, strict=True)]
        return sorted(items, key=lambda item: item.id)

    def _files(self, pair: dict[str, object]) -> dict[str, Path]:
        for role in ("image", "label"):
            refuse_hidden(str(pair[role]), self.where)
        return {role: file_inside(self.params.root, str(pair[role]), self.where) for role in ("image", "label")}

    def load(self, item: Item) -> Sample:
        return self.labelled(item, self._read(item.files["image"]))

    def _read(self, path: Path) -> Image:
        modalities = self.document.get("modality") or {"0": ""}
        if len(modalities) == 1:
            return read_image(path, kind="volume")
        return read_stacked(path, len(modalities))


def _file_stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")


def recognise(listing: Listing) -> Sighting | None:
    """A dataset.json with a list of training pairs."""
    return described(
        listing, lambda document: isinstance(document.get("training"), list) and _pairs(document["training"])
    )


def _pairs(rows: list[Any]) -> bool:
    return bool(rows) and all(isinstance(row, dict) and {"image", "label"} <= set(row) for row in rows)


ENTRY = DataEntry(params=DatasetJsonParams, tasks=("segment",), open=Msd, image="scan", recognise=recognise)
