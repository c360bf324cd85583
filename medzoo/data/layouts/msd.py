"""`msd`: a task of the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022).

`dataset.json` names the pairs (`training`), the labels by value and the modalities; scans of several
modalities are one 4D file, channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medzoo.data.dataset import DataEntry, Item, Sample
from medzoo.data.volumes import Described, DescribedParams, inside
from medzoo.errors import UserError
from medzoo.io.read import read_image
from medzoo.io.sequences import read_stacked
from medzoo.types import Image


class Msd(Described):
    """Items are the training pairs of dataset.json; group "case"."""

    def items(self) -> Sequence[Item]:
        pairs = self.document.get("training")
        if not isinstance(pairs, list) or not all(isinstance(p, dict) and {"image", "label"} <= set(p) for p in pairs):
            raise UserError('has no list "training" of images and labels', self.where)
        assert self.table
        items = []
        for pair in pairs:
            files = {role: inside(self.params.root, str(pair[role]), self.where) for role in ("image", "label")}
            case = files["image"].name.removesuffix(".gz").removesuffix(".nii")
            items.append(Item(case, files, {"case": case}))
        return sorted(items, key=lambda item: item.id)

    def load(self, item: Item) -> Sample:
        return self.labelled(item, self._read(item.files["image"]))

    def _read(self, path: Path) -> Image:
        modalities = self.document.get("modality") or {"0": ""}
        if len(modalities) == 1:
            return read_image(path, kind="volume")
        return read_stacked(path, len(modalities))


ENTRY = DataEntry(params=DescribedParams, tasks=("segment",), open=Msd, image="scan")
