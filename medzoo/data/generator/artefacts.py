"""Artefacts of a scanner: bias field, point spread, thick slices, noise, contrast curve."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from medzoo.data.generator.warp import smooth_field
from medzoo.imaging.resize import stretch
from medzoo.types import Array


def bias_field(rng: np.random.Generator, shape: tuple[int, ...], *, amount: float) -> Array:
    """(*shape) float32 around 1: the exponential of a smooth field, standard deviation 0 to 0.2 at amount 1,
    of half the scans below 0.07."""
    strength = 0.2 * rng.uniform(0, 1) ** 1.5 * amount
    spacing = max(shape) / rng.uniform(1.2, 3)
    result: Array = np.exp(np.float32(strength) * smooth_field(rng, shape, spacing=spacing))
    return result


def blur(image: Array, rng: np.random.Generator, *, low: float, high: float) -> Array:
    """`image` through a Gaussian point spread of `low` to `high` voxels (standard deviation): partial volume."""
    result: Array = gaussian_filter(image, rng.uniform(low, high), mode="nearest", truncate=3)
    return result


def thick_slices(image: Array, rng: np.random.Generator, *, thickest: float, noise: float) -> Array:
    """`image` as acquired in slices of 1 to `thickest` voxels along a random axis, brought back to its grid.

    Noise (Gaussian, standard deviation `noise`) is added where the scanner adds it, to the thick slices.
    """
    axis, thickness = int(rng.integers(3)), rng.uniform(1, thickest)
    n = image.shape[axis]
    # The slice profile: a Gaussian whose full width at half maximum is the thickness.
    image = gaussian_filter1d(image, 0.75 * thickness / 2.355, axis=axis, mode="nearest")
    place = np.linspace(0, n - 1, max(2, round(n / thickness)))
    acquired = np.take(image, np.rint(place).astype(int), axis=axis)
    acquired = acquired + noise * rng.standard_normal(acquired.shape, dtype=np.float32)
    return stretch(acquired, image.shape)


def add_noise(image: Array, rng: np.random.Generator, *, noise: float) -> Array:
    """The magnitude of `image` with Gaussian noise of that deviation in both channels (Rician)."""
    real = image + noise * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(image.shape, dtype=np.float32)
    result: Array = np.sqrt(real * real + imaginary * imaginary)
    return result


def add_smooth_noise(image: Array, rng: np.random.Generator, *, noise: float) -> Array:
    """The magnitude of `image` with Gaussian noise of that deviation that neighbours share, as in a scan that was
    brought to another grid."""
    reach = rng.uniform(0.45, 0.8)
    grain = gaussian_filter(rng.standard_normal(image.shape, dtype=np.float32), reach, mode="nearest", truncate=3)
    grain *= np.float32(noise / max(float(grain.std()), 1e-9))
    result: Array = np.abs(image + grain)
    return result


def gamma(image: Array, rng: np.random.Generator, *, amount: float) -> Array:
    """`image` >= 0 to the power of exp(N(0, 0.15 * amount)), which leaves 0 and 1 where they are."""
    exponent = np.float32(np.exp(rng.normal(0, 0.15 * amount)))
    result: Array = np.maximum(image, 0) ** exponent
    return result
