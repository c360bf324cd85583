"""A random deformation of a label map: an affine part and a smooth elastic one."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates, zoom

from medzoo.imaging.resize import stretch
from medzoo.types import Array

_COARSE = 24  # voxels between the control points of the elastic part


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], *, spacing: float) -> Array:
    """(*shape) float32: standard normal values every `spacing` voxels, cubic in between."""
    points = tuple(max(2, int(np.ceil(n / spacing)) + 1) for n in shape)
    field = rng.standard_normal(points).astype(np.float32)
    # Cubic to a quarter of the grid, linear from there: the same field at a tenth of the time.
    middle = zoom(field, [max(2, -(-n // 4)) / p for n, p in zip(shape, points, strict=True)], order=3, mode="nearest")
    fine: Array = stretch(middle, shape)
    return fine


def random_matrix(rng: np.random.Generator, *, amount: float) -> Array:
    """(3, 3): rotations within 10 degrees, scalings within 12 %, shears within 0.08, all times `amount`."""
    angles = np.deg2rad(rng.uniform(-10, 10, 3) * amount)
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        c, s = np.cos(angle), np.sin(angle)
        turn = np.eye(3)
        i, j = [a for a in range(3) if a != axis]
        turn[i, i] = turn[j, j] = c
        turn[i, j], turn[j, i] = -s, s
        matrix = matrix @ turn
    shear = np.eye(3)
    shear[~np.eye(3, dtype=bool)] = rng.uniform(-0.08, 0.08, 6) * amount
    result: Array = matrix @ shear @ np.diag(1 + rng.uniform(-0.12, 0.12, 3) * amount)
    return result


def deform(labels: Array, rng: np.random.Generator, *, amount: float) -> Array:
    """`labels` (I, J, K) after a random affine and elastic deformation, nearest neighbour, on the same grid.

    `amount` 1: elastic displacements of 0 to 4 mm (standard deviation) at 1 mm voxels; 0: unchanged.
    """
    if amount == 0:
        return labels
    shape = labels.shape
    matrix = random_matrix(rng, amount=amount)
    centre = (np.array(shape) - 1) / 2
    elastic = rng.uniform(0, 4) * amount
    axes = np.meshgrid(*[np.arange(n, dtype=np.float32) - c for n, c in zip(shape, centre, strict=True)],
                       indexing="ij", sparse=True)  # fmt: skip
    places = np.empty((3, *shape), np.float32)
    for a in range(3):
        places[a] = sum(np.float32(matrix[a, b]) * axes[b] for b in range(3)) + np.float32(centre[a])
        places[a] += elastic * smooth_field(rng, shape, spacing=_COARSE * rng.uniform(0.7, 1.6))
    result: Array = map_coordinates(labels, places, order=0, mode="constant", cval=0, prefilter=False)
    return result
