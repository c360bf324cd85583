"""Measurements of an object in an image: diameters, extent, area or volume, values, centre.

Diameters are distances between the corners of pixels, so that a single pixel of 1 mm has a longest diameter of
sqrt(2) mm; of a mask that a smooth shape has on this grid, distances between points on that shape's outline
(medzoo.imaging.smooth_outline). In a volume they are taken in the plane of acquisition, as RECIST 1.1 asks (Eisenhauer
et al., European Journal of Cancer 45:228, 2009).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from medzoo.boxes import bounding_box
from medzoo.errors import UserError
from medzoo.imaging.smooth_outline import smooth_outline
from medzoo.io.channels import luma
from medzoo.types import Array, Image

PERCENTILES = (5, 25, 50, 75, 95)
_ALIKE = 1.01  # ratio of two spacings up to which a volume counts as equally fine along both


@dataclass(frozen=True, eq=False)
class Measures:
    """Measurements of one object. Lengths are in `unit`: millimetres, or pixels where the source gives no length.

    `long`: longest diameter in the plane of acquisition; `short`: largest extent in that plane perpendicular to it, in
    the same slice. `extent`: longest diameter in three dimensions, None on a picture. `size`: area, or volume, in unit
    squared or cubed. `mean`, `sd`, `percentiles`: of the values inside, None where none is finite. `centre`: centre of
    mass, x and y in pixels of a picture, RAS millimetres of a volume. `cut_by_border`: the object reaches the edge of
    the image, so that part of it may lie outside and each length is a lower bound. `of`: measured from a mask, or from
    a box, whose sides are then `long` and `short`. `callipers`: (2, 2, n) ends of the two diameters in pixels, edges
    of the first pixel at 0, x before y on a picture.
    """

    of: Literal["mask", "box"]
    unit: Literal["mm", "px"]
    long: float
    short: float
    extent: float | None
    size: float
    mean: float | None
    sd: float | None
    percentiles: dict[int, float] | None
    centre: tuple[float, ...]
    cut_by_border: bool
    callipers: Array

    @property
    def words(self) -> str:
        """Both diameters with their unit."""
        digits = 1 if self.unit == "mm" else 0
        return f"{self.long:.{digits}f} x {self.short:.{digits}f} {self.unit}"

    def to_dict(self) -> dict[str, Any]:
        """The object `measures` of `predict --json`; names of lengths end with their unit."""
        volume = len(self.centre) == 3
        found: dict[str, Any] = {
            "of": self.of,
            f"long_{self.unit}": round(self.long, 3),
            f"short_{self.unit}": round(self.short, 3),
        }
        if volume:
            found |= {} if self.extent is None else {"extent_mm": round(self.extent, 3)}
            found["volume_ml"] = float(f"{self.size / 1000:.6g}")
        else:
            found["area_mm2" if self.unit == "mm" else "area_px"] = float(f"{self.size:.6g}")
        found |= {"mean": _short(self.mean), "sd": _short(self.sd)}
        if self.percentiles is not None:
            found["percentiles"] = {str(rank): _short(value) for rank, value in self.percentiles.items()}
        found["centre_mm" if volume else "centre_px"] = [round(v, 3) for v in self.centre]
        return found | {"cut_by_border": self.cut_by_border}

    def to_columns(self) -> dict[str, Any]:
        """`to_dict` for tables: `of` becomes `measured`, `percentiles` p5, p25, ..., a centre x, y (and z)."""
        row: dict[str, Any] = {}
        for name, value in self.to_dict().items():
            if name == "of":
                row["measured"] = value
            elif name == "percentiles":
                row |= {f"p{rank}": number for rank, number in value.items()}
            elif name.startswith("centre_"):
                row |= {f"centre_{axis}_{name[7:]}": number for axis, number in zip("xyz", value, strict=False)}
            else:
                row[name] = value
        return row


def measure_mask(mask: Array, image: Image, *, corner: Sequence[int] | None = None) -> Measures | None:
    """Measure the object `mask` (*spatial) bool of `image`; None if it is empty.

    `corner`: index in the image of the mask's first pixel, for a mask that covers a part of it. Raises UserError for a
    mask of another number of axes, or one that reaches beyond the image.
    """
    mask, shape = np.asarray(mask) != 0, image.shape
    low = np.zeros(len(shape), int) if corner is None else np.asarray(corner, int)
    if mask.ndim != len(shape) or (low < 0).any() or (low + mask.shape > shape).any():
        its, whole = (" x ".join(map(str, one)) for one in (mask.shape, shape))
        raise UserError(f"a mask of {its} does not lie in an image of {whole}", image.source)
    crop = bounding_box(mask)
    if crop is None:
        return None
    mask = mask[crop]
    low = low + [one.start for one in crop]
    scale, affine = _scale(image)
    if affine is None:
        long, short, ends = _diameters(mask, scale)
        size = float(mask.sum()) * abs(float(np.linalg.det(scale)))
        extent: float | None = None
        callipers = ends + low
    else:
        axis = _slice_axis(image)
        plane = [a for a in range(3) if a != axis]
        long, short, ends, place = _longest_in_slices(np.moveaxis(mask, axis, 0), scale[:, plane])
        size = float(mask.sum()) * abs(float(np.linalg.det(affine[:3, :3])))
        extent = _extent(mask, scale)
        callipers = np.empty((2, 2, 3))
        callipers[..., plane], callipers[..., axis] = ends, place + 0.5
        callipers += low
    middle = np.argwhere(mask).mean(axis=0) + low
    return Measures(
        of="mask",
        unit="mm" if affine is not None else _unit(image),
        long=long,
        short=short,
        extent=extent,
        size=size,
        **_statistics(image, tuple(slice(a, a + n) for a, n in zip(low, mask.shape, strict=True)), mask),
        centre=_centre(middle, affine),
        cut_by_border=bool((low == 0).any() or (low + mask.shape == shape).any()),
        callipers=callipers[..., ::-1] if affine is None else callipers,
    )


def measure_box(box: Array, image: Image) -> Measures:
    """Measure an object of which only a box (2n,) is known: `long` and `short` are its sides in the plane of
    acquisition, the values those inside it."""
    n = len(image.shape)
    low, high = np.asarray(box, float)[:n], np.asarray(box, float)[n:]
    if n == 2:
        low, high = low[::-1], high[::-1]
    scale, affine = _scale(image)
    lengths = np.linalg.norm(scale, axis=0) * (high - low)
    axis = None if affine is None else _slice_axis(image)
    sides = np.argsort(-lengths, kind="stable")
    sides = sides[sides != axis] if axis is not None else sides
    middle = (low + high) / 2
    callipers = np.broadcast_to(middle, (2, 2, n)).copy()
    for row, side in enumerate(sides[:2]):
        callipers[row, :, side] = low[side], high[side]
    begin = np.floor(low + 0.5).astype(int).clip(0, np.array(image.shape) - 1)
    end = np.maximum(np.floor(high + 0.5).astype(int), begin + 1)
    return Measures(
        of="box",
        unit=_unit(image) if affine is None else "mm",
        long=float(lengths[sides[0]]),
        short=float(lengths[sides[1]]),
        extent=None,
        size=float(np.prod(high - low) * abs(np.linalg.det(scale))),
        **_statistics(image, tuple(slice(a, b) for a, b in zip(begin, end, strict=True))),
        centre=_centre(middle - 0.5, affine),
        # Rounding puts the box of an object at the edge a little inside it.
        cut_by_border=bool((low < 0.5).any() or (high > np.array(image.shape) - 0.5).any()),
        callipers=callipers[..., ::-1] if affine is None else callipers,
    )


@dataclass(frozen=True, eq=False)
class Component:
    """A connected part of a label: `value` of the label, `box` (2n,) in pixels, `mask` bool in the box, and its
    `measures`."""

    value: int
    box: Array
    mask: Array
    measures: Measures


def components(labels: Array, image: Image) -> Iterator[Component]:
    """Connected parts of each label above 0 of a label array on the image's grid, by label, largest first.

    Pixels that touch at a corner are connected.
    """
    from scipy.ndimage import find_objects, label

    for value in np.unique(labels[labels > 0]):
        numbers, count = label(labels == value, np.ones((3,) * labels.ndim))
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        places = find_objects(numbers)
        for k in np.argsort(-sizes, kind="stable"):
            place = places[k]
            part = numbers[place] == k + 1
            found = measure_mask(part, image, corner=[one.start for one in place])
            assert found is not None
            axes = place[::-1] if labels.ndim == 2 else place
            box = np.array([*(one.start for one in axes), *(one.stop for one in axes)], float)
            yield Component(int(value), box, part, found)


def crop_image(image: Image, box: Array, *, margin: int = 0) -> Image:
    """The part of an image that holds a box (2n,), `margin` pixels wider where there is room; at least one pixel."""
    n = len(image.shape)
    low, high = np.asarray(box, float)[:n], np.asarray(box, float)[n:]
    if n == 2:
        low, high = low[::-1], high[::-1]
    sides = np.array(image.shape)
    begin = (np.floor(low).astype(int) - margin).clip(0, sides - 1)
    end = np.maximum((np.ceil(high).astype(int) + margin).clip(0, sides), begin + 1)
    part = image.array[(slice(None), *(slice(a, b) for a, b in zip(begin, end, strict=True)))]
    if image.affine is None:
        return image.replace(array=part)
    affine = np.array(image.affine, float)
    affine[:3, 3] += affine[:3, :3] @ begin
    # Fields of the file say where the whole lies.
    return Image(part, affine, image.source)


def _scale(image: Image) -> tuple[Array, Array | None]:
    """(m, n) matrix from differences of indices to lengths, and the affine of a volume."""
    if image.affine is not None:
        return np.asarray(image.affine, float)[:3, :3], np.asarray(image.affine, float)
    return np.diag(image.meta.get("spacing_mm", (1.0, 1.0))), None


def _unit(image: Image) -> Literal["mm", "px"]:
    return "mm" if "spacing_mm" in image.meta else "px"


def _slice_axis(image: Image) -> int:
    """The axis across the plane of acquisition: the last of a DICOM series, whose slices were stacked along it; else
    that along which a volume is coarsest, the last of equals."""
    if image.meta.get("format") == "dicom":
        return 2
    spacing = np.asarray(image.spacing)
    return int(np.flatnonzero(spacing * _ALIKE >= spacing.max())[-1])


def _outer_corners(mask: Array) -> Array:
    """Corners (P, n) of the first and last pixel of every line along the last axis; their hull is that of the mask."""
    lines = np.argwhere(mask.any(axis=-1))
    rows = mask[tuple(lines.T)]
    first, last = rows.argmax(axis=1), rows.shape[1] - rows[:, ::-1].argmax(axis=1)
    corners = []
    for shift in np.ndindex(*(2,) * (mask.ndim - 1)):
        corners += [np.column_stack([lines + shift, end]) for end in (first, last)]
    return np.unique(np.concatenate(corners), axis=0).astype(float)


def _hull(points: Array) -> Array:
    """Points (P, n) on the convex hull."""
    import scipy.spatial  # noqa: F401  (the whole first: threads import at once)
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices] if len(points) > 2 ** points.shape[1] else points


def _farthest(points: Array) -> tuple[float, int, int]:
    """The largest distance between two of points (P, n), and which they are."""
    best, pair = -1.0, (0, 0)
    for start in range(0, len(points), 512):
        apart = ((points[start : start + 512, None] - points[None]) ** 2).sum(axis=-1)
        row, column = divmod(int(apart.argmax()), len(points))
        if apart[row, column] > best:
            best, pair = float(apart[row, column]), (start + row, column)
    return best**0.5, *pair


def _diameters(mask: Array, scale: Array) -> tuple[float, float, Array]:
    """Longest diameter of a mask (H, W), the largest extent perpendicular to it, and the ends (2, 2, 2) of both."""
    # In an orthonormal basis of the plane, distances are those of the space around it, even where axes are oblique.
    basis = np.linalg.qr(scale)[1]
    hull, points, (long, a, b) = _longest(mask, basis)
    along = (points[b] - points[a]) / long
    across = np.array([-along[1], along[0]])
    reach, place = points @ across, points @ along
    low, high = int(reach.argmin()), int(reach.argmax())
    foot = along * (place[low] + place[high]) / 2
    ends = np.array([foot + across * reach[low], foot + across * reach[high]])
    return long, float(reach[high] - reach[low]), np.array([hull[[a, b]], ends @ np.linalg.inv(basis).T])


def _longest_in_slices(slices: Array, scale: Array) -> tuple[float, float, Array, int]:
    """`_diameters` of the slice (first axis) with the longest one, and which slice that is."""
    best: tuple[float, float, Array, int] | None = None
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    for place, mask in enumerate(slices):
        crop = bounding_box(mask)
        if crop is None:
            continue
        low, size = np.array([one.start for one in crop]), np.array([one.stop - one.start for one in crop])
        # No diameter is longer than the box's diagonals.
        if best is not None and _farthest(corners * size @ scale.T)[0] <= best[0]:
            continue
        long, short, ends = _diameters(mask[crop], scale)
        if best is None or long > best[0]:
            best = (long, short, ends + low, place)
    assert best is not None
    return best


def _extent(mask: Array, scale: Array) -> float:
    """The longest diameter of a mask (I, J, K)."""
    return _longest(mask, scale)[2][0]


def _longest(mask: Array, scale: Array) -> tuple[Array, Array, tuple[float, int, int]]:
    """Points (P, n) that hold the ends of all diameters of a mask, the same in lengths by `scale`, and `_farthest`."""
    hull = _hull(_outer_corners(mask))
    points = hull @ scale.T
    found = _farthest(points)
    outline = smooth_outline(mask, hull[list(found[1:])])
    if outline is not None:
        hull = _hull(outline)
        points = hull @ scale.T
        found = _farthest(points)
    return hull, points, found


def _statistics(image: Image, place: tuple[slice, ...], mask: Array | None = None) -> dict[str, Any]:
    """`mean`, `sd` and `percentiles` of the values in a part of the image: of its first channel, of a colour picture
    its luma."""
    part = image.array[(slice(None), *place)]
    values: Array = luma(part)[0] if len(part) == 3 and image.affine is None else part[0]
    values = (values[mask] if mask is not None else values.ravel()).astype(float)
    values = values[np.isfinite(values)]
    if not len(values):
        return {"mean": None, "sd": None, "percentiles": None}
    ranks = np.percentile(values, PERCENTILES)
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "percentiles": dict(zip(PERCENTILES, map(float, ranks), strict=True)),
    }


def _centre(index: Array, affine: Array | None) -> tuple[float, ...]:
    """The place of an index: RAS millimetres, or x and y of a picture counted from its edge."""
    if affine is None:
        return float(index[1] + 0.5), float(index[0] + 0.5)
    return tuple(float(v) for v in affine[:3, :3] @ index + affine[:3, 3])


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def holes(mask: Array) -> Array:
    """The holes of `mask` (2D or 3D) as a bool array: background not connected to the edge (face connectivity).

    Also those that only a leak of one or two voxels joins to it: the noise that made the hole tends to.
    """
    from scipy.ndimage import binary_closing, binary_dilation

    mask = np.asarray(mask, bool)
    around = np.pad(mask, 2)
    closed = binary_closing(around)
    found = _enclosed(~around) | (binary_dilation(_enclosed(~closed)) & ~around)
    result: Array = found[(slice(2, -2),) * mask.ndim]
    return result


def _enclosed(empty: Array) -> Array:
    """The components of `empty` other than the one in the corner."""
    from scipy.ndimage import label

    parts, _ = label(empty)
    result: Array = empty & (parts != parts[(0,) * parts.ndim])
    return result
