"""Masks of detections, pasted onto the image's grid when they are asked for (Mask R-CNN: He et al., ICCV 2017)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np

from medzoo.types import Array, GridTransform

THRESHOLD = 0.5


class InstanceMasks(Sequence[Array]):
    """Masks (H, W) bool of N detections in a picture, each computed when it is indexed.

    `patches` (N, m, m): probabilities inside boxes (N, 4) of the prepared picture, whose grid `transform` maps to that
    of the source. A pixel of the source belongs to an object where its centre lies in the box and the probability
    there, read between the centres of the patch's cells (at its rim, from the nearest), is 0.5 or more.
    """

    def __init__(self, patches: Array, boxes: Array, transform: GridTransform) -> None:
        self.patches = np.asarray(patches, np.float32)
        self.boxes = np.asarray(boxes, float).reshape(-1, 4)
        self.transform = transform
        assert len(self.patches) == len(self.boxes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width of the source."""
        return self.transform.source_shape

    def __len__(self) -> int:
        return len(self.boxes)

    @overload
    def __getitem__(self, index: int) -> Array: ...
    @overload
    def __getitem__(self, index: slice | Array) -> InstanceMasks: ...
    def __getitem__(self, index: int | slice | Array) -> Array | InstanceMasks:
        if isinstance(index, slice | np.ndarray):
            return InstanceMasks(self.patches[index], self.boxes[index], self.transform)
        corner, part = self.crop(index)
        mask = np.zeros(self.shape, bool)
        mask[corner[0] : corner[0] + part.shape[0], corner[1] : corner[1] + part.shape[1]] = part
        return mask

    def crop(self, index: int) -> tuple[tuple[int, int], Array]:
        """Row and column of the upper left corner of a mask's box in the source, and the mask (h, w) bool in it."""
        x0, y0, x1, y1 = self.boxes[index]
        source = self.transform.boxes_to_source(self.boxes[index][None])[0]
        # Pixels whose centre lies in the box.
        low = np.ceil(source[[1, 0]] - 0.5).astype(int).clip(0)
        high = np.minimum(np.ceil(source[[3, 2]] - 0.5).astype(int), self.shape)
        shape = np.maximum(high - low, 0)
        corner = (int(low[0]), int(low[1]))
        if not shape.all() or x1 <= x0 or y1 <= y0:
            return corner, np.zeros(shape, bool)
        inverse, side = self.transform.inverse, self.patches.shape[-1]
        rows, columns = (np.arange(n) + start for n, start in zip(shape, low, strict=True))
        if inverse[0, 1] == inverse[1, 0] == 0:
            down = (inverse[0, 0] * rows + inverse[0, 2] + 0.5 - y0) / (y1 - y0)
            across = (inverse[1, 1] * columns + inverse[1, 2] + 0.5 - x0) / (x1 - x0)
            # Not by a product of matrices, whose threads wait for each other on a busy machine.
            lines = _read(self.patches[index], down)
            return corner, _read(np.ascontiguousarray(lines.T), across).T >= THRESHOLD
        from scipy.ndimage import map_coordinates

        grid = np.stack(np.meshgrid(rows, columns, indexing="ij")).reshape(2, -1)
        y, x = inverse[:2, :2] @ grid + inverse[:2, 2:] + 0.5
        places = np.array([(y - y0) / (y1 - y0), (x - x0) / (x1 - x0)])
        read = map_coordinates(self.patches[index], places * side - 0.5, order=1, mode="nearest")
        inside = ((places >= 0) & (places <= 1)).all(axis=0)
        return corner, ((read >= THRESHOLD) & inside).reshape(shape)

    def label_map(self) -> Array:
        """(H, W) uint16: the number from 1 on of the detection that a pixel belongs to, of several the first."""
        found = np.zeros(self.shape, np.uint16)
        for index in reversed(range(len(self))):
            (row, column), part = self.crop(index)
            found[row : row + part.shape[0], column : column + part.shape[1]][part] = index + 1
        return found


def _read(cells: Array, places: Array) -> Array:
    """(n, ...) cells (side, ...) read along their first axis at places (n,) from 0 to 1, linearly between centres."""
    side = len(cells)
    at = (places * side - 0.5).clip(0, side - 1)
    low = np.minimum(at.astype(int), max(side - 2, 0))
    first: Array = cells[low]
    if side == 1:
        return first
    result: Array = first + (at - low).astype(np.float32)[:, None] * (cells[low + 1] - first)
    return result
