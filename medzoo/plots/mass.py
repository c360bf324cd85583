"""Figure of a classified mass: its outline, or its reconstruction from harmonics, and feature contributions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.errors import UserError
from medzoo.plots.canvas import TEXT, blank_figure, draw_text, save_png, shorten, text_width
from medzoo.plots.colours import FAINT, colour_of
from medzoo.plots.overlay import PAD, draw_classification
from medzoo.types import Array, Image

MOST = 8  # features whose contribution is drawn


def draw_mass(
    image: Image,
    label: str,
    probabilities: Mapping[str, float],
    *,
    mask: Array | None = None,
    contributions: Mapping[str, float] | None = None,
    harmonics: int | None = None,
    title: str | None = None,
    window: tuple[float, float] | None = None,
) -> Pillow.Image:
    """Draw the image with the outline, a bar per probability, and below the strongest features.

    `mask` (*spatial) bool; of a volume the slice is drawn on which the mass is largest. `harmonics`: draw in
    place of the mask's own outline the one rebuilt from the Fourier descriptors -k to k. `contributions`: by
    feature, towards the last label (right) or away from it (left). Raises UserError.
    """
    if mask is not None and mask.ndim == 3:
        index = int(np.asarray(mask).sum(axis=(0, 1)).argmax())
        mask = mask[:, :, index].T
        image = Image(np.ascontiguousarray(image.array[..., index].transpose(0, 2, 1)), None, image.source)
    if harmonics is not None:
        if mask is None:
            raise UserError("there is no outline to reconstruct", "harmonics")
        mask = reconstruct_mask(mask, harmonics)
        title = f"{title or label}, outline from harmonics -{harmonics} to {harmonics}"
    picture = draw_classification(image, label, probabilities, mask=mask, title=title, window=window)
    if not contributions:
        return picture
    below = _bars(contributions, picture.width - 2 * PAD, towards=list(probabilities)[-1])
    figure = blank_figure(picture.width, picture.height + below.height + PAD)
    figure.paste(picture, (0, 0))
    figure.paste(below, (PAD, picture.height))
    return figure


def plot_mass(
    path: str | Path, image: Image, label: str, probabilities: Mapping[str, float], **options: object
) -> Path:
    """Write `draw_mass(...)` as PNG; returns the path. Raises UserError."""
    return save_png(path, draw_mass(image, label, probabilities, **options))  # type: ignore[arg-type]


def reconstruct_mask(mask: Array, harmonics: int) -> Array:
    """(H, W) bool: the inside of the outline of a mask (H, W), rebuilt from harmonics -k to k."""
    from skimage.draw import polygon

    from medzoo.imaging.contour import trace
    from medzoo.imaging.fourier import fourier_descriptors, reconstruct

    x, y = reconstruct(fourier_descriptors(trace(mask)), harmonics).T
    inside = np.zeros(mask.shape, bool)
    inside[polygon(y, x, mask.shape)] = True
    return inside


def _bars(contributions: Mapping[str, float], width: int, *, towards: str) -> Pillow.Image:
    """A line a feature, the strongest first: name, and a bar to the right where it speaks for `towards`."""
    strongest = sorted(contributions.items(), key=lambda item: -abs(item[1]))[:MOST]
    step = int(1.4 * TEXT)
    figure = blank_figure(width, step * (len(strongest) + 1))
    draw = ImageDraw.Draw(figure)
    title = f"what speaks for {towards} (right) and against it (left)"
    if text_width(title) > width:
        title = shorten(f"right: for {towards}", width)
    draw_text(figure, (0, step // 2), title, anchor="lm")
    left = max(text_width(name) for name, _ in strongest) + PAD
    room = (width - left - text_width("+0.00") - PAD) // 2
    longest = max(abs(value) for _, value in strongest) or 1.0
    middle = left + room
    for line, (name, value) in enumerate(strongest, 1):
        y = line * step + step // 2
        draw_text(figure, (0, y), name, anchor="lm")
        end = middle + round(room * value / longest)
        draw.rectangle((min(middle, end), y - 5, max(middle, end), y + 5), fill=colour_of(0) if value > 0 else FAINT)
        draw_text(figure, (width, y), f"{value:+.2f}", anchor="rm")
    return figure
