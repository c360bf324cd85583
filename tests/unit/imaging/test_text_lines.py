"""Names planted into pictures are found whole, in every style; real pictures keep most of their area."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from medzoo.imaging.text_lines import fill_text, text_lines
from medzoo.types import Array

NAMES = ("DOE^JANE", "Schmidt, Anna", "Nguyen Thi Lan 12.03.1961", "ID 4711-0815", "1950-05-05")
SIZES = (11, 14, 18, 24, 32)


def tissue(seed: int) -> Array:
    """Speckle over layers (300, 440), 20 to 170."""
    draw = np.random.default_rng(seed)
    layers = sum(gaussian_filter(draw.standard_normal((300, 440)), s) * s for s in (1.5, 4, 14))
    return np.clip(70 + 12 * np.asarray(layers), 20, 170).astype(np.uint8)


def plant(style: str, name: str, size: int, seed: int) -> tuple[Array, Array]:
    """A picture (C, H, W) with a name in it, and where its letters are (H, W)."""
    picture, font = Pillow.fromarray(tissue(seed)), ImageFont.load_default(size)
    right, bottom = (round(v) for v in font.getbbox(name)[2:])
    draw = np.random.default_rng(seed)
    at = int(draw.integers(4, max(5, 436 - right))), int(draw.integers(4, 290 - bottom))
    where = Pillow.new("L", picture.size)
    ImageDraw.Draw(where).text(at, name, 255, font=font)
    box = (at[0] - 4, at[1] - 2, at[0] + right + 4, at[1] + bottom + 2)
    if style in ("yellow", "red box"):
        picture = picture.convert("RGB")
    pen = ImageDraw.Draw(picture)
    if style in ("black on white", "grey on black", "red box"):
        pen.rectangle(box, fill={"black on white": 255, "grey on black": 0, "red box": (160, 0, 0)}[style])
    fill = {"yellow": (255, 255, 0), "red box": (255, 255, 255), "black on white": 0, "grey on black": 130}
    pen.text(at, name, fill.get(style, 255), font=font)
    if style == "upright":
        picture, where = picture.rotate(90, expand=True), where.rotate(90, expand=True)
    if style == "JPEG":
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=85)
        picture = Pillow.open(file)
    array = np.asarray(picture)
    return (array[None] if array.ndim == 2 else array.transpose(2, 0, 1)), np.asarray(where) > 100


def test_names_little_brighter_than_the_tissue_are_blanked() -> None:
    """Grey letters on smooth tissue of their own brightness but for a tenth of the picture's span."""
    for number, name in enumerate(NAMES):
        tissue_ = gaussian_filter(np.random.default_rng(number).normal(0, 1, (300, 440)), 12)
        ground = np.clip(120 + 18 * tissue_ / tissue_.std(), 60, 180).astype(np.uint8)
        ground[:20, :20], ground[-20:, -20:] = 0, 255
        level = int(ground[140:170, 60:300].max()) + 34
        picture, where = Pillow.fromarray(ground), Pillow.new("L", (440, 300))
        for canvas, fill in ((picture, level), (where, 255)):
            ImageDraw.Draw(canvas).text((60, 140), name, fill, font=ImageFont.load_default(16))
        letters = np.asarray(where) > 100
        blanked, _ = fill_text(np.asarray(picture)[None])
        assert (blanked[0, letters] == 0).mean() > 0.99, name


@pytest.mark.parametrize(
    "style", ["white", "upright", "yellow", "red box", "black on white", "grey on black", "JPEG"]
)  # fmt: skip
def test_a_planted_name_is_blanked_whole(style: str) -> None:
    for number, (name, size) in enumerate(zip(NAMES * 2, SIZES + SIZES[::-1], strict=True)):
        picture, letters = plant(style, name, size, number)
        blanked, lines = fill_text(picture)
        assert lines, (style, name, size)
        assert (blanked[:, letters] == picture.min()).mean() > 0.99, (style, name, size)


def test_deep_and_flat_pictures() -> None:
    picture, letters = plant("white", NAMES[0], 18, 0)
    deep, lines = fill_text(picture.astype(np.uint16) * 257)
    assert lines
    assert (deep[:, letters] == 257 * int(picture.min())).all()
    assert text_lines(np.full((1, 40, 40), 7, np.uint8)) == []
    assert fill_text(picture)[0] is not picture


def test_real_ultrasound_keeps_most_of_itself(shared_data: Path) -> None:
    shares = []
    for path in sorted((shared_data / "busi").glob("*/*[0-9]).png"))[::12]:
        picture = np.asarray(Pillow.open(path).convert("L"))[None]
        blanked, _ = fill_text(picture)
        shares.append(float((blanked != picture).mean()))
    assert np.mean(shares) < 0.03
    assert np.median(shares) < 0.01


def test_letters_in_real_ultrasound_are_found(shared_data: Path) -> None:
    # "LEFT BREAST" and "RT AXILLA": looked at.
    for name, at in (("benign (1)", (0.55, 0.86)), ("benign (134)", (0.3, 0.73))):
        picture = np.asarray(Pillow.open(shared_data / f"busi/benign/{name}.png").convert("L"))[None]
        x, y = at[0] * picture.shape[2], at[1] * picture.shape[1]
        assert any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in text_lines(picture)), name
