"""`msd`: a task of the Medical Segmentation Decathlon (Antonelli et al., Nature Communications 2022).

`dataset.json` names the pairs (`training`), the labels by value and the modalities; scans of several
modalities are one 4D file, channels last.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.data.volumes import (
    Values,
    check_values,
    index_labels,
    inside,
    label_table,
    named_values,
    read_description,
)
from medzoo.errors import UserError
from medzoo.io.read import read_image, read_labels
from medzoo.types import Image


class MsdParams(DataParams):
    """Where the task lies, and how its labels are called here."""

    root: Path = Field(description="folder that holds dataset.json, imagesTr and labelsTr")
    values: Values | None = Field(
        None, description="values of the label maps by label of the recipe; else they are found by name"
    )


class Msd:
    """Items are the training pairs of dataset.json; group "case"."""

    def __init__(self, params: MsdParams, task: str, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        self.where = str(params.root / "dataset.json")

    @cached_property
    def document(self) -> Any:
        return read_description(self.params.root / "dataset.json")

    @cached_property
    def table(self) -> Values:
        if self.params.values is not None:
            return check_values(self.labels, self.params.values)
        return label_table(self.labels, named_values(self.document, self.where), where=self.where)

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
        image = self._read(item.files["image"])
        stored = read_labels(item.files["label"], like=image).array[0]
        target = index_labels(stored, self.labels, self.table, where=str(item.files["label"]))
        return Sample(item, image, target)

    def _read(self, path: Path) -> Image:
        modalities = self.document.get("modality") or {"0": ""}
        if len(modalities) == 1:
            return read_image(path, kind="volume")
        import nibabel
        from nibabel.filebasedimages import ImageFileError

        try:
            stored: Any = nibabel.load(path)
        except (OSError, ImageFileError) as error:
            raise UserError(f"cannot be read: {error}", str(path)) from error
        if len(stored.shape) != 4 or stored.shape[3] != len(modalities):
            size = " x ".join(map(str, stored.shape))
            raise UserError(f"has the shape {size}, dataset.json names {len(modalities)} modalities", str(path))
        channels = [read_image(stored.slicer[..., c], kind="volume") for c in range(len(modalities))]
        array = np.concatenate([channel.array for channel in channels])
        return channels[0].replace(array=array, source=str(path))


ENTRY = DataEntry(params=MsdParams, tasks=("segment",), open=Msd, image="scan")
