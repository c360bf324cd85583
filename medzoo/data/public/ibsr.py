"""`ibsr`: the Internet Brain Segmentation Repository, V2.0: 18 T1-weighted brains with expert tissue maps.

`IBSR_nn/IBSR_nn_{ana,ana_strip,ana_brainmask,segTRI_ana,segTRI_fill_ana}.nii.gz`, (256, 128, 256, 1). The
data are gated (NITRC) and never part of medzoo. Its fluid inside the sulci is counted as grey matter; in
segTRI_fill it is filled in. Which of the two a score belongs to is therefore part of the item.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.errors import UserError
from medzoo.io.nifti import read_nifti
from medzoo.io.read import read_image, read_labels

LABELS = ("background", "csf", "grey-matter", "white-matter")
_FOLDER = re.compile(r"IBSR_(\d\d)")


class IbsrParams(DataParams):
    """Parameters of `ibsr`: the files of the repository that are read."""

    root: Path = Field(description="folder that holds IBSR_01 to IBSR_18")
    image: Literal["ana", "ana_strip"] = Field("ana_strip", description="the whole head, or the brain alone")
    label: Literal["segTRI", "segTRI_fill"] = Field(
        "segTRI", description="tissue maps as drawn, or with the fluid in the sulci filled in"
    )


class Ibsr:
    """Items are subjects; group "subject", stratum the voxel spacing (there are three)."""

    def __init__(self, params: IbsrParams, task: str, labels: Sequence[str]) -> None:
        if tuple(labels) != LABELS:
            raise UserError(f"the labels of ibsr must be {', '.join(LABELS)}", where="labels")
        self.params = params

    def items(self) -> Sequence[Item]:
        root = self.params.root
        folders = sorted(root.glob("IBSR_*")) if root.is_dir() else []
        folders = [folder for folder in folders if _FOLDER.fullmatch(folder.name)]
        if not folders:
            raise UserError("has none of the folders IBSR_01 to IBSR_18", str(root))
        items = []
        for folder in folders:
            files = {
                "image": folder / f"{folder.name}_{self.params.image}.nii.gz",
                "label": folder / f"{folder.name}_{self.params.label}_ana.nii.gz",
                "mask": folder / f"{folder.name}_ana_brainmask.nii.gz",
            }
            for path in files.values():
                if not path.is_file():
                    raise UserError("no such file", str(path), "IBSR V2.0 has a file of this name")
            spacing = "x".join(f"{step:.2f}" for step in read_nifti(files["label"], empty=True).spacing)
            items.append(
                Item(
                    folder.name,
                    files,
                    {"subject": folder.name},
                    stratum=spacing,
                    facts={"label": self.params.label, "spacing": spacing},
                )
            )
        return items

    def load(self, item: Item) -> Sample:
        image = read_image(item.files["image"], kind="volume")
        target = read_labels(item.files["label"], like=image).array[0]
        if int(target.max()) >= len(LABELS) or int(target.min()) < 0:
            bad = int(target.min()) if int(target.min()) < 0 else int(target.max())
            raise UserError(f"has the value {bad}; a tissue map has 0 to 3", str(item.files["label"]))
        mask = read_labels(item.files["mask"], like=image).array[0] > 0
        return Sample(item, image, target.astype(np.uint8), mask)


ENTRY = DataEntry(
    params=IbsrParams,
    tasks=("segment",),
    open=Ibsr,
    scored="IBSR V2.0 tissue maps (segTRI or segTRI_fill, see data.label), every voxel of the scan",
    image="brain-extracted T1 scan",
)
