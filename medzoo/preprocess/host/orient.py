"""`orient`: permute and flip the axes of a volume to named directions; exact."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import field_validator

from medzoo.io.check import volume_needed
from medzoo.io.mapping import map_of
from medzoo.preprocess.step import HostStep
from medzoo.types import Array, GridTransform, Image

# Each letter names the end towards which an axis runs: RAS axis, and sign along it.
DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


class Orient(HostStep):
    """Bring a volume's stored axes to `to` ("RAS": towards right, anterior, superior), nearest permutation.

    Voxels are moved, never computed. An oblique volume keeps its obliquity in the affine.
    """

    op: Literal["orient"] = "orient"
    to: str = "RAS"

    @field_validator("to")
    @classmethod
    def _three_axes(cls, to: str) -> str:
        letters = to.upper()
        if len(letters) != 3 or {DIRECTIONS.get(c, (9, 0))[0] for c in letters} != {0, 1, 2}:
            raise ValueError("must name one of each pair R/L, A/P, S/I, like RAS")
        return letters

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The turned image and its transform. Raises UserError for a picture, which has no directions."""
        if image.affine is None:
            raise volume_needed(
                image,
                "is a picture, only a volume can be oriented",
                "this model takes scans: NIfTI, or a DICOM series",
            )
        matrix = turning(image.affine, image.shape, self.to)
        axes = np.abs(matrix[:3, :3]).argmax(axis=0)  # new axis a runs along old axis axes[a]
        signs = matrix[axes, range(3)]
        array = image.array.transpose(0, *(1 + axes))
        array = array[(slice(None), *(slice(None, None, int(s)) for s in signs))]
        if map_of(array) is None:  # a view of a file stays one
            array = np.ascontiguousarray(array)
        turned = image.replace(array=array, affine=image.affine @ matrix)
        return turned, transform.compose(matrix, shape=turned.shape)


def turning(affine: Array, shape: tuple[int, ...], to: str = "RAS") -> Array:
    """(4, 4) signed permutation: index on the grid turned to `to` -> index on that of `affine`, `shape`."""
    from scipy.optimize import linear_sum_assignment

    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    # Best sum of |cosine| over all pairings of directions and axes: one-to-one even at 45 degrees.
    world, stored = linear_sum_assignment(-np.abs(cosines))
    axis_of = dict(zip(world.tolist(), stored.tolist(), strict=True))
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1.0
    for new, letter in enumerate(to):
        direction, sign = DIRECTIONS[letter]
        old = axis_of[direction]
        same = cosines[direction, old] * sign > 0
        matrix[old, new] = 1.0 if same else -1.0
        matrix[old, 3] = 0.0 if same else shape[old] - 1.0
    return matrix


ENTRY = Orient
