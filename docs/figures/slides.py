"""Draw the figures of docs/masses.md: outlines rebuilt from few harmonics, KNN denoising, equalisation.

    MEDZOO_DATA=FOLDER python docs/figures/slides.py

Outlines are those of real masses of BUSI (Al-Dhabyani et al., 2020); the slice is that of the MNI152 average
brain as nilearn ships it. Writes PNG beside this file. Needs the extra `demo`.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt

from medzoo.imaging.contour import single_component, trace
from medzoo.imaging.fourier import fourier_descriptors, fourier_factor, reconstruct, reconstruction_error
from medzoo.imaging.histogram import clahe, equalise
from medzoo.imaging.smoothing import knn_smooth
from medzoo.io.read import read_image, read_labels

HERE = Path(__file__).parent
HARMONICS = (1, 3, 4, 15, 25)
MASSES = ("benign", "malignant")


def outline(label: str) -> np.ndarray:
    """Of the first outlines of a class that lie clear of the border, one of middling roughness for its class."""
    root = Path(os.environ.get("MEDZOO_DATA", "data")) / "busi" / label
    found = []
    for path in sorted(root.glob(f"{label} (*)_mask.png"))[:40]:
        mask, notes = single_component(read_labels(path).array[0])
        if not notes:
            contour = trace(mask)
            found.append((fourier_factor(contour), contour))
    found.sort(key=lambda pair: pair[0])
    return found[len(found) // 2][1]


def reconstructions() -> None:
    """A benign and a malignant outline from {-1, 0, 1}, +-3, +-4, +-15, +-25."""
    figure, axes = plt.subplots(2, len(HARMONICS), figsize=(3 * len(HARMONICS), 6.4))
    for row, label in zip(axes, MASSES, strict=True):
        contour = outline(label)
        descriptors = fourier_descriptors(contour)
        extent = float(np.ptp(contour, axis=0).max())
        for axis, k in zip(row, HARMONICS, strict=True):
            rebuilt = reconstruct(descriptors, k)
            axis.plot(*np.vstack([contour, contour[:1]]).T, color="0.6", lw=1)
            axis.plot(*np.vstack([rebuilt, rebuilt[:1]]).T, color="C3", lw=2)
            error = reconstruction_error(contour, k) / extent
            axis.set_title(
                f"{label}, {'{-1, 0, 1}' if k == 1 else f'-{k} to {k}'}\nRMS {100 * error:.2f} % of its extent"
            )
            axis.set_aspect("equal")
            axis.invert_yaxis()
            axis.axis("off")
    figure.suptitle("Outlines of real masses (grey) rebuilt from few Fourier descriptors (red)")
    figure.tight_layout()
    figure.savefig(HERE / "fourier-reconstruction.png", dpi=80)


def filters() -> None:
    """KNN denoising of a noisy slice, and two equalisations, each with its histogram."""
    spec = importlib.util.find_spec("nilearn")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "datasets" / "data"
    volume = read_image(folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz").array[0]
    # The middle of the brain: equalisation would spread the empty outside over half of the range.
    slice_ = np.rot90(volume[:, :, 90])[60:-60, 50:-50].astype(float)
    noisy = np.clip(slice_ + np.random.default_rng(0).normal(0, 12, slice_.shape) * (slice_ > 0), 0, 255)
    dark = np.clip(noisy * 0.45, 0, 255).astype(np.uint8)
    shown = {
        "before": noisy,
        "KNN smoothing, m = 5, K = 9": knn_smooth(noisy, size=5, neighbours=9),
        "underexposed": dark,
        "equalised": equalise(dark),
        "CLAHE": clahe(dark, tiles=2, clip_limit=0.02),
    }
    figure, axes = plt.subplots(2, len(shown), figsize=(3 * len(shown), 5.2), height_ratios=(3, 1))
    for (title, picture), (top, bottom) in zip(shown.items(), axes.T, strict=True):
        top.imshow(picture, cmap="gray", vmin=0, vmax=255)
        top.set_title(title)
        top.axis("off")
        bottom.hist(picture[slice_ > 0].ravel(), bins=64, range=(0, 255), color="0.4")
        bottom.set_yticks([])
    figure.suptitle("KNN denoising and equalisation, before and after (MNI152 with noise added)")
    figure.tight_layout()
    figure.savefig(HERE / "filters.png", dpi=80)


if __name__ == "__main__":
    reconstructions()
    filters()
