"""Axial, coronal and sagittal views of a volume in one figure, in millimetres of the patient.

Each view samples a plane of RAS space through the inverse of the affine, so any stored orientation, voxel
shape and obliquity is shown in true proportions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.errors import UserError
from medzoo.plots.canvas import TEXT, blank_figure, draw_text, legend, overlay, rim, save_png, shorten
from medzoo.plots.colours import FAINT, INK, Colour, colour_of, grey_window, to_bytes
from medzoo.types import Array, Image

Convention = Literal["radiological", "neurological"]
ViewName = Literal["axial", "coronal", "sagittal"]
VIEWS: tuple[ViewName, ...] = ("axial", "coronal", "sagittal")
# RAS axis across the screen and up it; the third is the one looked along.
AXES: dict[ViewName, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))
WORLD = "xyz"
PAD, GAP = 12, 10


@dataclass(frozen=True, eq=False)
class View:
    """One sampled plane: `index` (H, W, 3) voxel coordinates of every screen pixel, and the letters at the
    left, right, top and bottom edge."""

    name: ViewName
    index: Array
    letters: tuple[str, str, str, str]

    def sample(self, volume: Array, *, order: Literal[0, 1]) -> Array:
        """`volume` (I, J, K) on the screen (H, W); 0 outside it."""
        shape = np.array(volume.shape)
        outside = ((self.index < -0.5) | (self.index > shape - 0.5)).any(axis=-1)
        if order == 0:
            nearest = np.clip(np.floor(self.index + 0.5).astype(int), 0, shape - 1)
            values = volume[nearest[..., 0], nearest[..., 1], nearest[..., 2]]
        else:
            from scipy.ndimage import map_coordinates

            coordinates = np.moveaxis(self.index, -1, 0)
            values = map_coordinates(volume, coordinates, np.float32, order=1, mode="nearest")
        return np.where(outside, 0, values).astype(values.dtype)

    def inside(self, box: Array) -> Array:
        """(H, W) bool: the pixels that lie in a box (6,) along the stored axes."""
        edge = self.index + 0.5
        return np.asarray(((edge >= box[:3]) & (edge < box[3:])).all(axis=-1))


def extent_mm(image: Image) -> Array:
    """(2, 3) lowest and highest RAS millimetre of the volume's outer edges."""
    assert image.affine is not None
    ends = np.array([[-0.5] * 3, np.array(image.shape) - 0.5])
    picks = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    corners = ends[picks, range(3)] @ image.affine[:3, :3].T + image.affine[:3, 3]
    return np.array([corners.min(axis=0), corners.max(axis=0)])


def view_plane(image: Image, name: ViewName, at: Array, *, convention: Convention, scale: float) -> View:
    """The plane through `at` (3,) RAS mm, `scale` screen pixels a millimetre, over the volume's whole extent.

    Radiological: the patient's right on the screen's left, and in the sagittal view the face to the left.
    Neurological: the patient's right on the right, the face to the right.
    """
    assert image.affine is not None
    across, up, through = AXES[name]
    low, high = extent_mm(image)
    width, height = (max(1, round((high[a] - low[a]) * scale)) for a in (across, up))
    u = low[across] + (np.arange(width) + 0.5) * (high[across] - low[across]) / width
    v = high[up] - (np.arange(height) + 0.5) * (high[up] - low[up]) / height
    first, last = LETTERS[across]
    if convention == "radiological":
        u, first, last = u[::-1], last, first
    world = np.empty((height, width, 3))
    world[..., across], world[..., up], world[..., through] = u[None, :], v[:, None], at[through]
    inverse = np.linalg.inv(image.affine)
    index = world @ inverse[:3, :3].T + inverse[:3, 3]
    return View(name, index, (first, last, LETTERS[up][1], LETTERS[up][0]))


def three_views(
    image: Image,
    *,
    mask: Array | None = None,
    labels: Sequence[str] = (),
    boxes: Array | None = None,
    scores: Array | None = None,
    classes: Array | None = None,
    at: Sequence[float] | None = None,
    convention: Convention = "radiological",
    title: str | None = None,
    opacity: float = 0.4,
    window: tuple[float, float] | None = None,
    width: int = 1600,
) -> Pillow.Image:
    """The figure. `mask` (I, J, K) with `labels` by value, or `boxes` (N, 6) with scores and class indices.

    `at`: RAS millimetres where the planes cross; by default the middle of the largest labelled region, of the
    best box, or of the head. `window`: lowest and highest value shown. Raises UserError for a picture.
    """
    if image.affine is None:
        raise UserError("is a picture, but three views need a volume", image.source)
    if convention not in ("radiological", "neurological"):
        raise UserError(f"unknown convention {convention!r}", hint="radiological or neurological")
    volume = image.array[0]
    best = np.argsort(-np.asarray(scores))[:1] if scores is not None and len(scores) else [0]
    first_box = np.asarray(boxes)[best][0] if boxes is not None and len(boxes) else None
    point = np.asarray(at, float) if at is not None else _middle(image, mask, first_box)
    low, high = extent_mm(image)
    size = high - low
    wide = sum(size[AXES[name][0]] for name in VIEWS)
    tall = max(size[AXES[name][1]] for name in VIEWS)
    scale = min((width - 2 * PAD - 2 * GAP) / wide, 0.75 * width / tall)
    shown = window or grey_window(volume)

    panels = []
    for name in VIEWS:
        view = view_plane(image, name, point, convention=convention, scale=scale)
        panels.append((view, _panel(view, volume, shown, mask, boxes, scores, classes, opacity)))
    return _compose(panels, point, scale, width, title, _names(mask, labels, classes), convention)


def plot_three_views(path: str | Path, image: Image, **options: object) -> Path:
    """Write `three_views(image, **options)` as PNG; returns the path. Raises UserError."""
    return save_png(path, three_views(image, **options))  # type: ignore[arg-type]


def _panel(
    view: View,
    volume: Array,
    window: tuple[float, float],
    mask: Array | None,
    boxes: Array | None,
    scores: Array | None,
    classes: Array | None,
    opacity: float,
) -> Pillow.Image:
    grey = to_bytes(view.sample(volume, order=1), window)
    outside = ((view.index < -0.5) | (view.index > np.array(volume.shape) - 0.5)).any(axis=-1)
    grey[outside] = 0
    labels = np.zeros(grey.shape, np.uint8) if mask is None else view.sample(mask, order=0)
    picture = overlay(grey, labels, opacity=opacity)
    notes: list[tuple[tuple[int, int], str, Colour]] = []
    for n, box in enumerate(() if boxes is None else boxes):
        region = view.inside(np.asarray(box, float))
        if region.any():
            colour = colour_of(int(classes[n]) if classes is not None else 0)
            picture[rim(region, 2)] = colour
            rows, columns = np.nonzero(region)
            score = f"{float(scores[n]):.2f}" if scores is not None else ""
            notes.append(((int(columns.min()), int(rows.min()) - 2), score, colour))
    panel = Pillow.fromarray(picture)
    for place, text, colour in notes:
        draw_text(panel, place, text, colour=colour, size=TEXT - 4, anchor="lb")
    w, h = panel.size
    places = ((6, h / 2, "lm"), (w - 6, h / 2, "rm"), (w / 2, 4, "ma"), (w / 2, h - 4, "md"))
    for letter, (x, y, anchor) in zip(view.letters, places, strict=True):
        draw_text(panel, (x, y), letter, anchor=anchor)
    return panel


def _compose(
    panels: Sequence[tuple[View, Pillow.Image]],
    point: Array,
    scale: float,
    width: int,
    title: str | None,
    names: Sequence[tuple[str, Colour]],
    convention: Convention,
) -> Pillow.Image:
    line = int(1.6 * TEXT)
    tall = max(panel.height for _, panel in panels)
    key = legend(names, width - 2 * PAD) if names else blank_figure(1, 0)
    top = PAD + (line if title else 0)
    figure = blank_figure(width, top + line + tall + GAP + line + key.height + PAD)
    if title:
        draw_text(figure, (PAD, PAD), shorten(title, width - 2 * PAD))
    taken = sum(panel.width for _, panel in panels) + GAP * (len(panels) - 1)
    x = (width - taken) // 2
    for view, panel in panels:
        through = AXES[view.name][2]
        name = f"{view.name}, {WORLD[through]} = {point[through]:.0f} mm"
        draw_text(figure, (x, top), shorten(name, panel.width, TEXT - 2), colour=FAINT, size=TEXT - 2)
        figure.paste(panel, (x, top + line + (tall - panel.height) // 2))
        x += panel.width + GAP
    below = top + line + tall + GAP
    _scale_bar(figure, (PAD, below + line // 2), scale, limit=width // 6)
    side = "patient's right is on the " + ("left" if convention == "radiological" else "right")
    draw_text(
        figure,
        (width - PAD, below + line / 2),
        f"{convention}: {side}",
        colour=FAINT,
        size=TEXT - 2,
        anchor="rm",
    )
    if names:
        figure.paste(key, (PAD, below + line))
    return figure


def _scale_bar(figure: Pillow.Image, at: tuple[int, int], scale: float, limit: int) -> None:
    """A bar of 1, 2, 5, 10, ... millimetres, the longest of at most `limit` pixels, with its length."""
    lengths = [m * 10**e for e in range(-2, 4) for m in (1, 2, 5)]
    length = max((n for n in lengths if n * scale <= limit), default=lengths[0])
    x, y = at
    end = x + round(length * scale) - 1
    ImageDraw.Draw(figure).rectangle((x, y - 2, end, y + 1), fill=INK)
    draw_text(figure, (end + 8, y), f"{length:g} mm", size=TEXT - 2, anchor="lm")


def _names(mask: Array | None, labels: Sequence[str], classes: Array | None) -> list[tuple[str, Colour]]:
    if mask is not None:
        return [(name, colour_of(n - 1)) for n, name in enumerate(labels) if n]
    present = sorted({int(c) for c in classes}) if classes is not None else []
    return [(labels[c], colour_of(c)) for c in present if c < len(labels)]


def _middle(image: Image, mask: Array | None, box: Array | None) -> Array:
    """The RAS point in millimetres through which the planes are cut."""
    assert image.affine is not None
    if box is not None:
        index = (box[:3] + box[3:]) / 2 - 0.5
    else:
        index = _largest_middle(mask) if mask is not None and mask.any() else _bright_middle(image.array[0])
    return np.asarray(image.affine[:3, :3] @ index + image.affine[:3, 3])


def _largest_middle(mask: Array) -> Array:
    """The voxel of the largest connected region that lies nearest the region's centroid."""
    from scipy.ndimage import label

    regions, _ = label(mask)
    sizes = np.bincount(regions.ravel())
    sizes[0] = 0
    voxels = np.argwhere(regions == sizes.argmax())
    nearest = np.linalg.norm(voxels - voxels.mean(axis=0), axis=1).argmin()
    return _informative_slice(mask, voxels[nearest])


def _informative_slice(mask: Array, middle: Array) -> Array:
    """Move `middle` along each axis, by at most a tenth of the extent, to where the labels show most evenly.

    A brain cut exactly between its halves shows little but fluid.
    """
    present = [label for label in np.unique(mask) if label]
    moved = middle.astype(float)
    if len(present) < 2:
        return moved
    for axis, place in enumerate(middle):
        reach = mask.shape[axis] // 10
        first = max(0, int(place) - reach)
        planes = np.moveaxis(mask, axis, 0)[first : int(place) + reach + 1]
        shown = sum(np.sqrt((planes == label).sum(axis=(1, 2))) for label in present)
        moved[axis] = first + int(np.argmax(shown))
    return moved


def _bright_middle(volume: Array) -> Array:
    """The centroid of all above the mean (the centre of a volume of one value)."""
    coarse = volume[::2, ::2, ::2] if min(volume.shape) > 8 else volume
    bright = np.argwhere(coarse > coarse.mean())
    if not len(bright):
        return (np.array(volume.shape) - 1) / 2
    return np.asarray(bright.mean(axis=0) * (2 if min(volume.shape) > 8 else 1))
