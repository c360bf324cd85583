"""Predictions drawn over a picture: boxes with scores, label masks, or a class with its probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.plots.callipers import TRUTH, Calliper, draw_callipers, draw_outlines
from medzoo.plots.canvas import TEXT, blank_figure, draw_text, font, legend, overlay, rim, save_png, shorten, text_width
from medzoo.plots.colours import BACKGROUND, FAINT, Colour, colour_of, grey_window, to_bytes
from medzoo.types import Array, Image

# Pictures are enlarged by a whole factor up to the first, where they are less than half of it wide and high, and
# reduced to the second: what is drawn pixel for pixel costs nothing and loses nothing.
SMALLEST, LARGEST = 640, 1600
PAD = 12
_WORDED = 20  # outlined objects of a picture that are named one by one


def draw_boxes(
    image: Image,
    boxes: Array,
    scores: Array | None = None,
    classes: Array | None = None,
    labels: Sequence[str] = (),
    *,
    truth: Array | None = None,
    contours: Sequence[Sequence[Sequence[float]]] = (),
    outlines: Sequence[Sequence[Array]] = (),
    truth_outlines: Sequence[Sequence[Array]] = (),
    callipers: Sequence[Calliper] = (),
    notes: Sequence[str] = (),
    title: str | None = None,
    window: tuple[float, float] | None = None,
) -> Pillow.Image:
    """The picture with boxes (N, 4) [x0, y0, x1, y1] in its pixels, class colours, labels and scores.

    `truth`: reference boxes (M, 4), drawn as thin white lines. `contours`: closed outlines as x, y in pixels.
    `outlines`: the rings (P, 2) of each detection's mask (N,), drawn in place of its box; more than 20 of them have no
    words. `truth_outlines`: those of the references, in place of their boxes. `callipers`: diameters to draw.
    `notes`: a line below each box (N,). The worst box is drawn first.
    """
    picture, scale = _screen(image, window)
    draw = ImageDraw.Draw(picture)
    for box in () if truth is None or truth_outlines else truth:
        draw.rectangle(_corners(box, scale), outline=TRUTH, width=1)
    for contour in contours:
        points = [(x * scale, y * scale) for x, y in contour]
        draw.line([*points, points[0]], fill=colour_of(1), width=2)
    order = range(len(boxes)) if scores is None else np.argsort(np.asarray(scores), kind="stable")
    for n in order:
        colour = colour_of(int(classes[n]) if classes is not None else 0)
        if outlines:
            draw_outlines(draw, outlines[n], scale, colour, 3)
        else:
            draw.rectangle(_corners(boxes[n], scale), outline=colour, width=3)
    for rings in truth_outlines:
        draw_outlines(draw, rings, scale, TRUTH, 1)
    draw_callipers(picture, callipers, scale)
    for n in order if len(outlines) <= _WORDED else ():
        name = labels[int(classes[n])] if classes is not None and len(labels) else ""
        score = f"{float(scores[n]):.2f}" if scores is not None else ""
        colour = colour_of(int(classes[n]) if classes is not None else 0)
        _tag(draw, boxes[n], scale, f"{name} {score}".strip(), colour)
    for box, note in zip(boxes, notes, strict=True) if notes else ():
        x0, _, _, y1 = _corners(box, scale)
        size = TEXT - 4
        left = max(0, min(x0 + 3, picture.width - text_width(note, size) - 3))
        below = y1 + 4 + (size + 6 if callipers else 0)  # the diameters' words come first
        at = (left, min(below, picture.height - size - 4))
        draw_text(picture, at, shorten(note, picture.width, size), colour=colour_of(1), size=size)
    present = sorted({int(c) for c in classes}) if classes is not None and len(labels) else []
    names = [(labels[c], colour_of(c)) for c in present]
    shown = truth is not None or len(truth_outlines) > 0
    return _framed(picture, title, [*names, ("reference", TRUTH)] if shown else names)


def draw_mask(
    image: Image,
    mask: Array,
    labels: Sequence[str] = (),
    *,
    opacity: float = 0.35,
    callipers: Sequence[Calliper] = (),
    title: str | None = None,
    window: tuple[float, float] | None = None,
) -> Pillow.Image:
    """The picture with a label array (H, W) tinted over it, rims in full colour, `callipers`, and a legend of
    `labels`."""
    picture, scale = _screen(image, window)
    shown = Pillow.fromarray(mask.astype(np.uint8)).resize(picture.size, Pillow.Resampling.NEAREST)
    grey = picture.getchannel(0) if len(image.array) != 3 else picture
    tinted = overlay(np.asarray(grey), np.asarray(shown), opacity=opacity, thickness=2)
    names = [(name, colour_of(n - 1)) for n, name in enumerate(labels) if n]
    made = Pillow.fromarray(tinted)
    draw_callipers(made, callipers, scale)
    return _framed(made, title, names)


def draw_classification(
    image: Image,
    label: str,
    probabilities: Mapping[str, float],
    *,
    mask: Array | None = None,
    title: str | None = None,
    window: tuple[float, float] | None = None,
) -> Pillow.Image:
    """Draw the picture with its outline and a bar per probability, that of the label in colour."""
    picture, _ = _screen(image, window)
    if mask is not None:
        shown = Pillow.fromarray((mask > 0).astype(np.uint8)).resize(picture.size, Pillow.Resampling.NEAREST)
        array = np.array(picture)
        array[rim(np.asarray(shown) > 0, 2)] = colour_of(0)
        picture = Pillow.fromarray(array)
    step = int(1.6 * TEXT)
    bars = blank_figure(picture.width, step * len(probabilities))
    draw = ImageDraw.Draw(bars)
    left = max(text_width(name) for name in probabilities) + PAD
    room = bars.width - left - text_width("0.000") - PAD
    for n, (name, p) in enumerate(probabilities.items()):
        colour = colour_of(0) if name == label else FAINT
        middle = n * step + step // 2
        draw_text(bars, (0, middle), name, colour=colour, anchor="lm")
        draw.rectangle((left, middle - 6, left + max(1, round(room * float(p))), middle + 6), fill=colour)
        draw_text(bars, (bars.width, middle), f"{float(p):.3f}", colour=colour, anchor="rm")
    return _framed(picture, title, [], bars)


def plot_boxes(
    path: str | Path,
    image: Image,
    boxes: Array,
    scores: Array | None = None,
    classes: Array | None = None,
    labels: Sequence[str] = (),
    **options: object,
) -> Path:
    """Write `draw_boxes(...)` as PNG; returns the path. Raises UserError."""
    return save_png(path, draw_boxes(image, boxes, scores, classes, labels, **options))  # type: ignore[arg-type]


def plot_mask(path: str | Path, image: Image, mask: Array, labels: Sequence[str] = (), **options: object) -> Path:
    """Write `draw_mask(...)` as PNG; returns the path. Raises UserError."""
    return save_png(path, draw_mask(image, mask, labels, **options))  # type: ignore[arg-type]


def plot_classification(
    path: str | Path, image: Image, label: str, probabilities: Mapping[str, float], **options: object
) -> Path:
    """Write `draw_classification(...)` as PNG; returns the path. Raises UserError."""
    return save_png(path, draw_classification(image, label, probabilities, **options))  # type: ignore[arg-type]


def _screen(image: Image, window: tuple[float, float] | None) -> tuple[Pillow.Image, float]:
    """The picture (the middle slice of a volume) as RGB at a readable size, and screen pixels a pixel."""
    array = image.array if image.affine is None else image.array[..., image.shape[2] // 2]
    if array.dtype == np.uint8 and window is None:
        shown = array
    else:
        shown = to_bytes(array, window or grey_window(array[0] if len(array) == 1 else array))
    if len(shown) == 3:
        picture = Pillow.fromarray(np.ascontiguousarray(shown.transpose(1, 2, 0)))
    else:
        picture = Pillow.fromarray(np.ascontiguousarray(shown[0])).convert("RGB")
    longest = max(picture.size)
    scale = float(max(1, SMALLEST // longest)) if longest <= LARGEST else LARGEST / longest
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    method = Pillow.Resampling.NEAREST if scale >= 1 else Pillow.Resampling.BILINEAR
    return (picture.resize(size, method) if size != picture.size else picture), scale


def _corners(box: Array, scale: float) -> tuple[int, int, int, int]:
    """Screen corners, both inside, of a half-open box."""
    x0, y0, x1, y1 = (round(float(v) * scale) for v in box)
    return x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)


def _tag(draw: ImageDraw.ImageDraw, box: Array, scale: float, text: str, colour: Colour) -> None:
    """Text on the box's colour above its upper left corner, or inside where there is no room above."""
    if not text:
        return
    size = TEXT - 4
    x0, y0, _, _ = _corners(box, scale)
    height = size + 4
    top = y0 - height if y0 >= height else y0
    draw.rectangle((x0, top, x0 + text_width(text, size) + 6, top + height), fill=colour)
    draw.text((x0 + 3, top + height / 2), text, fill=BACKGROUND, font=font(size), anchor="lm")


def _framed(
    picture: Pillow.Image,
    title: str | None,
    names: Sequence[tuple[str, Colour]],
    below: Pillow.Image | None = None,
) -> Pillow.Image:
    line = int(1.6 * TEXT)
    top = PAD + (line if title else 0)
    key = legend(names, picture.width) if names else below
    height = top + picture.height + (PAD + key.height if key else 0) + PAD
    figure = blank_figure(picture.width + 2 * PAD, height)
    if title:
        draw_text(figure, (PAD, PAD), shorten(title, picture.width))
    figure.paste(picture, (PAD, top))
    if key:
        figure.paste(key, (PAD, top + picture.height + PAD))
    return figure
