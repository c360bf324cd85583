"""Copies among pictures, verified at a resolution close to their own. Arrays only.

Pictures of one kind look alike when they are small: bright blobs on a dark ground, layers of tissue. Whether two are
copies is decided place by place: wherever either of them has detail, the other must have the same.
"""

from __future__ import annotations

import numpy as np
from PIL import Image as Pillow

from medzoo.data.audit.near_duplicates import NearPair
from medzoo.types import Array

FINEST = 384  # pixels of the longer side of what is compared
TILES = 12  # along the longer side
DETAILED = 0.25  # of the detail of the most detailed tiles (95th percentile), from which on a tile counts
ALIGNED = 160  # pixels of the longer side at which they are aligned
BLURS = (2.0, 1.4, 1.0, 1.0)  # of each step of the alignment, in its pixels
FEWEST = 30  # tiles that count at least: a few blobs may fit one another by chance
BLUR = 1.5  # pixels, taken off to leave the fine detail
SAME = 0.3  # least median correlation of the tiles of copies


def agreement(a: Array, b: Array, pair: NearPair) -> float:
    """Median correlation of fine detail over the tiles of what two grey pictures (H, W) share that have any."""
    b = oriented_as(b, pair.mirrored)
    here, there = (_pixels(box, picture.shape) for box, picture in zip(pair.shared, (a, b), strict=True))
    size = np.minimum(here[2:] - here[:2], there[2:] - there[:2])
    rough, fine = (_grid(size, longest) for longest in (ALIGNED, FINEST))
    sources = [Pillow.fromarray(np.ascontiguousarray(picture, np.float32)) for picture in (a, b)]
    there = _aligned(_sampled(sources[0], here, rough), sources[1], there)
    return _tilewise(_sampled(sources[0], here, fine), _sampled(sources[1], there, fine))


def _grid(size: Array, longest: int) -> tuple[int, int]:
    """Height and width of a grid with square cells for a box of `size` (2,), no finer than its pixels."""
    height, width = np.maximum(np.rint(size * min(1.0, longest / size.max())).astype(int), 16).tolist()
    return height, width


def same_picture(a: Array, b: Array, pair: NearPair) -> bool:
    """True if two grey pictures (H, W) agree in fine detail all over the part that they share."""
    return agreement(a, b, pair) > SAME


def oriented_as(picture: Array, mirrored: str) -> Array:
    """A picture placed as NearPair.mirrored says."""
    if "t" in mirrored:
        picture = picture.T
    placed: Array = picture[:: -1 if "y" in mirrored else 1, :: -1 if "x" in mirrored else 1]
    return placed


def _pixels(box: tuple[float, ...], shape: tuple[int, ...]) -> Array:
    """Top, left, bottom, right in pixels, within the picture."""
    size = np.array([*shape, *shape], float)
    pixels: Array = np.clip(np.array(box) * size, 0, size)
    return pixels


def _sampled(source: Pillow.Image, box: Array, shape: tuple[int, int]) -> Array:
    """The box of a picture on a grid of `shape`, float32; smoothed where the grid is coarser."""
    top, left, bottom, right = box
    return np.asarray(source.resize(shape[::-1], Pillow.Resampling.BICUBIC, box=(left, top, right, bottom)))


def _aligned(x: Array, source: Pillow.Image, box: Array) -> Array:
    """The box of `source` that fits x best: Gauss-Newton steps on its place and size, with gain and offset."""
    from scipy.ndimage import gaussian_filter

    height, width = x.shape
    v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    v, u = v.astype(np.float32), u.astype(np.float32)
    limit = np.array([*source.size[::-1], *source.size[::-1]], float)
    for blur in BLURS:
        target = gaussian_filter(x, blur)
        value = gaussian_filter(_sampled(source, box, x.shape), blur)
        down, across = np.gradient(value)
        design = np.stack([value, np.ones_like(value), down, down * v, across, across * u]).reshape(6, -1)
        off = np.abs(target - value - np.median((target - value)[::3, ::3])).ravel()
        weighted = design / (1 + (off / (3 * np.median(off[::7]) + 1e-3)) ** 2)
        normal = (weighted @ design.T).astype(np.float64)
        normal += np.eye(6) * (1e-5 * np.trace(normal) / 6 + 1e-6)
        solved = np.linalg.solve(normal, weighted @ target.ravel())
        gain = solved[0] if abs(solved[0]) > 1e-2 else 1e-2
        move = np.clip(solved[2:] / gain, -4, 4) * np.repeat((box[2:] - box[:2]) / x.shape, 2)
        shifted = box + np.array([move[0] - move[1], move[2] - move[3], move[0] + move[1], move[2] + move[3]])
        box = np.clip(shifted, 0, limit)
    return box


def _tilewise(x: Array, y: Array) -> float:
    from scipy.ndimage import gaussian_filter

    fine = [p - gaussian_filter(p, BLUR * 2) for p in (gaussian_filter(x, 0.7), gaussian_filter(y, 0.7))]
    side = max(8, max(x.shape) // TILES)
    rows, columns = (n // side for n in x.shape)
    tiles = [
        p[: rows * side, : columns * side].reshape(rows, side, columns, side).transpose(0, 2, 1, 3).reshape(-1, side**2)
        for p in fine
    ]
    energy = np.stack([t.std(axis=1) for t in tiles])
    most = np.percentile(energy, 95, axis=1, keepdims=True)
    strength = (energy / np.maximum(most, 1e-3)).max(axis=0)
    counted = strength >= min(DETAILED, np.sort(strength)[-FEWEST:][0])
    p, q = (t[counted] - t[counted].mean(axis=1, keepdims=True) for t in tiles)
    both = (p * q).sum(axis=1) / np.sqrt((p**2).sum(axis=1) * (q**2).sum(axis=1) + 1e-6)
    return float(np.median(both))
