"""Instance masks that layouts of boxes give: COCO, BUSI, masks beside images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.dataset import DataEntry, Objects
from medzoo.data.instances import boxes_of
from medzoo.data.layouts import coco, mask_boxes, voc
from medzoo.data.public import busi
from medzoo.errors import UserError
from medzoo.io.run_lengths import compressed, run_lengths
from medzoo.types import Array

SHAPE = (40, 60)


def target_of(entry: DataEntry, params: dict[str, Any], labels: tuple[str, ...] = ("lesion",)) -> Objects:
    data = entry.open(entry.params(**params), "detect", labels)
    target = data.load(data.items()[0]).target
    assert isinstance(target, Objects)
    return target


def layers_of(target: Objects) -> Array:
    assert target.masks is not None
    return target.masks()


def write(path: Path, mask: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(mask.astype(np.uint8)).save(path)


def square(y: int, x: int, side: int = 8) -> Array:
    mask = np.zeros(SHAPE, bool)
    mask[y : y + side, x : x + side] = True
    return mask


def coco_set(root: Path, segmentations: list[Any], **more: Any) -> dict[str, Any]:
    write(root / "images" / "a.png", np.zeros(SHAPE))
    rows = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": [10, 10, 8, 8], "segmentation": one, **more}
        for n, one in enumerate(segmentations, 1)
    ]
    images = [{"id": 1, "file_name": "a.png", "height": SHAPE[0], "width": SHAPE[1]}]
    document = {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "lesion"}]}
    (root / "annotations.json").write_text(json.dumps(document))
    return {"root": root}


def test_coco_polygons_and_run_lengths(tmp_path: Path) -> None:
    runs = run_lengths(square(10, 10))
    target = target_of(
        coco.ENTRY,
        coco_set(
            tmp_path,
            [
                [[10, 10, 18, 10, 18, 18, 10, 18]],
                [[10, 10, 14, 10, 14, 18, 10, 18], [14, 10, 18, 10, 18, 18, 14, 18]],
                {"size": list(SHAPE), "counts": runs},
                {"size": list(SHAPE), "counts": compressed(runs)},
            ],
        ),
    )
    layers = layers_of(target)
    assert layers.shape == (4, *SHAPE)  # they all overlap
    for number in range(4):
        assert np.array_equal((layers == number + 1).any(axis=0), square(10, 10))


def test_a_polygon_covers_what_pycocotools_says(tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    rng = np.random.default_rng(2)
    for number in range(5):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        points = np.column_stack([30 + 18 * np.cos(angles), 20 + 13 * np.sin(angles)])
        polygon = points.ravel().tolist()
        target = target_of(coco.ENTRY, coco_set(tmp_path / str(number), [[polygon]]))
        mine = layers_of(target)[0] > 0
        theirs = tools.decode(tools.frPyObjects([polygon], *SHAPE))[..., 0] > 0
        # Its rasteriser rounds corners to fifths of a pixel.
        assert (mine & theirs).sum() / (mine | theirs).sum() > 0.93


def test_crowds_have_no_mask(tmp_path: Path) -> None:
    target = target_of(coco.ENTRY, coco_set(tmp_path, [{"size": list(SHAPE), "counts": [1]}], iscrowd=1))
    assert not layers_of(target).any()


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        (None, "has no segmentation"),
        ([], "has no segmentation"),
        ([[1, 2, 3, 4]], "its segmentation is"),
        ("none", "its segmentation is"),
        ([[0, 0, 0.1, 0, 0, 0.1]], "covers no pixel"),
        ({"size": [60, 40], "counts": [2400]}, "is of size"),
        ({"size": [40, 60], "counts": [2399]}, "do not fill"),
        ({"size": [40, 60], "counts": 7}, "counts of its segmentation"),
    ],
)
def test_impossible_outlines_name_their_annotation(tmp_path: Path, segmentation: Any, words: str) -> None:
    target = target_of(coco.ENTRY, coco_set(tmp_path, [segmentation]))
    assert len(target.boxes) == 1  # boxes alone need no outline
    with pytest.raises(UserError, match=rf"annotation 1 of a\.png: .*{words}"):
        layers_of(target)


def test_busi_gives_each_lesion_its_mask(tmp_path: Path) -> None:
    write(tmp_path / "benign" / "benign (1).png", np.zeros(SHAPE))
    write(tmp_path / "benign" / "benign (1)_mask.png", (square(5, 5) | square(30, 50, 2)) * 255)
    write(tmp_path / "benign" / "benign (1)_mask_1.png", square(9, 9) * 255)
    target = target_of(busi.ENTRY, {"root": tmp_path})
    layers = layers_of(target)
    assert np.array_equal((layers == 1).any(axis=0), square(5, 5))  # its largest part
    assert np.array_equal((layers == 2).any(axis=0), square(9, 9))
    assert np.array_equal(boxes_of(layers, 2), target.boxes)


@pytest.mark.parametrize("values", ["lesion", "instance", "label"])
def test_masks_beside_images_are_those_of_the_boxes(tmp_path: Path, values: str) -> None:
    write(tmp_path / "a.png", np.zeros(SHAPE))
    stored = square(5, 5) * 1 + square(20, 20, 5) * 2 + square(30, 40, 6) * 1
    write(tmp_path / "a_mask.png", stored)
    params = {"root": tmp_path, "image": "{name}.png", "mask": "{name}_mask.png", "values": values}
    target = target_of(mask_boxes.ENTRY, params, ("a", "b") if values == "label" else ("lesion",))
    layers = layers_of(target)
    assert len(target.boxes) == (2 if values == "instance" else 3)
    assert np.array_equal(boxes_of(layers, len(target.boxes)), target.boxes)
    assert np.array_equal((layers > 0).any(axis=0), stored > 0)


def voc_set(root: Path, *, palette: bool, numbers: Array | None = None) -> dict[str, Any]:
    """Three objects, the second one difficult, which overlap in their boxes."""
    write(root / "JPEGImages" / "a.png", np.zeros(SHAPE))
    corners = [(10, 10), (14, 30), (20, 12)]
    rows = "".join(
        f"<object><name>lesion</name><difficult>{int(k == 1)}</difficult><bndbox><xmin>{x + 1}</xmin>"
        f"<ymin>{y + 1}</ymin><xmax>{x + 8}</xmax><ymax>{y + 8}</ymax></bndbox></object>"
        for k, (y, x) in enumerate(corners)
    )
    (root / "Annotations").mkdir(parents=True)
    (root / "Annotations" / "a.xml").write_text(f"<annotation><filename>a.png</filename>{rows}</annotation>")
    if numbers is None:
        numbers = np.zeros(SHAPE, np.uint8)
        for k, (y, x) in enumerate(corners):
            numbers[square(y, x)] = k + 1
        numbers[9, 10:18] = 255  # the border that VOC leaves out
    picture = Pillow.fromarray(numbers.astype(np.uint8))
    if palette:
        picture = Pillow.fromarray(numbers.astype(np.uint8), mode="P")
        picture.putpalette(list(np.random.default_rng(0).integers(0, 255, 768)))
    (root / "SegmentationObject").mkdir()
    picture.save(root / "SegmentationObject" / "a.png")
    return {"root": root}


@pytest.mark.parametrize("palette", [True, False])
def test_voc_objects_have_the_masks_of_their_place_in_the_annotation(tmp_path: Path, palette: bool) -> None:
    target = target_of(voc.ENTRY, voc_set(tmp_path, palette=palette))
    masks = layers_of(target)
    assert np.array_equal(masks[0] == 1, square(10, 10))
    assert np.array_equal(masks[0] == 2, square(20, 12))  # the third of the annotation
    assert np.array_equal(boxes_of(masks, 2), target.boxes)


def test_voc_masks_that_do_not_fit_are_named(tmp_path: Path) -> None:
    for name, numbers, words in (
        ("empty", np.zeros(SHAPE), "has no pixel of object 1"),
        ("small", np.ones((20, 30)), "has 20 x 30 pixels, its image"),
        ("other", square(10, 10) * 1, "has no pixel of object 3"),
    ):
        with pytest.raises(UserError, match=words):
            layers_of(target_of(voc.ENTRY, voc_set(tmp_path / name, palette=True, numbers=numbers)))
