"""`selective-search`: region proposals of a picture, each warped to one size."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from medzoo.boxes import box_intersection, box_size
from medzoo.errors import UserError
from medzoo.imaging.resize import on_size, warp_regions
from medzoo.imaging.selective_search import Mode, selective_search
from medzoo.preprocess.extras import PROPOSED_BOXES
from medzoo.preprocess.step import HostStep, StepState
from medzoo.types import Array, GridTransform, Image

Share = Annotated[float, Field(ge=0, lt=1)]
_MOST = 500_000_000  # pixels of all regions together, 2 GB


class SelectiveSearch(HostStep):
    """Category-independent proposals, each warped to one size (Girshick et al., CVPR 2014, section 2.1).

    `side`: the picture is searched, and its regions are cut, on a grid of this many pixels along its longer side,
    so that neither time nor the segments depend on how large a picture was stored. `mode`, `smooth`, `scale`,
    `step`: see medzoo.imaging.selective_search. `smallest`: proposals with a side below this share of `side` are
    dropped; `alike`: of proposals that overlap by more than this IoU one is kept; `count`: at most so many, drawn
    by a fixed seed. `size`: height and width of a region; `context`: pixels of it, on each side, that lie around
    the box. A constant picture gives one region of nothing, whose box is empty. Needs the extra `classic`.
    """

    op: Literal["selective-search"] = "selective-search"
    side: Annotated[int, Field(ge=16, le=2000)] = 500
    mode: Mode = "fast"
    smooth: Annotated[tuple[Annotated[float, Field(ge=0, le=100)], ...], Field(min_length=1, max_length=16)] = (0.0,)
    scale: Annotated[int, Field(ge=1, le=1_000_000)] = 150
    step: Annotated[int, Field(ge=1, le=1_000_000)] = 150
    smallest: Share = 0.04
    alike: Annotated[float, Field(gt=0, le=1)] = 1.0
    count: Annotated[int, Field(ge=1, le=100_000)] = 2000
    size: tuple[Annotated[int, Field(ge=8, le=1024)], Annotated[int, Field(ge=8, le=1024)]] = (227, 227)
    context: Annotated[int, Field(ge=0, le=512)] = 16

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.count * self.size[0] * self.size[1] > _MOST:
            raise ValueError(f"count regions of this size have more than {_MOST:.0g} pixels")
        if 2 * self.context >= min(self.size):
            raise ValueError(f"context {self.context} on both sides leaves nothing of size {self.size}")
        return self

    def __call__(self, state: StepState) -> StepState:
        """The regions (R, C, *size) float32, R >= 1, as the image's array, with their boxes as an extra.

        Raises UserError for a volume, and without opencv-contrib.
        """
        picture, transform = self.on_grid(state.image, state.transform)
        boxes = self.search(picture)
        if not len(boxes):
            boxes = np.zeros((1, 4), np.float32)
        regions = state.image.replace(array=self.warp(picture, boxes), affine=None)
        return StepState(regions, transform, {**state.extras, PROPOSED_BOXES: boxes})

    def on_grid(self, image: Image, transform: GridTransform) -> tuple[Array, GridTransform]:
        """The picture (C, H, W) float32 on the grid that is searched, and the transform that leads back from it."""
        if len(image.shape) != 2:
            raise UserError("is a volume, but regions are proposed on a picture", image.source)
        scale = self.side / max(image.shape)
        height, width = (max(1, round(n * scale)) for n in image.shape)
        picture = on_size(image.array, (height, width))
        factors = [n / m for n, m in zip(image.shape, picture.shape[1:], strict=True)]
        matrix = np.diag([*factors, 1.0])
        matrix[:2, 2] = [(f - 1) / 2 for f in factors]
        return picture, transform.compose(matrix, shape=(height, width))

    def search(self, picture: Array) -> Array:
        """(R, 4) float32 boxes proposed on a picture (C, H, W) of the grid; none on a constant one."""
        found = selective_search(picture, mode=self.mode, smooth=self.smooth, scale=self.scale, step=self.step)
        sides = found[:, 2:] - found[:, :2]
        # The whole picture stays, whatever its shape: a thin one has nothing else.
        whole = (sides >= np.array(picture.shape[:0:-1])).all(axis=1)
        found = found[(sides >= self.smallest * self.side).all(axis=1) | whole]
        found = found[np.random.default_rng(0).permutation(len(found))]
        return _apart(found, self.alike)[: self.count]

    def warp(self, picture: Array, boxes: Array) -> Array:
        """(R, C, *size) float32 regions of a picture on the grid."""
        return warp_regions(picture, boxes, size=self.size, context=self.context)


def _apart(boxes: Array, alike: float) -> Array:
    """Boxes (R, 4) without those that overlap an earlier one by more than `alike`."""
    if alike >= 1:
        return boxes
    area = box_size(boxes)
    kept, gone = [], np.zeros(len(boxes), bool)
    for index in range(len(boxes)):
        if gone[index]:
            continue
        kept.append(index)
        shared = box_intersection(boxes[index : index + 1], boxes)[0]
        gone |= shared > alike * (area[index] + area - shared)
    return boxes[kept]


ENTRY = SelectiveSearch
