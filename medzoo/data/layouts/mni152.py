"""The MNI152 average brain with its tissue maps, as the package nilearn ships it (Fonov et al., 2009)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Part, Sample
from medzoo.errors import UserError, missing_extra
from medzoo.io.read import read_image
from medzoo.types import Array, Image

LABELS = ("background", "csf", "grey-matter", "white-matter")
_NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"


class Mni152Params(DataParams):
    """One volume; its axial slices are cut into blocks, and slices between blocks of two parts are left out."""

    block: int = Field(10, ge=1, description="axial slices in one block")
    gap: int = Field(8, ge=0, description="slices left out between blocks of different parts")


class Mni152:
    """Items are blocks of axial slices; group "block"."""

    def __init__(self, params: Mni152Params, task: str, labels: Sequence[str]) -> None:
        if tuple(labels) != LABELS:
            raise UserError(f"mni152 has the labels {', '.join(LABELS)}", where="labels")
        spec = importlib.util.find_spec("nilearn")
        if spec is None or not spec.submodule_search_locations:
            raise missing_extra("nilearn", "demo")
        self.params = params
        self.folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"

    def items(self) -> Sequence[Item]:
        files = {role: self.folder / _NAME.format(role) for role in ("t1", "gm", "wm")}
        files["image"] = files.pop("t1")
        items = []
        first, last = 15, 165  # axial slices that hold brain
        start, turn = first, 0
        pattern: list[Part] = ["train", "train", "val", "train", "train", "test"]
        while start + self.params.block <= last:
            part = pattern[turn % len(pattern)]
            stop = start + self.params.block
            items.append(
                Item(
                    f"slices-{start:03d}-{stop:03d}",
                    files,
                    {"block": f"{start}"},
                    part=part,
                    facts={"k": (start, stop)},
                )
            )
            after = pattern[(turn + 1) % len(pattern)]
            start = stop + (self.params.gap if after != part else 0)
            turn += 1
        return items

    def load(self, item: Item) -> Sample:
        image, target = self.volume()
        start, stop = item.facts["k"]
        assert image.affine is not None
        affine = image.affine.copy()
        affine[:3, 3] += affine[:3, 2] * start
        part = image.replace(array=image.array[..., start:stop], affine=affine)
        return Sample(item, part, target[..., start:stop])

    def volume(self) -> tuple[Image, Array]:
        image = read_image(self.folder / _NAME.format("t1"))
        grey, white = (
            read_image(self.folder / _NAME.format(role)).array[0].astype(np.float32) / 255 for role in ("gm", "wm")
        )
        fluid = 1 - grey - white
        target = 1 + np.argmax(np.stack([fluid, grey, white]), axis=0)
        return image, np.where(image.array[0] > 0, target, 0).astype(np.uint8)


ENTRY = DataEntry(params=Mni152Params, tasks=("segment",), open=Mni152, packages=("nilearn",))
