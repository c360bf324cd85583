"""COCO files and masks as boxes: exact where they are right, one line where they are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.dataset import Dataset, Objects
from medzoo.data.layouts import coco, mask_boxes
from medzoo.errors import UserError

DOCUMENT: dict[str, Any] = {
    "categories": [{"id": 7, "name": "cell"}, {"id": 3, "name": "speck"}],
    "images": [
        {"id": 1, "file_name": "a.png", "patient_id": "p1"},
        {"id": 2, "file_name": "b.png", "patient_id": "p2"},
    ],
    "annotations": [
        {"id": 10, "image_id": 1, "category_id": 3, "bbox": [0.5, 1, 4.25, 6]},
        {"id": 11, "image_id": 1, "category_id": 7, "bbox": [10, 12, 20, 8]},
        {"id": 12, "image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "iscrowd": 1},
    ],
}


def coco_of(root: Path, document: Any = None, **changes: Any) -> Dataset:
    (root / "images").mkdir(exist_ok=True)
    for name in ("a.png", "b.png"):
        Pillow.fromarray(np.zeros((30, 40), np.uint8)).save(root / "images" / name)
    text = document if isinstance(document, str) else json.dumps(document or DOCUMENT)
    (root / "annotations.json").write_text(text)
    return coco.ENTRY.open(coco.Params(root=root, **changes), "detect", ("speck", "cell"))


def objects(data: Dataset, name: str) -> Objects:
    (item,) = [item for item in data.items() if item.id == name]
    target = data.load(item).target
    assert isinstance(target, Objects)
    return target


def test_coco_boxes_are_half_open_and_images_without_any_stay(tmp_path: Path) -> None:
    data = coco_of(tmp_path, group="patient_id")
    assert [item.groups["patient"] for item in data.items()] == ["p1", "p2"]
    found = objects(data, "a.png")
    assert found.boxes.tolist() == [[0.5, 1, 4.75, 7], [10, 12, 30, 20]]
    assert found.labels.tolist() == [0, 1]
    assert objects(data, "b.png").boxes.shape == (0, 4)
    assert len(objects(coco_of(tmp_path, crowds=True), "a.png").boxes) == 3


def test_coco_files_a_part_are_the_parts(tmp_path: Path) -> None:
    both = {"train": "annotations.json", "test": "annotations.json"}
    data = coco_of(tmp_path, annotations=both)
    assert [(item.id, item.part) for item in data.items()] == [
        ("test/a.png", "test"),
        ("test/b.png", "test"),
        ("train/a.png", "train"),
        ("train/b.png", "train"),
    ]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ([35, 2, 10, 4], "annotation 10 of a.png: box 1 .* extends beyond the image of 40 x 30"),
        ([3, 2, 0, 4], "is empty"),
        ([3, 2, -1, 4], "is inverted"),
        ([3, 2, 4], "its bbox is .*, not"),
        ("no", "its bbox is 'no', not"),
    ],
)
def test_impossible_coco_boxes_are_named(tmp_path: Path, box: Any, message: str) -> None:
    rows = [{**DOCUMENT["annotations"][0], "bbox": box}]
    with pytest.raises(UserError, match=message):
        objects(coco_of(tmp_path, {**DOCUMENT, "annotations": rows}), "a.png")


def test_clipped_coco_boxes_are_cut_or_dropped(tmp_path: Path) -> None:
    boxes = enumerate(([-5, 2, 20, 90], [60, 2, 5, 5]))
    rows = [{**DOCUMENT["annotations"][0], "id": number, "bbox": box} for number, box in boxes]
    found = objects(coco_of(tmp_path, {**DOCUMENT, "annotations": rows}, clip=True), "a.png")
    assert found.boxes.tolist() == [[0, 2, 15, 30]]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "has no list 'images'"),
        ({**DOCUMENT, "images": DOCUMENT["images"][1:]}, "belongs to image 1, which is not listed"),
        ({**DOCUMENT, "categories": [{"id": 3, "name": "speck"}]}, "belongs to category 7, which is not listed"),
        ({**DOCUMENT, "categories": [{"id": 3, "name": "x"}, {"id": 7, "name": "cell"}]}, "'x' is not one of"),
        ({**DOCUMENT, "images": [*DOCUMENT["images"], {"id": 3, "file_name": "../c.png"}]}, "c.png"),
        ({**DOCUMENT, "images": [{"id": 1}]}, "has no"),
    ],
)
def test_broken_coco_files_are_named(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        coco_of(tmp_path, document).items()


def masks_of(root: Path, labels: tuple[str, ...] = ("lesion",), **changes: Any) -> Dataset:
    mask = np.zeros((30, 40), np.uint8)
    mask[2:6, 3:9] = 1
    mask[10:12, 20:25] = 1
    mask[20:28, 30:38] = 2
    for name in ("a", "b"):
        Pillow.fromarray(np.full((30, 40), 90, np.uint8)).save(root / f"{name}.png")
    Pillow.fromarray(mask).save(root / "a_mask.png")
    params = mask_boxes.Params(root=root, image="{name}.png", mask="{name}_mask.png", **changes)
    return mask_boxes.ENTRY.open(params, "detect", labels)


def test_masks_give_a_box_a_part_an_instance_or_a_label(tmp_path: Path) -> None:
    data = masks_of(tmp_path)
    assert [item.id for item in data.items()] == ["a.png", "b.png"]
    assert objects(data, "a.png").boxes.tolist() == [[30, 20, 38, 28], [3, 2, 9, 6], [20, 10, 25, 12]]
    assert objects(data, "b.png").boxes.shape == (0, 4)
    instances = objects(masks_of(tmp_path, values="instance"), "a.png")
    assert instances.boxes.tolist() == [[3, 2, 25, 12], [30, 20, 38, 28]]
    labelled = objects(masks_of(tmp_path, ("x", "y"), values="label", smallest=11), "a.png")
    assert labelled.boxes.tolist() == [[3, 2, 9, 6], [30, 20, 38, 28]]
    assert labelled.labels.tolist() == [0, 1]
    with pytest.raises(UserError, match=r"the value 2 (is not a|belongs to no) label"):
        objects(masks_of(tmp_path, ("x",), values="label"), "a.png")


def test_masks_of_volumes_give_boxes_along_the_stored_axes(tmp_path: Path) -> None:
    (tmp_path / "p1").mkdir()
    mask = np.zeros((12, 14, 16), np.uint8)
    mask[2:5, 3:7, 4:9] = 1
    for name, array in (("flair", mask * 7.0 + 1), ("lesions", mask)):
        nibabel.save(nibabel.Nifti1Image(array.astype(np.float32), np.eye(4)), tmp_path / "p1" / f"{name}.nii.gz")
    params = mask_boxes.Params(root=tmp_path, image="{patient}/flair.nii.gz", mask="{patient}/lesions.nii.gz")
    data = mask_boxes.ENTRY.open(params, "detect", ("lesion",))
    (item,) = data.items()
    sample = data.load(item)
    assert isinstance(sample.target, Objects)
    assert item.groups["patient"] == "p1"
    assert sample.target.boxes.tolist() == [[2, 3, 4, 5, 7, 9]]
    assert sample.mask is not None
    assert sample.mask.sum() == mask.sum()


def test_patterns_that_fit_nothing_are_errors(tmp_path: Path) -> None:
    masks_of(tmp_path)
    for changes, message in (
        ({"image": "x/{name}.png", "mask": "{name}_m.png"}, "no file matches"),
        ({"image": "{name}.png", "mask": "{name}_other.png"}, "no image has a mask"),
        ({"image": "{name}.png", "mask": "{patient}.png"}, "is not in data.image"),
    ):
        params = mask_boxes.Params.model_validate({"root": tmp_path, **changes})
        with pytest.raises(UserError, match=message):
            mask_boxes.ENTRY.open(params, "detect", ("lesion",)).items()
