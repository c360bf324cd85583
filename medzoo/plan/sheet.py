"""A fingerprint in pictures: a contact sheet with labels drawn, and histograms of what choices rest on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from medzoo.data.dataset import Objects, Sample
from medzoo.io.atomic import atomic_write
from medzoo.plan.fingerprint import Fingerprint
from medzoo.plots.overlay import draw_boxes, draw_mask
from medzoo.plots.sheet import in_rows, sheet, tile
from medzoo.plots.three_views import three_views
from medzoo.types import IGNORED, Array

_COLUMNS, _WIDTH, _BINS = 6, 250, 40
_PAPER, _INK, _BAR = (0, 0, 0), (225, 225, 225), (86, 156, 214)


def fingerprint_sheet(seen: Fingerprint, labels: Sequence[str], path: Path) -> Path:
    """Write a PNG of up to 24 images with their labels, and histograms below. Raises UserError."""
    # Three views lie side by side: a volume takes the room of two pictures.
    width, columns = (2 * _WIDTH, _COLUMNS // 2) if seen.volumes else (_WIDTH, _COLUMNS)
    tiles = [tile(_drawn(one, labels), _title(one, labels), width=width) for one in seen.shown]
    charts = [_histogram(values, title) for title, values in _series(seen) if len(values)]
    rows = [*in_rows(tiles, columns), *in_rows(charts, 3)]
    out = io.BytesIO()
    sheet(rows).save(out, format="PNG", optimize=True)
    return atomic_write(path, lambda file: file.write(out.getvalue()))


def _drawn(sample: Sample, labels: Sequence[str]) -> Pillow.Image:
    image, target = sample.image, sample.target
    volume = image.affine is not None
    if isinstance(target, Objects) and not volume:
        return draw_boxes(image, target.boxes, None, target.labels, labels)
    map_ = np.asarray(target) if isinstance(target, np.ndarray) else sample.mask
    if map_ is not None:
        shown = np.where(map_ == IGNORED, 0, map_).astype(np.uint8)
        return three_views(image, mask=shown, labels=labels) if volume else draw_mask(image, shown, labels)
    if volume:
        return three_views(image)
    return draw_boxes(image, np.zeros((0, 4)))


def _title(sample: Sample, labels: Sequence[str]) -> str:
    name = sample.item.id if len(sample.item.id) < 34 else f"...{sample.item.id[-31:]}"
    return f"{name}: {labels[int(sample.target)]}" if isinstance(sample.target, int | np.integer) else name


def _series(seen: Fingerprint) -> list[tuple[str, Array]]:
    """Titles and values of the histograms."""
    values = np.concatenate(seen.values) if seen.values else np.zeros(0)
    low, high = np.percentile(values, [0.5, 99.5]) if len(values) else (0, 0)
    found = [("values, 0.5th to 99.5th percentile", values[(values >= low) & (values <= high)])]
    if seen.inside:
        found.append(("values of what is labelled", np.concatenate(seen.inside)))
    found.append(("longest side, pixels", np.array([max(size) for size in seen.sizes], float)))
    if seen.spacing:
        found.append(("largest spacing, mm", np.array([max(s) for s in seen.spacing])))
    if seen.boxes and not seen.volumes:
        boxes = np.concatenate(seen.boxes)
        found.append(
            ("side of objects (root of the area), pixels", np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)))
        )
        found.append(("objects an image", np.array([len(one) for one in seen.boxes], float)))
    return found


def _histogram(values: Array, title: str) -> Pillow.Image:
    """A chart 500 wide with the counts of 40 bins, its ends and its middle below."""
    width, height, foot = 2 * _WIDTH, 190, 44
    picture = Pillow.new("RGB", (width, height + foot), _PAPER)
    draw = ImageDraw.Draw(picture)
    font: Any = ImageFont.load_default(15)
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, _BINS, (low, high if high > low else low + 1))
    tallest = max(1, int(counts.max()))
    step = (width - 20) / _BINS
    for place, count in enumerate(counts):
        top = height - (height - 34) * int(count) / tallest
        draw.rectangle([10 + place * step, top, 10 + (place + 1) * step - 1, height], fill=_BAR)
    draw.line([10, height, width - 10, height], fill=_INK)
    draw.text((10, 6), title, fill=_INK, font=font)
    ends = [(10, low, "lt"), (width / 2, (low + high) / 2, "mt"), (width - 10, high, "rt")]
    for at, value, anchor in ends if high > low else ends[:1]:
        draw.text((at, height + 6), f"{value:.4g}", fill=_INK, font=font, anchor=anchor)
    return picture


__all__ = ["fingerprint_sheet"]
