"""`nnunet`: a raw data folder of nnU-Net, version 1 or 2 (Isensee et al., Nature Methods 2021).

`imagesTr/CASE_0000.nii.gz`, one file a channel, and `labelsTr/CASE.nii.gz`; `dataset.json` names channels
(`channel_names`, in version 1 `modality`), labels and `file_ending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.data.volumes import (
    Values,
    check_values,
    index_labels,
    label_table,
    named_values,
    read_channels,
    read_description,
)
from medzoo.errors import UserError
from medzoo.io.read import read_labels


class NnunetParams(DataParams):
    """Where the raw folder lies, and how its labels are called here."""

    root: Path = Field(description="folder DatasetNNN_Name (or TaskNNN_Name) that holds dataset.json")
    values: Values | None = Field(
        None, description="values of the label maps by label of the recipe; else they are found by name"
    )


class Nnunet:
    """Items are the cases of labelsTr; group "case"."""

    def __init__(self, params: NnunetParams, task: str, labels: Sequence[str]) -> None:
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
        channels = self.document.get("channel_names") or self.document.get("modality")
        if not isinstance(channels, dict) or not channels:
            raise UserError("has neither channel_names nor modality", self.where)
        ending = str(self.document.get("file_ending", ".nii.gz"))
        folder = self.params.root / "labelsTr"
        labels = sorted(path for path in folder.glob(f"*{ending}") if path.is_file())
        if not labels:
            raise UserError(f"holds no label map *{ending}", str(folder))
        assert self.table
        items = []
        for label in labels:
            case = label.name.removesuffix(ending)
            files = {"label": label}
            for number in range(len(channels)):
                path = self.params.root / "imagesTr" / f"{case}_{number:04d}{ending}"
                if not path.is_file():
                    raise UserError("no such file", str(path), f"channel {number} of the case {case}")
                files[f"channel-{number}"] = path
            items.append(Item(case, files, {"case": case}))
        return items

    def load(self, item: Item) -> Sample:
        image = read_channels([path for role, path in item.files.items() if role.startswith("channel-")])
        stored = read_labels(item.files["label"], like=image).array[0]
        target = index_labels(stored, self.labels, self.table, where=str(item.files["label"]))
        return Sample(item, image, target)


ENTRY = DataEntry(params=NnunetParams, tasks=("segment",), open=Nnunet, image="scan")
