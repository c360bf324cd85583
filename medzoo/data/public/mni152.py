"""`mni152`: the average brain T1 with tissue maps that the package nilearn carries, in blocks of axial slices."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Part, Sample
from medzoo.errors import UserError, missing_extra
from medzoo.io import read_image
from medzoo.types import Array, Image

NAME = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
LABELS = ("background", "csf", "grey-matter", "white-matter")


class Params(DataParams):
    """`blocks`: the head's slices are cut into so many slabs of one thickness; of each run of `test_every` one
    is test and the next val. `gap`: slices left out where neighbours are on different sides."""

    blocks: int = Field(default=12, ge=3)
    gap: int = Field(default=5, ge=0)
    test_every: int = Field(default=6, ge=3)


class Mni152:
    """One T1 volume (197 x 233 x 189, 1 mm) as slabs along its third axis.

    CSF is what grey and white matter leave of one where T1 > 0; a voxel's label is the likeliest class.
    Fonov et al., NeuroImage 54:313 (2011).
    """

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        if tuple(labels) != LABELS:
            raise UserError("does not match mni152", "labels", f"write [{', '.join(LABELS)}]")
        self.params = params
        # Found, not imported: nilearn is only the box that the images come in.
        found = importlib.util.find_spec("nilearn")
        if found is None or not found.submodule_search_locations:
            raise missing_extra("nilearn", "demo")
        folder = Path(found.submodule_search_locations[0], "datasets", "data")
        self.files = {key: folder / NAME.format(key) for key in ("t1", "gm", "wm")}

    @cached_property
    def volume(self) -> tuple[Image, Array]:
        """The T1 image and its label array (I, J, K) uint8."""
        t1, grey, white = (read_image(self.files[key]) for key in ("t1", "gm", "wm"))
        tissue = [image.array[0].astype(np.int16) for image in (grey, white)]
        # In head: CSF, grey, white; argmax takes the first of equals, so CSF wins a tie with nothing.
        parts = np.stack([255 - tissue[0] - tissue[1], *tissue])
        labels = np.where(t1.array[0] > 0, parts.argmax(axis=0) + 1, 0).astype(np.uint8)
        return t1, labels

    def items(self) -> Sequence[Item]:
        """The slabs from bottom to top; `facts` hold their first slice and the slice after the last."""
        labels = self.volume[1]
        inside = np.flatnonzero(labels.any(axis=(0, 1)))
        edges = np.linspace(inside[0], inside[-1] + 1, self.params.blocks + 1).round().astype(int)
        items = []
        parts = [self._part(k) for k in range(self.params.blocks)]
        for k, (start, stop) in enumerate(pairwise(edges)):
            if parts[k : k + 2] != [parts[k]] * len(parts[k : k + 2]):
                stop -= self.params.gap
            if stop <= start:
                raise UserError(f"a gap of {self.params.gap} leaves no slice in a block", "data.gap")
            facts = {"start": int(start), "stop": int(stop)}
            name = f"block-{k:02d}"
            items.append(Item(name, self.files, {"block": name}, part=parts[k], facts=facts))
        return items

    def _part(self, block: int) -> Part:
        turn = block % self.params.test_every - self.params.test_every // 2
        return "test" if turn == 0 else "val" if turn == 1 else "train"

    def load(self, item: Item) -> Sample:
        """A slab with the affine of its own first slice."""
        image, labels = self.volume
        slab = np.s_[..., item.facts["start"] : item.facts["stop"]]
        assert image.affine is not None
        shift = np.eye(4)
        shift[2, 3] = item.facts["start"]
        part = image.replace(array=image.array[slab], affine=image.affine @ shift, source=item.id)
        return Sample(item, part, labels[slab])


def _open(params: Params, task: str, labels: Sequence[str]) -> Mni152:
    return Mni152(params, labels)


ENTRY = DataEntry(Params, ("segment",), _open, packages=("nilearn",), image="brain-extracted T1 scan")
