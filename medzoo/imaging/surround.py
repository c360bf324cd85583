"""Features of a mass relative to its surroundings: margin sharpness, echo, posterior shadow.

Knows numpy, scipy and medzoo.errors.
"""

from __future__ import annotations

import numpy as np

from medzoo.boxes import bounding_box
from medzoo.errors import UserError
from medzoo.types import Array

MARGIN = (
    "margin_acutance", "margin_acutance_spread", "margin_abrupt", "margin_weak_share", "margin_normal_share",
    "margin_width",
)  # fmt: skip
ECHO = (
    "echo_darkness", "echo_contrast", "echo_ratio", "echo_shadow", "echo_shadow_ratio", "echo_side",
    "echo_halo", "echo_depth", "echo_core",
)  # fmt: skip


def margin_features(image: Array, contour: Array) -> dict[str, float]:
    """Features of the grey value's change across an outline (N, 2) of an image (H, W), along its normals.

    Profiles reach a tenth of the mass's diameter to either side. acutance: mean difference of the outer
    and the inner half of the profiles over the image's standard deviation, and its spread along the
    outline (Rangayyan et al., IEEE TMI 16, 1997); abrupt: the steepest step of the mean profile; weak
    share: part of the outline where the difference is below a quarter of its mean; normal share: energy
    of the gradient across the outline over all of its gradient; width: where the mean profile has risen
    from a quarter to three quarters, over the profile's length. Raises UserError for a constant image.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    scale = float(image.std())
    if scale == 0:
        raise UserError("the image is constant, so it has no margin features")
    size = float(np.sqrt(np.prod(np.ptp(contour, axis=0))))
    reach = max(2.0, size / 10)
    smooth = gaussian_filter(image, max(0.7, size / 100))
    tangent = np.roll(contour, -3, axis=0) - np.roll(contour, 3, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    x, y = contour.T
    clockwise = np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)) > 0
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) * (1 if clockwise else -1)
    offsets = np.linspace(-reach, reach, 21)
    points = contour[:, None, :] + offsets[None, :, None] * normal[:, None, :]
    profiles = map_coordinates(smooth, [points[..., 1], points[..., 0]], order=1, mode="nearest") / scale
    rise = profiles[:, 11:].mean(axis=1) - profiles[:, :10].mean(axis=1)
    across = np.diff(profiles, axis=1)
    along = np.diff(profiles, axis=0, append=profiles[:1])
    mean = profiles.mean(axis=0)
    low, high = float(mean[:10].min()), float(mean[11:].max())
    part = (mean - low) / (high - low) if high > low else np.linspace(0.0, 1.0, len(mean))
    middle = (part > 0.25) & (part < 0.75)
    energy = float((across**2).sum() + (along[:, 1:] ** 2).sum())
    return {
        "margin_acutance": float(rise.mean()),
        "margin_acutance_spread": float(rise.std()),
        "margin_abrupt": float(np.diff(mean).max()),
        "margin_weak_share": float((rise < 0.25 * abs(rise.mean())).mean()),
        "margin_normal_share": float((across**2).sum()) / energy if energy > 0 else 0.0,
        "margin_width": float(middle.mean()),
    }


def echo_features(image: Array, mask: Array) -> dict[str, float]:
    """Features of a mass's (H, W) darkness on an ultrasound image (H, W), against its ring and what lies below it.

    Values are in the image's standard deviations unless called a ratio. darkness: image mean less the
    mass's; contrast, ratio: ring of half the mass's radius against the mass; shadow, shadow ratio: the
    strip below the mass (as wide as its middle half, as deep as its height) against the strips beside it
    at that depth; side: the tissue beside the mass against it; halo: the ring's outer against its inner
    half; depth: the mass's centre from the top; core: its inner against its outer half.
    Raises UserError for a constant image.
    """
    from scipy.ndimage import distance_transform_edt

    scale = float(image.std())
    if scale == 0:
        raise UserError("the image is constant, so it has no echo features")
    block = bounding_box(mask)
    assert block is not None
    (top, bottom), (left, right) = ((side.start, side.stop) for side in block)
    height, width = bottom - top, right - left
    radius = float(np.sqrt(mask.sum() / np.pi))
    pad = int(np.ceil(radius / 2)) + 2
    window = (
        slice(max(0, top - pad), bottom + pad),
        slice(max(0, left - pad), right + pad),
    )
    near, part = mask[window], image[window]
    # The margin of zeros makes a mass that fills the window end at its edge.
    outside, inside = distance_transform_edt(~near), distance_transform_edt(np.pad(near, 1))[1:-1, 1:-1]
    mass = float(part[near].mean())
    ring = (outside > radius / 20) & (outside <= radius / 2)
    mean_ring = _mean(part, ring, mass)
    depth = inside.max()
    below = slice(bottom, bottom + height)
    middle = slice(left + width // 4, max(left + width // 4 + 1, right - width // 4))
    mean_below = _mean_of(image[below, middle], mass)
    mean_beside = _mean_of(_flanks(image, below, left, right), mean_below)
    mean_flank = _mean_of(_flanks(image, slice(top, bottom), left, right), mass)
    return {
        "echo_darkness": (float(image.mean()) - mass) / scale,
        "echo_contrast": (mean_ring - mass) / scale,
        "echo_ratio": mass / (mean_ring + 0.05 * scale + 1e-12),
        "echo_shadow": (mean_below - mean_beside) / scale,
        "echo_shadow_ratio": (mean_below - mass) / scale,
        "echo_side": (mean_flank - mass) / scale,
        "echo_halo": (_mean(part, ring & (outside > radius / 4), mass)
                      - _mean(part, ring & (outside <= radius / 4), mass)) / scale,
        "echo_depth": float((top + bottom) / 2 / image.shape[0]),
        "echo_core": (_mean(part, inside > depth / 2, mass) - _mean(part, near & (inside <= depth / 2), mass))
        / scale,
    }  # fmt: skip


def _flanks(image: Array, rows: slice, left: int, right: int) -> Array:
    """The pixels of some rows beside columns left to right, half that width on either side."""
    reach = (right - left) // 2
    return np.concatenate(
        [image[rows, max(0, left - reach) : left].ravel(), image[rows, right : right + reach].ravel()]
    )


def _mean(image: Array, where: Array, otherwise: float) -> float:
    return _mean_of(image[where], otherwise)


def _mean_of(values: Array, otherwise: float) -> float:
    """The mean, or `otherwise` where the image ends before there is anything to average."""
    return float(values.mean()) if values.size else otherwise
