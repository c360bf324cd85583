"""Sizes stated by annotations, beside the pictures as they are read: EXIF turns the boxes, or they are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.dataset import Dataset, Objects
from medzoo.data.layouts import coco, voc
from medzoo.data.picture_size import Pixels, turn_boxes
from medzoo.errors import UserError

SIZE = (48, 32)  # stored: width, height
BOX = (4, 6, 20, 14)  # about the bright rectangle in the stored pixels


def picture(path: Path, orientation: int, size: tuple[int, int] = SIZE) -> None:
    stored = np.zeros(size[::-1], np.uint8)
    stored[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 255
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(stored).save(path, exif=exif)


def opened(root: Path, kind: str, stated: tuple[int, int] | None, pixels: Pixels | None = None) -> Dataset:
    x0, y0, x1, y1 = BOX
    if kind == "coco":
        image = {"id": 1, "file_name": "p.png"}
        if stated is not None:
            image |= {"width": stated[0], "height": stated[1]}
        row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [x0, y0, x1 - x0, y1 - y0]}
        document = {"images": [image], "annotations": [row], "categories": [{"id": 1, "name": "cell"}]}
        (root / "annotations.json").write_text(json.dumps(document))
        return coco.Coco(coco.Params(root=root, images="JPEGImages", pixels=pixels), ["cell"])
    (root / "Annotations").mkdir(exist_ok=True)
    size = "" if stated is None else f"<size><width>{stated[0]}</width><height>{stated[1]}</height></size>"
    box = f"<xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
    (root / "Annotations" / "p.xml").write_text(
        f"<annotation>{size}<object><name>cell</name><bndbox>{box}</bndbox></object></annotation>"
    )
    return voc.Voc(voc.Params(root=root, pixels=pixels), ["cell"])


def boxes(data: Dataset) -> list[list[float]]:
    target = data.load(data.items()[0]).target
    assert isinstance(target, Objects)
    result: list[list[float]] = target.boxes.tolist()
    return result


def bright(data: Dataset) -> list[list[float]]:
    """The box about what is bright in the picture as it is read."""
    rows, columns = np.nonzero(data.load(data.items()[0]).image.array[0] > 127)
    return [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]


@pytest.mark.parametrize("kind", ["coco", "voc"])
@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_stored_pixels_are_turned(tmp_path: Path, kind: str, orientation: int) -> None:
    picture(tmp_path / "JPEGImages" / "p.png", orientation)
    data = opened(tmp_path, kind, SIZE)
    assert boxes(data) == bright(data)


@pytest.mark.parametrize("kind", ["coco", "voc"])
@pytest.mark.parametrize("orientation", [2, 3, 4, 5, 6, 7, 8])
def test_the_user_says_which_pixels(tmp_path: Path, kind: str, orientation: int) -> None:
    picture(tmp_path / "JPEGImages" / "p.png", orientation, (32, 32))
    with pytest.raises(UserError, match=r"EXIF orientation .*set data.pixels to stored or shown"):
        boxes(opened(tmp_path, kind, (32, 32)))
    with pytest.raises(UserError, match=r"set data.pixels"):
        boxes(opened(tmp_path, kind, None))
    stored = opened(tmp_path, kind, (32, 32), "stored")
    assert boxes(stored) == bright(stored)
    assert boxes(opened(tmp_path, kind, (32, 32), "shown")) == [[float(v) for v in BOX]]


@pytest.mark.parametrize("kind", ["coco", "voc"])
@pytest.mark.parametrize(
    ("stated", "orientation"), [((32, 48), 1), ((96, 64), 1), ((24, 16), 1), ((96, 64), 6), ((48, 33), 3)]
)
def test_other_sizes_are_refused_with_both(
    tmp_path: Path, kind: str, stated: tuple[int, int], orientation: int
) -> None:
    picture(tmp_path / "JPEGImages" / "p.png", orientation)
    read = "32 x 48" if orientation == 6 else "48 x 32"
    with pytest.raises(UserError, match=rf"picture of {stated[0]} x {stated[1]}, .*p.png has {read}"):
        boxes(opened(tmp_path, kind, stated))


def test_a_size_that_contradicts_the_pixels_is_refused(tmp_path: Path) -> None:
    picture(tmp_path / "JPEGImages" / "p.png", 6)
    with pytest.raises(UserError, match="48 x 32"):
        boxes(opened(tmp_path, "coco", SIZE, "shown"))
    assert boxes(opened(tmp_path, "coco", (32, 48), "shown")) == [[float(v) for v in BOX]]


def test_boxes_are_turned_as_pillow_turns_pictures() -> None:
    assert turn_boxes(np.array([BOX]), 1, size=SIZE).tolist() == [list(BOX)]
    assert turn_boxes(np.array([BOX]), 6, size=SIZE).tolist() == [[18, 4, 26, 20]]
    assert turn_boxes(np.zeros((0, 4)), 6, size=SIZE).shape == (0, 4)
