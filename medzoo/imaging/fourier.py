"""Fourier descriptors of a closed contour. Knows numpy, medzoo.errors and the contour room file."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.contour import check_contour
from medzoo.types import Array


def fourier_descriptors(contour: Array) -> Array:
    """Z(k) = (1/N) sum_n z(n) exp(-2 pi i k n / N) of z = x + iy: (N,) complex, at index k (or N + k).

    The contour (N, 2) is traversed in the direction in which |Z(1)| >= |Z(-1)|; reversing it keeps its
    first point. Raises UserError for fewer than 8 points.
    """
    contour = check_contour(contour)
    z = contour[:, 0] + 1j * contour[:, 1]
    coefficients = np.fft.fft(z) / len(z)
    if abs(coefficients[1]) < abs(coefficients[-1]):
        coefficients = np.roll(coefficients[::-1], 1)
    return coefficients


def reconstruct(descriptors: Array, harmonics: int | Iterable[int], *, points: int | None = None) -> Array:
    """The contour (points, 2) that the harmonics k in a set give; an int m stands for all |k| <= m.

    descriptors: (N,) as `fourier_descriptors` gives them; `points`: N unless given. Raises UserError for a
    harmonic that N points do not have.
    """
    n = len(descriptors)
    ks = range(-harmonics, harmonics + 1) if isinstance(harmonics, int) else sorted(set(harmonics))
    if any(not -n / 2 <= k <= n / 2 for k in ks):
        raise UserError(f"a contour of {n} points has harmonics from {-(n // 2)} to {n // 2}", "harmonics")
    turn = np.arange(points or n) / (points or n)
    z = np.zeros(len(turn), complex)
    for k in ks:
        z += descriptors[k % n] * np.exp(2j * np.pi * k * turn)
    return np.stack([z.real, z.imag], axis=1)


def reconstruction_error(contour: Array, harmonics: int | Iterable[int]) -> float:
    """Root mean square distance between a contour (N, 2) and its reconstruction, in the contour's unit."""
    descriptors = fourier_descriptors(contour)
    rebuilt = reconstruct(descriptors, harmonics)
    away = reconstruct(descriptors, _all(len(descriptors))) - rebuilt
    return float(np.sqrt((away**2).sum(axis=1).mean()))


def fourier_factor(contour: Array) -> float:
    """1 - sum |Z(k)|/|k| / sum |Z(k)| over k != 0: 0 for a circle, towards 1 for a rough outline.

    Depends on the number of points: compare contours of the same N only.
    Source: Shen, Rangayyan, Desautels, IEEE Trans. Medical Imaging 13 (1994) 263.
    """
    descriptors = fourier_descriptors(contour)
    n = len(descriptors)
    size = np.abs(descriptors)[1:]
    if not size.any():
        raise UserError("all points of the contour are the same", "ff")
    order = np.abs(np.fft.fftfreq(n, 1 / n))[1:]
    return float(1 - (size / order).sum() / size.sum())


def _all(n: int) -> range:
    return range(-(n // 2) + (n % 2 == 0), n // 2 + 1)
