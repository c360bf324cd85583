"""Draw docs/images/phantom.png, a stand-in for a breast ultrasound picture, and the prediction that the README shows.

    python docs/phantom.py          (or: make pictures)

Speckle as the magnitude of smoothed complex noise, layers, and one dark ellipse that sound passes easily.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

import medzoo

PATH = Path(__file__).resolve().parent / "images" / "phantom.png"
PREDICTED = PATH.with_name("phantom-predicted.jpg")
HEIGHT, WIDTH = 360, 480


def phantom() -> np.ndarray:
    """uint8 (360, 480)."""
    random = np.random.default_rng(0)
    parts = [gaussian_filter(random.normal(size=(HEIGHT, WIDTH)), (1.0, 2.2)) for _ in range(2)]
    speckle = np.hypot(*parts)
    speckle /= speckle.mean()
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    wave = 6 * np.sin(x / 60) + 4 * np.sin(x / 23)
    tissue = np.interp(y + wave, [0, 14, 30, 100, 130, 230, HEIGHT], [1.6, 1.5, 0.7, 0.75, 1.15, 0.9, 0.35])
    lesion = ((y - 150) / 42) ** 2 + ((x - 260) / 68) ** 2 < 1 + 0.05 * np.sin(x / 9)
    echo = np.where(lesion, 0.18, tissue)
    behind = (np.abs(x - 260) < 60) & (y > 192)
    echo = gaussian_filter(np.where(behind, 1.5 * echo, echo), 1.2)
    return (95 * echo * speckle**0.8).clip(0, 255).astype(np.uint8)


def main() -> None:
    Pillow.fromarray(phantom()).save(PATH, optimize=True)
    with tempfile.TemporaryDirectory() as folder:
        plot = medzoo.load("breast-cascade").predict(PATH, anyway=True).plot(Path(folder) / "phantom.png")
        Pillow.open(plot).convert("RGB").save(PREDICTED, quality=85, optimize=True)


if __name__ == "__main__":
    main()
