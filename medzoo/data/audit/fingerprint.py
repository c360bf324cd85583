"""Image fingerprints for near-duplicate search: a small picture and upright local features. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import numpy as np
from PIL import Image as Pillow

from medzoo.types import Array

GRID = 64  # side of the square that whole pictures are compared at, coarsely at half of it
CANVAS = 128  # the longer side of the picture that local features are taken from
LEVELS = 6  # sizes of that picture, each smaller by STEP
STEP = 2 ** (1 / 3)
PATCH = 17  # side, odd so that mirroring keeps it, of the patch a feature describes, in pixels of its level
FREQUENCIES = 6  # lowest cosine frequencies along each axis that describe a patch
FEATURES = FREQUENCIES**2 - 1
PER_LEVEL = (36, 26, 18, 12, 8, 6)  # features kept on each level


@dataclass(frozen=True, eq=False)
class Fingerprints:
    """Fingerprints of n pictures.

    `grids` (n, 64, 64) uint8, the picture squashed; `canvas` (n, 128, 128) uint8, its aspect kept and its
    edges repeated beyond `extent` (n, 2), height and width in canvas pixels; `features` (n, K, 35) int8
    cosine coefficients of unit length times 127 (all zero: none); `places` (n, K, 2) float32 row and column
    in canvas pixels; `levels` (n, K) int8, the size at which each was found.
    """

    grids: Array
    canvas: Array
    extent: Array
    features: Array
    places: Array
    levels: Array

    def __len__(self) -> int:
        return len(self.grids)

    @classmethod
    def join(cls, parts: list[Fingerprints]) -> Fingerprints:
        """Concatenate the fingerprints of several batches."""
        return cls(*[np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)])


def transposed(prints: Fingerprints) -> Fingerprints:
    """The fingerprints of the pictures with rows and columns exchanged."""
    order = np.arange(FREQUENCIES**2).reshape(FREQUENCIES, FREQUENCIES).T.ravel()[1:] - 1
    return Fingerprints(
        prints.grids.swapaxes(1, 2),
        prints.canvas.swapaxes(1, 2),
        prints.extent[:, ::-1],
        prints.features[..., order],
        prints.places[..., ::-1],
        prints.levels,
    )


def shrink(grey: Array) -> tuple[Array, Array]:
    """Square (64, 64) and picture (h, w) with longer side 128, both uint8, of a grey picture (H, W).

    Values that are not bytes are stretched from their 0.5th to 99.5th percentile first.
    """
    if grey.dtype != np.uint8:
        values = np.nan_to_num(grey.astype(np.float32))
        low, high = np.percentile(values, [0.5, 99.5])
        grey = np.clip((values - low) * (255.0 / max(high - low, 1e-6)), 0, 255).astype(np.uint8)
    picture = Pillow.fromarray(grey)
    longer = max(picture.size)
    width, height = (max(PATCH, round(CANVAS * n / longer)) for n in picture.size)
    way = Pillow.Resampling.BOX if longer > CANVAS else Pillow.Resampling.BICUBIC
    small = picture.resize((width, height), way)
    return np.asarray(picture.resize((GRID, GRID), Pillow.Resampling.BOX)), np.asarray(small)


def fingerprints(shrunk: list[tuple[Array, Array]]) -> Fingerprints:
    """Fingerprints of a batch of what `shrink` gave; some 100 pictures at once are fast and small."""
    n = len(shrunk)
    grids = np.stack([grid for grid, _ in shrunk])
    extent = np.array([small.shape for _, small in shrunk], np.int16)
    canvas = np.empty((n, CANVAS, CANVAS), np.uint8)
    for row, (_, small) in zip(canvas, shrunk, strict=True):
        h, w = small.shape
        row[:h, :w] = small
        row[h:, :w] = small[-1:]
        row[:, w:] = row[:, w - 1 : w]
    found = [_features(canvas, extent, level) for level in range(LEVELS)]
    features, places = (np.concatenate([f[k] for f in found], axis=1) for k in (0, 1))
    levels = np.repeat(np.arange(LEVELS, dtype=np.int8), PER_LEVEL)
    return Fingerprints(grids, canvas, extent, features, places, np.tile(levels, (n, 1)))


def _features(canvas: Array, extent: Array, level: int) -> tuple[Array, Array]:
    """The strongest extrema of the Laplacian of a Gaussian on one level: (n, K, 35) and places (n, K, 2)."""
    # Filters and Pillow instead of matrix products: BLAS would start threads for each small picture.
    from scipy.ndimage import gaussian_filter

    n, count = len(canvas), PER_LEVEL[level]
    side = round(CANVAS / STEP**level)
    scale = CANVAS / side
    image = np.empty((n, side, side), np.float32)
    for small, picture in zip(image, canvas, strict=True):
        small[:] = np.asarray(Pillow.fromarray(picture).resize((side, side), Pillow.Resampling.BILINEAR))
    image = gaussian_filter(image, (0, 1.1, 1.1), truncate=3)
    response = np.zeros_like(image)
    response[:, 1:-1, 1:-1] = image[:, 1:-1, 1:-1] - 0.25 * (
        image[:, :-2, 1:-1] + image[:, 2:, 1:-1] + image[:, 1:-1, :-2] + image[:, 1:-1, 2:]
    )
    np.abs(response, out=response)
    inner = response[:, 1:-1, 1:-1]
    top = np.ones(inner.shape, bool)
    for dy in range(3):
        for dx in range(3):
            if (dy, dx) != (1, 1):
                top &= inner >= response[:, dy : side - 2 + dy, dx : side - 2 + dx]
    # A peak within two pixels of the picture's end is the end's, not the content's.
    limit = extent[:, :, None] / scale - 2
    at = np.arange(1, side - 1)
    valid = (at >= 2) & (at < limit)
    strength = np.where(top & valid[:, 0, :, None] & valid[:, 1, None, :], inner, 0).reshape(n, -1)
    best = np.argpartition(-strength, count, axis=1)[:, :count]
    kept = np.take_along_axis(strength, best, axis=1) > 0.2  # grey levels
    rows, columns = best // (side - 2) + 1, best % (side - 2) + 1
    row_part, column_part = _peak(response, rows, columns)
    patches = _patches(image, rows + row_part, columns + column_part)
    # In halves: products this small BLAS keeps on the calling thread, and threads here are of images.
    cosines = (patches.reshape(2 * n, count // 2, -1) @ _cosines()).reshape(n, count, -1)
    length = np.linalg.norm(cosines, axis=2, keepdims=True)
    cosines *= 127.0 / np.maximum(length, 1e-3)
    cosines[~kept] = 0
    peaks = np.stack([rows + row_part, columns + column_part], axis=2)
    places = (peaks + 0.5) * scale - 0.5
    return np.rint(cosines).astype(np.int8), places.astype(np.float32)


def _peak(response: Array, rows: Array, columns: Array) -> tuple[Array, Array]:
    """Sub-pixel offsets of peaks by row and by column: the top of a parabola, within 0.5."""
    n = np.arange(len(response))[:, None]
    here = response[n, rows, columns]
    parts = []
    for dy, dx in ((1, 0), (0, 1)):
        before, after = response[n, rows - dy, columns - dx], response[n, rows + dy, columns + dx]
        parts.append(np.clip((after - before) / (2 * (2 * here - after - before) + 1e-3), -0.5, 0.5))
    return parts[0], parts[1]


def _patches(image: Array, rows: Array, columns: Array) -> Array:
    """(n, K, 289): patches of images (n, s, s) about places between the pixels, bilinear, edges repeated."""
    half = PATCH // 2
    padded = np.pad(image, ((0, 0), (half, half + 1), (half, half + 1)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (PATCH + 1, PATCH + 1), axis=(1, 2))
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    around = windows[np.arange(len(image))[:, None], row, column]
    down, right = ((x - np.floor(x)).astype(np.float32)[..., None, None] for x in (rows, columns))
    around = around[..., 1:, :] * down + around[..., :-1, :] * (1 - down)
    around = around[..., 1:] * right + around[..., :-1] * (1 - right)
    patches: Array = around.reshape(*rows.shape, -1)
    return patches


@cache
def _cosines() -> Array:
    """(289, 35): the lowest cosine frequencies of a patch but the constant, weighted by frequency."""
    # Waves run about the middle pixel: mirroring a picture changes the sign of the odd ones only.
    at = np.arange(PATCH) - PATCH // 2
    waves = [(np.sin if f % 2 else np.cos)(np.pi * f * at / PATCH) for f in range(FREQUENCIES)]
    window = np.exp(-0.5 * (at / (PATCH / 2.5)) ** 2)
    basis = np.array(waves) * window
    basis[1:] -= basis[1:].sum(axis=1, keepdims=True) * window / window.sum()
    planes = np.einsum("ay,bx->abyx", basis, basis).reshape(FREQUENCIES**2, -1)[1:]
    order = np.add.outer(np.arange(FREQUENCIES), np.arange(FREQUENCIES)).ravel()[1:]
    planes *= (1.0 + order)[:, None] / np.linalg.norm(planes, axis=1, keepdims=True)
    result: Array = planes.T.astype(np.float32).copy()
    return result


@cache
def mirror_signs() -> Array:
    """(4, 35) int8: signs that turn features into those of the picture as it is, mirrored left-right,
    up-down, and both."""
    f = np.arange(FREQUENCIES)
    row, column = (x.ravel()[1:] for x in np.meshgrid(f, f, indexing="ij"))
    across, down = 1 - 2 * (column % 2), 1 - 2 * (row % 2)
    return np.stack([np.ones_like(row), across, down, across * down]).astype(np.int8)
