"""Draw the README's picture of what each family predicts: hand-made features, classifier, detectors, segmenter.

    python docs/families.py         (or: make pictures)

Test pictures of the models' own splits, the first by name that is wider than high; the brain is the MNI152 average.
Needs the data ($MEDZOO_DATA) and nilearn.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from PIL import Image as Pillow

from medzoo.data.split import SPLIT_FILE, Split
from medzoo.io.atomic import atomic_write
from medzoo.loading.load import load
from medzoo.plots.sheet import GAP, sheet_jpeg, tile

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("MEDZOO_DATA", ROOT / "data"))
FAMILIES = ROOT / "docs" / "images" / "families.jpg"
WIDTH = 400  # of a tile, in pixels
BREASTS = {
    "breast-mass-svm": "hand-made features and an SVM: outline, and what decides",
    "breast-ultrasound-cnn": "CNN: benign, malignant or normal",
    "breast-lesion-rcnn": "region CNN: where the lesion is",
}


def first_picture(model: str, folder: Path, *, suffix: str = "") -> Path:
    """The first wide picture in `folder` of a zoo model's test part."""
    split = Split.read(ROOT / "zoo" / model / SPLIT_FILE)
    return next(path for item in sorted(split.test) if wide(path := folder / f"{item}{suffix}"))


def wide(path: Path) -> bool:
    """True if a picture is much wider than high."""
    with Pillow.open(path) as picture:
        return picture.width > 1.2 * picture.height


def drawn(model: str, source: Path, *, width: int, words: str) -> Pillow.Image:
    """A tile of the picture that `medzoo predict` leaves."""
    with tempfile.TemporaryDirectory() as folder:
        path = load(ROOT / "zoo" / model).predict(source).plot(Path(folder) / "drawn.png")
        return tile(Pillow.open(path).convert("RGB"), f"{model}: {words}", width=width)


def mni152() -> Path:
    """The average brain, brain-extracted, as nilearn ships it."""
    import nilearn

    return next((Path(nilearn.__file__).parent / "datasets" / "data").glob("mni_icbm152_t1_tal_nlin_sym_09a_*.nii.gz"))


def main() -> None:
    breast = first_picture("breast-lesion-rcnn", DATA / "busi")
    cells = first_picture("blood-cell-rcnn", DATA / "bccd" / "JPEGImages", suffix=".jpg")
    above = [drawn(model, breast, width=WIDTH, words=words) for model, words in BREASTS.items()]
    below = [
        drawn("blood-cell-rcnn", cells, width=WIDTH, words="region CNN: cells in a blood smear"),
        drawn("brain-tissue-unet", mni152(), width=2 * WIDTH + GAP, words="U-Net: tissue of the MNI152 brain"),
    ]
    raw = sheet_jpeg([above, below])
    atomic_write(FAMILIES, lambda file: file.write(raw))


if __name__ == "__main__":
    main()
