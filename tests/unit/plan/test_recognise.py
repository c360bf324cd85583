"""A folder is taken for what it is, never guessed in silence, and refused with what was seen."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.plan.recognise import recognise

NAMES = [f"p{k:02d}" for k in range(12)]


def picture(path: Path, array: np.ndarray | None = None, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (32, 40), np.uint8)
    Pillow.fromarray(noise if array is None else array).save(path)


def pictures(folder: Path) -> None:
    for seed, name in enumerate(NAMES):
        picture(folder / f"{name}.png", seed=seed)


def square(value: int = 255, count: int = 1) -> np.ndarray:
    mask = np.zeros((32, 40), np.uint8)
    for k in range(count):
        mask[2:6, 3 * k + 1 : 3 * k + 3] = value if count == 1 else k + 1
    return mask


def volume(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


def yolo(root: Path) -> None:
    pictures(root / "images")
    (root / "labels").mkdir()
    for name in NAMES:
        (root / "labels" / f"{name}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (root / "data.yaml").write_text("train: images\nnames: [cell]\n")


def coco(root: Path) -> None:
    for part in ("train", "valid"):
        pictures(root / part)
        rows = [{"id": k, "file_name": f"{name}.png"} for k, name in enumerate(NAMES)]
        boxes = [{"id": k, "image_id": k, "category_id": 1, "bbox": [1, 1, 5, 5]} for k in range(len(NAMES))]
        categories = [{"id": 0, "name": "all"}, {"id": 1, "name": "cell"}]
        document = {"images": rows, "annotations": boxes, "categories": categories}
        (root / part / "_annotations.coco.json").write_text(json.dumps(document))


def voc(root: Path) -> None:
    pictures(root)
    for name in NAMES:
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
        text = f"<annotation><object><name>cell</name>{box}</object></annotation>"
        (root / f"{name}.xml").write_text(text)


def table(root: Path) -> None:
    pictures(root / "images")
    with (root / "boxes.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["filename", "xmin", "ymin", "xmax", "ymax", "class"])
        rows.writerows([f"{name}.png", 1, 1, 5, 5, "cell"] for name in NAMES)


def classes(root: Path) -> None:
    pictures(root / "benign")
    pictures(root / "malignant")


def masks(root: Path) -> None:
    pictures(root / "images")
    for name in NAMES:
        picture(root / "masks" / f"{name}_mask.png", square())


def beside(root: Path) -> None:
    pictures(root)
    for name in NAMES:
        picture(root / f"{name}_mask.png", square())


def a_mask_a_label(root: Path) -> None:
    pictures(root / "images")
    for label in ("lung", "heart"):
        for name in NAMES:
            picture(root / "masks" / label / f"{name}.png", square())


def numbered(root: Path) -> None:
    pictures(root / "images")
    for number, name in enumerate(NAMES):
        picture(root / "labels" / f"{name}.png", square(1, count=number % 9 + 1))


def several_values(root: Path) -> None:
    pictures(root / "images")
    for name in NAMES:
        picture(root / "masks" / f"{name}.png", square(count=3))


def decathlon(root: Path) -> None:
    for name in NAMES:
        volume(root / "imagesTr" / f"{name}.nii.gz", np.ones((4, 4, 4), np.float32))
        volume(root / "labelsTr" / f"{name}.nii.gz", np.zeros((4, 4, 4), np.uint8))
    pairs = [{"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in NAMES]
    document = {"labels": {"0": "background", "1": "liver"}, "modality": {"0": "CT"}, "training": pairs}
    (root / "dataset.json").write_text(json.dumps(document))


def patients(root: Path) -> None:
    for name in NAMES:
        volume(root / name / "scan.nii.gz", np.ones((4, 4, 4), np.float32))
        volume(root / name / "label.nii.gz", np.ones((4, 4, 4), np.uint8))


SEEN: dict[str, tuple[Callable[[Path], None], str, str, tuple[str, ...]]] = {
    "yolo": (yolo, "yolo", "detect", ("cell",)),
    "coco": (coco, "coco", "detect", ("cell",)),
    "voc": (voc, "voc", "detect", ("cell",)),
    "table": (table, "csv-boxes", "detect", ("cell",)),
    "classes": (classes, "image-folder", "classify", ("benign", "malignant")),
    "masks": (masks, "picture-masks", "segment", ("background", "object")),
    "beside": (beside, "picture-masks", "segment", ("background", "object")),
    "a-mask-a-label": (a_mask_a_label, "picture-masks", "segment", ("background", "heart", "lung")),
    "numbered": (numbered, "instances", "detect", ("object",)),
    "several-values": (several_values, "picture-masks", "segment", ("background", "class-1", "class-2", "class-3")),
    "decathlon": (decathlon, "msd", "segment", ("background", "liver")),
    "patients": (patients, "nifti-pairs", "segment", ("background", "object")),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_folder_is_taken_for_what_it_is(name: str, tmp_path: Path) -> None:
    make, layout, task, labels = SEEN[name]
    make(tmp_path)
    found = recognise(tmp_path)
    assert (found.layout, found.task, found.labels) == (layout, task, labels)


@pytest.mark.parametrize("name", SEEN)
def test_what_was_seen_opens(name: str, tmp_path: Path) -> None:
    from medzoo import registry

    SEEN[name][0](tmp_path)
    found = recognise(tmp_path)
    entry: Any = registry.entry("data", found.layout)
    params = {key: tuple(v) if isinstance(v, list) else v for key, v in found.sighting.params.items()}
    data = entry.open(entry.params.model_validate({"root": found.root, **params}), found.task, found.labels)
    items = data.items()
    assert len(items) == (24 if name in ("coco", "classes") else 12)
    assert data.load(items[0]).target is not None


def test_masks_can_be_objects_on_request(tmp_path: Path) -> None:
    masks(tmp_path)
    assert recognise(tmp_path).others == ("--task detect (mask-boxes)",)
    assert recognise(tmp_path, task="detect").layout == "mask-boxes"
    with pytest.raises(UserError, match="is not labelled to classify"):
        recognise(tmp_path, task="classify")


def test_two_things_at_once_are_named(tmp_path: Path) -> None:
    yolo(tmp_path)
    table(tmp_path)
    with pytest.raises(UserError, match=r"two things at once: csv-boxes .* yolo"):
        recognise(tmp_path)
    assert recognise(tmp_path, layout="yolo").layout == "yolo"


def test_a_folder_that_is_nothing_says_what_it_holds(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "notes.docx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"no layout that medzoo knows: it holds 12 \.png, 1 \.docx"):
        recognise(tmp_path)


@pytest.mark.parametrize(("name", "said"), [("missing", "no such file or folder"), ("empty", "holds no files")])
def test_nothing_there(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=said):
        recognise(tmp_path / name)


def test_masks_of_several_kinds_are_refused(tmp_path: Path) -> None:
    for name in NAMES:
        for ending in ("t1", "label", "mask"):
            volume(tmp_path / f"{name}_{ending}.nii.gz", np.ones((4, 4, 4), np.uint8))
    with pytest.raises(UserError, match="masks of several kinds: _label, _mask"):
        recognise(tmp_path)
