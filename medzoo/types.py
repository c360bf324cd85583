"""An image with its place in space, and the transform between its grid and the grid that a model sees.

Conventions, fixed for the whole project:
- `Image.array` is (C, *spatial): a picture (C, H, W), rows then columns; a volume (C, I, J, K) in the
  order in which the file stores its axes. The dtype is the file's own until a step says otherwise.
- `Image.affine` is (4, 4) and takes voxel indices (i, j, k), centres at whole numbers, to millimetres in
  RAS (right, anterior, superior positive). A picture has none.
- A box is half open and counts edges, so the first pixel spans 0 to 1: [x0, y0, x1, y1] on a picture
  (x = column, y = row), [i0, j0, k0, i1, j1, k1] along the stored axes of a volume.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy  # noqa: F401  (whole, 10 ms, before functions import its parts when they need them: several threads may)

Array = npt.NDArray[Any]
IGNORED = 255
"""The label of a pixel that counts in no loss and no metric."""


@dataclass(frozen=True, eq=False)
class Image:
    """A picture (C, H, W) or a volume (C, I, J, K) with its place in space.

    `affine`: (4, 4) index to RAS millimetres, None for a picture. `source`: the argument it was read from.
    `meta`: what steps and writers need of its header, never the patient's name or number.
    """

    array: Array
    affine: Array | None = None
    source: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, (H, W) or (I, J, K)."""
        return tuple(int(n) for n in self.array.shape[1:])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Edge lengths of a voxel along the stored axes in millimetres; ones for a picture."""
        if self.affine is None:
            return (1.0,) * len(self.shape)
        return tuple(float(s) for s in np.linalg.norm(self.affine[:3, :3], axis=0))

    def replace(self, **changes: Any) -> Image:
        """A copy with some fields replaced."""
        return replace(self, **changes)


@dataclass(frozen=True, eq=False)
class GridTransform:
    """The affine map from the grid of a preprocessed array to the grid of its source image.

    `matrix`: (n+1, n+1), takes an index of the preprocessed array, whose spatial shape is `shape`, to an index of the
    source, of `source_shape` (n = 2 or 3, pixel centres at whole numbers). Every geometric host step multiplies it
    (`compose`), and predictions return to the source through it (`mask_to_source`, `boxes_to_source`).
    """

    source_shape: tuple[int, ...]
    shape: tuple[int, ...]
    matrix: Array

    @classmethod
    def identity(cls, image: Image) -> GridTransform:
        """The transform of an image to which no step was applied."""
        return cls(image.shape, image.shape, np.eye(len(image.shape) + 1))

    def compose(self, matrix: Array, *, shape: tuple[int, ...]) -> GridTransform:
        """The transform after one more step, whose output has the spatial `shape`.

        `matrix` (n+1, n+1) takes indices after that step to indices before it.
        """
        return replace(self, matrix=self.matrix @ np.asarray(matrix, float), shape=tuple(shape))

    def mask_to_source(self, mask: Array) -> Array:
        """Resample a label array (`shape`) to the source's grid; nearest neighbour, 0 outside, same dtype."""
        return _resample(mask, self.inverse, self.source_shape)

    def mask_from_source(self, mask: Array) -> Array:
        """Resample a label array of the source's grid to `shape`; nearest neighbour, 0 outside, same dtype."""
        return _resample(mask, self.matrix, self.shape)

    @property
    def inverse(self) -> Array:
        """The inverse of `matrix` (n+1, n+1): from indices of the source to indices of the preprocessed array."""
        return np.linalg.inv(self.matrix)

    def boxes_to_source(self, boxes: Array) -> Array:
        """Map boxes (N, 2n) of the preprocessed array to the source, clipped to it."""
        mapped = _map_boxes(boxes, self.matrix)
        return _clip_boxes(mapped, self.source_shape)

    def boxes_from_source(self, boxes: Array) -> Array:
        """Map boxes (N, 2n) of the source to the preprocessed array, not clipped."""
        return _map_boxes(boxes, self.inverse)


def boxes_to_mm(boxes: Array, affine: Array) -> Array:
    """Lowest and highest RAS corner in millimetres, (N, 2, 3), of boxes (N, 6) along the stored axes."""
    corners = _corners(boxes) - 0.5
    points = corners @ affine[:3, :3].T + affine[:3, 3]
    return np.stack([points.min(axis=1), points.max(axis=1)], axis=1)


def _corners(boxes: Array) -> Array:
    """(N, 2^n, n) corners of boxes (N, 2n) given as lows then highs, in index order."""
    n = boxes.shape[1] // 2
    picks = np.stack(np.meshgrid(*[[0, 1]] * n, indexing="ij"), -1).reshape(-1, n)
    ends = np.asarray(boxes, float).reshape(-1, 2, n)
    return np.stack([np.where(pick == 0, ends[:, 0], ends[:, 1]) for pick in picks], axis=1)


def _index_order(boxes: Array) -> Array:
    """Boxes of pictures are written x, y while arrays are indexed row, column: swap; volumes stay."""
    return boxes[:, [1, 0, 3, 2]] if boxes.shape[1] == 4 else boxes


def _map_boxes(boxes: Array, matrix: Array) -> Array:
    boxes = np.asarray(boxes, float)
    if not len(boxes):
        return boxes
    corners = _corners(_index_order(boxes)) - 0.5
    n = corners.shape[-1]
    points = corners @ matrix[:n, :n].T + matrix[:n, n] + 0.5
    return _index_order(np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1))


def _clip_boxes(boxes: Array, shape: tuple[int, ...]) -> Array:
    if not len(boxes):
        return boxes
    high = np.asarray(shape[::-1] if len(shape) == 2 else shape, float)
    return np.clip(boxes, 0.0, np.concatenate([high, high]))


def _resample(mask: Array, matrix: Array, shape: tuple[int, ...]) -> Array:
    """`mask` read at matrix @ index for every index of `shape`, nearest neighbour, 0 outside."""
    n = mask.ndim
    linear, offset = matrix[:n, :n], matrix[:n, n]
    whole = np.rint(linear)
    signed_permutation = np.allclose(linear, whole, atol=1e-6) and np.array_equal(np.abs(whole).sum(axis=0), np.ones(n))
    if signed_permutation and np.allclose(offset, np.rint(offset), atol=1e-3):
        return _permute(mask, whole.astype(int), np.rint(offset).astype(int), shape)
    from scipy.ndimage import affine_transform

    # "constant" would lose the outer half of every border voxel, "grid-constant" does not.
    result: Array = affine_transform(mask, linear, offset, output_shape=shape, order=0, mode="grid-constant", cval=0)
    return result


def _permute(mask: Array, linear: Array, offset: Array, shape: tuple[int, ...]) -> Array:
    """The exact case of `_resample`: axes exchanged, reversed and shifted by whole voxels."""
    axes = np.abs(linear).argmax(axis=0)  # output axis a runs along input axis axes[a]
    turned = mask.transpose(axes)
    out = np.zeros(shape, mask.dtype)
    take: list[slice] = []
    put: list[slice] = []
    for a, length in enumerate(shape):
        sign, shift, size = int(linear[axes[a], a]), int(offset[axes[a]]), turned.shape[a]
        first, last = (
            (max(0, -shift), min(length, size - shift))
            if sign > 0
            else (max(0, shift - size + 1), min(length, shift + 1))
        )
        if last <= first:
            return out
        put.append(slice(first, last))
        if sign > 0:
            take.append(slice(first + shift, last + shift))
        else:
            stop = shift - last
            take.append(slice(shift - first, None if stop < 0 else stop, -1))
    out[tuple(put)] = turned[tuple(take)]
    return out
