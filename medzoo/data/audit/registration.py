"""Verify proposed placements of one picture in another: align by least squares, then compare.

The alignment is Lucas-Kanade (IJCAI 1981) with gain and offset of the grey values, residuals weighted down
where text is burnt into one of the two; it starts at half size, and what fails there goes no further. All
pairs of a batch are aligned at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from medzoo.data.audit.fingerprint import Fingerprints
from medzoo.data.audit.placement import Placement
from medzoo.types import Array

COARSE, FINE = (2.0, 2.0, 2.0, 1.0, 1.0), (1.0, 1.0, 1.0)  # blur of each round, in pixels of its size
BLURS = (1.0, 1.4, 2.0, 2.8)
PLAUSIBLE = 0.8  # least correlation at half size
SAME = 0.9  # least correlation of what is shared, the worst tenth of pixels left out
SAME_IN_ALL = 1.8  # least sum of that and of the correlation of fine detail
# Layers alone fit layers anywhere: least change along one axis over that along the other, and the same where the two
# scales differ by more than STRETCHED, which a wrong fit needs more often than a copy.
STRUCTURE, STRUCTURE_STRETCHED, STRETCHED = 0.1, 0.3, 1.05
SHARE = 0.5  # least part of one of the two pictures that is shared
TRIM = 0.1
BATCH = 64
Rectangle = tuple[float, float, float, float]


@dataclass(frozen=True)
class VerifiedPlacement:
    """A placement that holds. `score`, `detail`: correlation of what the two pictures share, and of its fine detail.

    `shared`: the rectangle of a and the one of b (as it is mirrored) that show it, (top, left, bottom, right) each, as
    fractions of the height and width.
    """

    guess: Placement
    score: float
    detail: float
    shared: tuple[Rectangle, Rectangle]


def verify_placements(prints: Fingerprints, guesses: Sequence[Placement]) -> Iterator[VerifiedPlacement]:
    """The placements that hold."""
    batches = [guesses[start : start + BATCH] for start in range(0, len(guesses), BATCH)]
    with ThreadPoolExecutor() as pool:
        for found in pool.map(lambda some: _confirmed(prints, some), batches):
            yield from found


@dataclass(frozen=True, eq=False)
class _Alignment:
    """Alignment of p pairs: a rectangle of picture a, `middle` +- `radius` (p, 2), lies at `centre` +- `reach` of b."""

    middle: Array
    radius: Array
    centre: Array
    reach: Array

    def scaled(self, factor: float) -> _Alignment:
        """The same on pictures whose sides are `factor` as long."""
        points = [(p + 0.5) * factor - 0.5 for p in (self.middle, self.centre)]
        return _Alignment(points[0], self.radius * factor, points[1], self.reach * factor)

    def of(self, chosen: Array) -> _Alignment:
        """Some of the pairs."""
        return _Alignment(self.middle[chosen], self.radius[chosen], self.centre[chosen], self.reach[chosen])


def _confirmed(prints: Fingerprints, guesses: Sequence[Placement]) -> list[VerifiedPlacement]:
    scale, shift = np.array([g.scale for g in guesses]), np.array([g.shift for g in guesses])
    a, b, way = np.array([(g.a, g.b, g.way) for g in guesses]).T
    low = np.maximum(1, (1 - shift) / scale)
    high = np.minimum(prints.extent[a] - 2, (prints.extent[b] - 2 - shift) / scale)
    left = np.flatnonzero(((scale > 0.25) & (scale < 4) & (high - low > 16)).all(axis=1))
    middle, radius = (low + high)[left] / 2, (high - low)[left] / 2
    guess = fit = _Alignment(middle, radius, scale[left] * middle + shift[left], scale[left] * radius)
    for factor, rounds, side in ((0.5, COARSE, 24), (1.0, FINE, 48)):
        if not len(left):
            return []
        views = _views(prints, a[left], b[left], way[left], half=factor < 1)
        fit = _align(*views, fit.scaled(factor), rounds, side).scaled(1 / factor)
        score, detail = _scores(*views, fit.scaled(factor), side)
        if factor == 1:
            # At half size it may have slid along an edge: the guess itself, aligned at full size, may fit better.
            other = _align(*views, guess, rounds, side)
            fit, score, detail = _better((fit, score, detail), (other, *_scores(*views, other, side)))
        good = score > PLAUSIBLE if factor < 1 else (score > SAME) & (score + detail > SAME_IN_ALL)
        if factor == 1:
            good &= _structured(views[0], fit, side)
        left, fit, score, detail = left[good], fit.of(good), score[good], detail[good]
        guess = guess.of(good)
    shared = [
        4 * radius.prod(axis=1) / prints.extent[picture[left]].astype(float).prod(axis=1)
        for picture, radius in ((a, fit.radius), (b, fit.reach))
    ]
    kept = np.maximum(*shared) > SHARE
    fit = fit.of(kept)
    here = _fractions(fit.middle, fit.radius, prints.extent[a[left[kept]]])
    there = _fractions(fit.centre, fit.reach, prints.extent[b[left[kept]]])
    return [
        VerifiedPlacement(guesses[k], float(s), float(d), (tuple(first), tuple(second)))
        for k, s, d, first, second in zip(
            left[kept], score[kept], detail[kept], here.tolist(), there.tolist(), strict=True
        )
    ]


def _fractions(middle: Array, radius: Array, extent: Array) -> Array:
    """(p, 4) top, left, bottom, right of rectangles middle +- radius, of pictures of `extent`."""
    fractions: Array = np.concatenate([(middle - radius + 0.5) / extent, (middle + radius + 0.5) / extent], axis=1)
    return fractions


def _better(
    one: tuple[_Alignment, Array, Array], other: tuple[_Alignment, Array, Array]
) -> tuple[_Alignment, Array, Array]:
    """Pair by pair the fit whose correlations are higher, with them."""
    chosen = other[1] + other[2] > one[1] + one[2]
    fields = [
        np.where(chosen[:, None], b, a) for a, b in zip(vars(one[0]).values(), vars(other[0]).values(), strict=True)
    ]
    return _Alignment(*fields), np.where(chosen, other[1], one[1]), np.where(chosen, other[2], one[2])


class _View:
    """One picture of each pair: `number` (p,) in a stack (n, blurs, h, w), of `size` (p, 2), mirrored by
    `way` (p,) as it is read."""

    def __init__(self, stack: Array, number: Array, size: Array, way: Array) -> None:
        self.stack, self.number, self.size = stack, number, size
        self.flipped = np.stack([way & 2, way & 1], axis=1) > 0

    def sample(self, centre: Array, reach: Array, blur: Array, side: int) -> tuple[Array, Array, Array]:
        """Values (p, side, side) over centre +- reach, bilinear, and their change by row and by column;
        `blur` (p,) in pixels."""
        blurs, length = self.stack.shape[1:3]
        level = np.rint(2 * np.log2(blur)).astype(int).clip(0, blurs - 1)
        sign = np.where(self.flipped, -1.0, 1.0)
        turned = np.where(self.flipped, self.size - 1 - centre, centre)
        at = turned[:, :, None] + (sign * reach)[:, :, None] * np.linspace(-1, 1, side)
        at = np.clip(at, 0, length - 1.001)
        first = at.astype(int)
        part = (at - first).astype(np.float32)
        start = (self.number * blurs + level)[:, None, None] * length**2
        corner = start + first[:, 0, :, None] * length + first[:, 1, None, :]
        flat = self.stack.reshape(-1)
        v00, v01, v10, v11 = (flat.take(corner + offset) for offset in (0, 1, length, length + 1))
        down, right = part[:, 0, :, None], part[:, 1, None, :]
        top, bottom = v00 + right * (v01 - v00), v10 + right * (v11 - v10)
        by_column = (v01 - v00) + down * ((v11 - v10) - (v01 - v00))
        signs = sign.astype(np.float32)[:, :, None, None]
        return top + down * (bottom - top), (bottom - top) * signs[:, 0], by_column * signs[:, 1]


def _views(prints: Fingerprints, a: Array, b: Array, way: Array, *, half: bool) -> tuple[_View, _View]:
    """The pictures of the pairs, blurred in advance; at half size if `half`."""
    from scipy.ndimage import gaussian_filter

    pictures, number = np.unique(np.r_[a, b], return_inverse=True)
    canvas = prints.canvas[pictures].astype(np.float32)
    size = prints.extent[pictures].astype(float)
    if half:
        canvas = (canvas[:, ::2] + canvas[:, 1::2]) / 2
        canvas = (canvas[:, :, ::2] + canvas[:, :, 1::2]) / 2
        size = size / 2
    stack = np.stack([gaussian_filter(canvas, (0, blur, blur), truncate=3) for blur in BLURS], axis=1)
    first, second = number[: len(a)], number[len(a) :]
    return _View(stack, first, size[first], np.zeros_like(way)), _View(stack, second, size[second], way)


def _blurs(fit: _Alignment) -> tuple[Array, Array]:
    """Factors of blur for a and b that make it the same in the scene: the finer picture is blurred more."""
    ratio = np.sqrt((fit.reach / fit.radius).prod(axis=1))
    return np.maximum(1, 1 / ratio), np.maximum(1, ratio)


def _align(first: _View, second: _View, fit: _Alignment, rounds: Sequence[float], side: int) -> _Alignment:
    """The fit after some Gauss-Newton steps, each at most a few pixels; a step that runs away is not taken."""
    centre, reach = fit.centre, fit.reach
    blur_a, blur_b = _blurs(fit)
    for blur in rounds:
        target = first.sample(fit.middle, fit.radius, blur * blur_a, side)[0]
        sampled = second.sample(centre, reach, blur * blur_b, side)
        new_centre, new_reach = _step(target, sampled, centre, reach)
        sane = (np.abs(new_centre - fit.centre) < 10) & (new_reach > fit.reach / 2) & (new_reach < 2 * fit.reach)
        sane = sane.all(axis=1, keepdims=True)
        centre, reach = np.where(sane, new_centre, centre), np.where(sane, new_reach, reach)
    return _Alignment(fit.middle, fit.radius, centre, reach)


def _step(target: Array, sampled: tuple[Array, Array, Array], centre: Array, reach: Array) -> tuple[Array, Array]:
    value, by_row, by_column = sampled
    u = np.linspace(-1, 1, target.shape[1], dtype=np.float32)
    off = np.abs(target - _fitted(target, value)).reshape(len(value), -1)
    width = 3 * np.median(off[:, ::3], axis=1)[:, None] + 1e-3
    weight = 1 / (1 + (off / width) ** 2)
    columns = [value, np.ones_like(value), by_row, by_row * u[:, None], by_column, by_column * u]
    design = np.stack(columns, axis=1).reshape(len(value), 6, -1)
    weighted = design * weight[:, None]
    normal = (weighted @ design.transpose(0, 2, 1)).astype(np.float64)
    normal += np.eye(6) * (1e-4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6)
    wanted = (weighted @ target.reshape(len(value), -1, 1)).astype(np.float64)
    solved = np.linalg.solve(normal, wanted)[..., 0]
    gain = np.where(np.abs(solved[:, :1]) < 1e-2, 1e-2, solved[:, :1])
    move = np.clip(solved[:, 2:] / gain, -4, 4)
    return centre + move[:, [0, 2]], reach + move[:, [1, 3]]


def _scores(first: _View, second: _View, fit: _Alignment, side: int) -> tuple[Array, Array]:
    """(p,) correlations of what the pictures share and of its fine detail, worst pixels left out."""
    from scipy.ndimage import gaussian_filter

    blur_a, blur_b = _blurs(fit)
    x = first.sample(fit.middle, fit.radius, blur_a, side)[0]
    y = second.sample(fit.centre, fit.reach, blur_b, side)[0]
    residual = np.abs(x - _fitted(x, y)).reshape(len(x), -1)
    kept = (residual <= np.quantile(residual, 1 - TRIM, axis=1, keepdims=True)).reshape(x.shape)
    fine = [p - gaussian_filter(p, (0, 2, 2)) for p in (x, y)]
    return _correlation(x, y, kept), _correlation(fine[0], fine[1], kept)


def _structured(first: _View, fit: _Alignment, side: int) -> Array:
    """(p,) whether what is shared changes along both axes, so that there is one place where it fits."""
    _, down, across = first.sample(fit.middle, fit.radius, _blurs(fit)[0], side)
    change = np.sort([(part**2).mean(axis=(1, 2)) for part in (down, across)], axis=0)
    scale = np.sort(fit.reach / fit.radius, axis=1)
    least = np.where(scale[:, 1] > STRETCHED * scale[:, 0], STRUCTURE_STRETCHED, STRUCTURE)
    result: Array = change[0] > least * change[1]
    return result


def _fitted(target: Array, value: Array) -> Array:
    """`value` with the gain and offset that bring it closest to `target`, picture by picture."""
    centred = value - value.mean(axis=(1, 2), keepdims=True)
    mean = target.mean(axis=(1, 2), keepdims=True)
    gain = (centred * (target - mean)).sum(axis=(1, 2)) / ((centred**2).sum(axis=(1, 2)) + 1e-6)
    result: Array = gain[:, None, None] * centred + mean
    return result


def _correlation(x: Array, y: Array, kept: Array) -> Array:
    """(p,) correlation of pictures over the kept pixels."""
    count = kept.sum(axis=(1, 2), keepdims=True)
    x, y = (np.where(kept, p - (p * kept).sum(axis=(1, 2), keepdims=True) / count, 0) for p in (x, y))
    energy = (x**2).sum(axis=(1, 2)) * (y**2).sum(axis=(1, 2))
    result: Array = (x * y).sum(axis=(1, 2)) / np.sqrt(energy + 1e-6)
    return result
