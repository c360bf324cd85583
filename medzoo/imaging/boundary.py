"""The outline of a mass by four families of methods behind one function, all from scikit-image.

Knows numpy, scipy, scikit-image, medzoo.errors, and contour, grey and proposal of this room.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from medzoo.boxes import bounding_box
from medzoo.errors import UserError
from medzoo.imaging.contour import single_component, trace
from medzoo.imaging.grey import luma
from medzoo.imaging.proposal import propose
from medzoo.types import Array

Method = Literal["otsu", "region-growing", "chan-vese", "geodesic", "watershed"]
Polarity = Literal["auto", "dark", "bright"]
Outline = Literal["given", "found", "box"]
Box = tuple[float, float, float, float]

_DOUBT = 0.02  # a score of a proposal below which it may be no mass at all
_RADIUS = 64.0  # pixels of the radius at which a mass is outlined


@dataclass(frozen=True, eq=False)
class Boundary:
    """A mass: `mask` (H, W) bool, `contour` (256, 2) x and y in pixels, what was done, where it came from.

    `outline`: given by the user, found by a method, or a box (the given one, or the whole image) that
    stands in where nothing was found; `notes` say so in words, with all else that was done to the mask.
    """

    mask: Array
    contour: Array
    notes: tuple[str, ...]
    outline: Outline


def boundary_of_mask(mask: Array, *, shape: tuple[int, ...] | None = None) -> Boundary:
    """The boundary that a given mask (H, W) draws: its largest mass, closed along the border.

    Raises UserError for an empty mask, one of another size than `shape`, and one too small to have 8
    outline points.
    """
    tidy, notes = single_component(mask, shape=shape)
    return Boundary(tidy, trace(tidy), notes, "given")


def find_boundary(
    image: Array,
    *,
    method: Method = "region-growing",
    seed: tuple[float, float] | None = None,
    box: Box | None = None,
    polarity: Polarity = "auto",
) -> Boundary:
    """Finds the outline of the mass in an image.

    image: (H, W), or colour, which counts by its luma. seed: (x, y) of a pixel inside the mass. box: (x0,
    y0, x1, y1), half open, around it. With neither, the most mass-like blob of the image is taken (see
    proposal). polarity: whether the mass is dark or bright; auto finds out. method: otsu (threshold,
    opening, fill), region-growing from the seed to the level of the steepest edge, chan-vese or geodesic
    (morphological snakes), watershed from markers.
    Where nothing is found the box, or the whole image, stands in, and the notes say so. Raises UserError
    for a constant image, an unknown method, and a seed or box that lies outside of the image.
    """
    for name, value, kind in (("method", method, Method), ("polarity", polarity, Polarity)):
        if value not in get_args(kind):
            raise UserError(f"{value!r} is not one of {', '.join(get_args(kind))}", name)
    grey = luma(image).astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    if not low < high:
        raise UserError("the image is constant, so there is no boundary to find")
    grey = (grey - low) / (high - low)
    if seed is not None and not (0 <= seed[0] < grey.shape[1] and 0 <= seed[1] < grey.shape[0]):
        raise UserError(f"the seed {seed} lies outside of the image", "seed")
    limit = None if box is None else _box_mask(grey.shape, box)
    start = _start(grey, seed, box, limit, polarity)
    if start is not None:
        dark, prior = start
        found = _refine(dark, prior, method, seed, limit)
        if found is not None:
            tidy, notes = single_component(found)
            return Boundary(tidy, trace(tidy), notes, "found")
    stand_in = np.ones(grey.shape, bool) if limit is None else limit
    name = "whole image" if limit is None else "box"
    tidy, notes = single_component(stand_in)
    return Boundary(tidy, trace(tidy), (f"no outline found: the {name} stands in", *notes), "box")


def _box_mask(shape: tuple[int, ...], box: Box) -> Array:
    x0, y0, x1, y1 = box
    mask = np.zeros(shape, bool)
    mask[max(0, round(y0)) : max(0, round(y1)), max(0, round(x0)) : max(0, round(x1))] = True
    if mask.sum() < 9:
        raise UserError("the box covers fewer than 9 pixels of the image as it is measured", hint="draw it larger")
    return mask


def _start(
    grey: Array, seed: tuple[float, float] | None, box: Box | None, limit: Array | None, polarity: Polarity
) -> tuple[Array, Array] | None:
    """The image, inverted if the mass is bright, and a first guess of the mass (H, W); None without one."""
    if box is not None and limit is not None:
        block = bounding_box(limit)
        assert block is not None
        y, x = np.indices(grey.shape)
        middle = [(side.start + side.stop - 1) / 2 for side in block]
        radii = [(side.stop - side.start + 1) / 2 for side in block]
        far = ((y - middle[0]) / radii[0]) ** 2 + ((x - middle[1]) / radii[1]) ** 2
        prior = far <= 0.8
        bright = polarity == "bright" or (
            polarity == "auto" and np.median(grey[far < 0.3]) > np.median(grey[(far > 0.9) & (far < 2)])
        )
        return (1 - grey if bright else grey), prior
    dark = propose(grey, seed=seed) if polarity != "bright" else None
    # On ultrasound there is always something bright: it counts only where nothing dark looks like a mass.
    if polarity == "bright" or (polarity == "auto" and (dark is None or dark[1] < _DOUBT)):
        bright = propose(1 - grey, seed=seed)
        if bright is not None and (dark is None or bright[1] > 4 * dark[1]):
            return 1 - grey, bright[0]
    return None if dark is None else (grey, dark[0])


def _refine(
    dark: Array, prior: Array, method: Method, seed: tuple[float, float] | None, limit: Array | None
) -> Array | None:
    """The mass (H, W) that the method finds around a first guess; None if it finds none."""
    from scipy.ndimage import gaussian_filter
    from skimage.transform import resize

    radius = float(np.sqrt(prior.sum() / np.pi))
    window = bounding_box(prior, margin=int(0.6 * radius) + 3)
    assert window is not None
    shape = prior[window].shape
    # All masses are worked on at about one size: what is smaller than 2 % of a mass is speckle.
    scale = min(1.0, _RADIUS / radius)
    coarse = tuple(max(3, round(n * scale)) for n in shape)
    smooth = gaussian_filter(dark[window], max(0.7, 0.03 * radius))
    guess = prior[window]
    if scale < 1:
        smooth = resize(smooth, coarse, order=1)
        guess = resize(guess.astype(np.float64), coarse, order=1) > 0.5
    at = None
    if seed is not None:
        at = (int((seed[1] - window[0].start) * scale), int((seed[0] - window[1].start) * scale))
        at = (min(max(at[0], 0), coarse[0] - 1), min(max(at[1], 0), coarse[1] - 1))
    found = _one_blob(_METHODS[method](smooth, guess, at), guess, at)
    if scale < 1:
        found = resize(gaussian_filter(found.astype(np.float64), 0.7), shape, order=1) > 0.5
    if limit is not None:
        found &= limit[window]
    if found.sum() < max(0.15 * prior.sum(), 16):
        return None
    out = np.zeros(dark.shape, bool)
    out[window] = found
    return out


def _one_blob(mask: Array, guess: Array, at: tuple[int, int] | None) -> Array:
    """Open and fill a mask; return its component at the seed, or the one that overlaps the guess most."""
    from scipy.ndimage import binary_fill_holes, label

    opened = _opened(mask, guess)
    parts, count = label(binary_fill_holes(opened))
    if not count:
        return np.zeros(mask.shape, bool)
    if at is not None and parts[at]:
        return np.asarray(parts == parts[at])
    overlap = np.bincount(parts[guess], minlength=count + 1)
    overlap[0] = -1
    return np.asarray(parts == int(overlap.argmax()))


def _opened(mask: Array, guess: Array) -> Array:
    """`mask` without bridges thinner than a tenth of the guessed mass; an image's edge is no bridge."""
    from skimage.morphology import disk, opening

    element = disk(max(1, min(5, round(0.05 * float(np.sqrt(guess.sum() / np.pi))))))
    return np.asarray(opening(np.pad(mask, 6, mode="edge"), element)[6:-6, 6:-6])


def _otsu(smooth: Array, guess: Array, at: tuple[int, int] | None) -> Array:
    from skimage.filters import threshold_otsu

    return np.asarray(smooth < threshold_otsu(smooth))


def _region_growing(smooth: Array, guess: Array, at: tuple[int, int] | None) -> Array:
    """Grows from the seed level by level and keeps the region whose edge is steepest and fits the guess."""
    from scipy.ndimage import (
        binary_dilation,
        binary_erosion,
        binary_fill_holes,
        distance_transform_edt,
        gaussian_gradient_magnitude,
    )
    from skimage.segmentation import flood

    if at is None:
        depth = distance_transform_edt(np.pad(guess, 1))[1:-1, 1:-1]
        core = depth > 0.5 * depth.max()
        flat = int(np.argmin(np.where(core, smooth, np.inf)))
        at = (flat // smooth.shape[1], flat % smooth.shape[1])
    # Everything darker than the seed belongs to it: growth is bounded from above alone.
    lifted = np.maximum(smooth, smooth[at])
    steep = gaussian_gradient_magnitude(smooth, 1.0)
    top = np.percentile(smooth, 85)
    size = int(guess.sum())
    best, best_score = np.zeros(smooth.shape, bool), -1.0
    for level in np.linspace(smooth[at], max(top, smooth[at] + 1e-6), 41)[1:]:
        region = flood(lifted, at, tolerance=level - smooth[at])
        region = binary_fill_holes(_opened(region, guess))
        area = int(region.sum())
        if area < 0.15 * size:
            continue
        if area > 3 * size:
            break
        edge = binary_dilation(region) & ~binary_erosion(region, border_value=1)
        fit = 2 * int((region & guess).sum()) / (area + size)
        score = float(steep[edge].mean()) * fit
        if score > best_score:
            best, best_score = region, score
    return best


def _chan_vese(smooth: Array, guess: Array, at: tuple[int, int] | None) -> Array:
    from skimage.segmentation import morphological_chan_vese

    found = morphological_chan_vese(smooth, 60, init_level_set=guess, smoothing=2) > 0
    # Which side is called inside is arbitrary: the mass is the darker one.
    if found.any() and not found.all() and smooth[found].mean() > smooth[~found].mean():
        found = ~found
    return np.asarray(found)


def _geodesic(smooth: Array, guess: Array, at: tuple[int, int] | None) -> Array:
    from scipy.ndimage import binary_dilation
    from skimage.segmentation import inverse_gaussian_gradient, morphological_geodesic_active_contour

    radius = np.sqrt(guess.sum() / np.pi)
    wide = binary_dilation(guess, iterations=max(1, int(0.15 * radius)))
    stops = inverse_gaussian_gradient(smooth, alpha=200.0, sigma=max(1.0, 0.03 * radius))
    found = morphological_geodesic_active_contour(
        stops, max(10, int(0.4 * radius)), init_level_set=wide, smoothing=2, threshold="auto", balloon=-1
    )
    return np.asarray(found > 0)


def _watershed(smooth: Array, guess: Array, at: tuple[int, int] | None) -> Array:
    from scipy.ndimage import distance_transform_edt
    from skimage.filters import sobel
    from skimage.segmentation import watershed

    inside = distance_transform_edt(np.pad(guess, 1))[1:-1, 1:-1]
    outside = distance_transform_edt(~guess)
    radius = np.sqrt(guess.sum() / np.pi)
    markers = np.zeros(guess.shape, np.int32)
    markers[inside > 0.5 * inside.max()] = 1
    markers[outside > 0.35 * radius] = 2
    if at is not None:
        markers[at] = 1
    return np.asarray(watershed(sobel(smooth), markers) == 1)


_METHODS: dict[str, Callable[[Array, Array, tuple[int, int] | None], Array]] = {
    "otsu": _otsu,
    "region-growing": _region_growing,
    "chan-vese": _chan_vese,
    "geodesic": _geodesic,
    "watershed": _watershed,
}
