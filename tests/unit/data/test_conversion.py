"""A dataset written in another layout comes back object by object; pre-labels are read by the layouts they are for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo import registry
from medzoo.data.conversion import convert
from medzoo.data.dataset import Objects
from medzoo.data.opened import OpenData
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.imaging.polygons import one_ring, polygons
from medzoo.recipe.split import SplitSection
from medzoo.results import Detections, Segmentation
from medzoo.types import Image
from medzoo.writer import WriterOptions, open_writer

SIDE = 60


def blobs(seed: int, count: int) -> np.ndarray:
    """A label map of `count` ragged objects with holes and loose pixels, all apart."""
    rng = np.random.default_rng(seed)
    map_ = np.zeros((SIDE, SIDE), np.uint8)
    cells = rng.permutation(36)[:count]
    for number, cell in enumerate(cells, 1):
        y, x = 10 * (cell // 6), 10 * (cell % 6)
        part = rng.random((9, 9)) > 0.35
        part[4, 4] = True
        map_[y : y + 9, x : x + 9][part] = number
    return map_


def opened(kind: str, root: Path, task: str, labels: list[str], **params: Any) -> OpenData:
    entry = registry.entry("data", kind)
    data = entry.open(entry.params(root=root, **params), task, labels)
    items = data.items()
    section = SplitSection(group="none", val=0.2, test=0.2)
    return OpenData(data, items, make_split(items, section.model_copy(update=section.amounts)))


def instances(root: Path, images: int = 10, count: int = 20) -> OpenData:
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for k in range(images):
        noise = np.random.default_rng(k).integers(0, 255, (SIDE, SIDE), np.uint8)
        Pillow.fromarray(noise).save(root / "images" / f"a {k}.png")
        Pillow.fromarray(blobs(k, count)).save(root / "labels" / f"a {k}.png")
    return opened("instances", root, "detect", ["cell"])


@pytest.mark.parametrize("form", ["yolo", "coco"])
def test_a_thousand_objects_there_and_back(form: str, tmp_path: Path) -> None:
    data = instances(tmp_path / "set", images=40, count=25)
    made = convert(data, form, task="detect", labels=["cell"], folder=tmp_path / "out")
    assert made.objects == 1000
    assert sum(made.images.values()) == 40
    # And from there to the other layout, and back once more.
    other = "coco" if form == "yolo" else "yolo"
    params: dict[str, Any] = {}
    if form == "coco":
        params["annotations"] = {part: f"annotations/{part}.json" for part in made.images}
        params["images"] = {part: f"images/{part}" for part in made.images}
    again = convert(
        opened(form, tmp_path / "out", "detect", ["cell"], **params),
        other,
        task="detect",
        labels=["cell"],
        folder=tmp_path / "again",
    )
    assert again.objects == 1000


def test_label_maps_there_and_back(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for k in range(10):
        noise = np.random.default_rng(k).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        Pillow.fromarray(noise).save(tmp_path / "images" / f"{k}.png")
        Pillow.fromarray(blobs(k, 12) % 3).save(tmp_path / "masks" / f"{k}.png")
    labels = ["background", "a", "b"]
    patterns = {"image": "images/{name}.png", "mask": "masks/{name}.png"}
    data = opened("picture-masks", tmp_path, "segment", labels, **patterns)
    for form in ("yolo", "nnunet"):
        assert convert(data, form, task="segment", labels=labels, folder=tmp_path / form).objects == 10
    with pytest.raises(UserError, match="coco is written of data to detect"):
        convert(data, "coco", task="segment", labels=labels, folder=tmp_path / "coco")


def test_volumes_there_and_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    turn = np.array([[0, -1, 0], [0.6, 0, 0.8], [0.8, 0, -0.6]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * [1.5, 1.0, 2.5], [4, 7, 1]
    for k in range(6):
        (tmp_path / f"p{k}").mkdir()
        scan = rng.normal(0, 100, (6, 5, 4)).astype(np.float32)
        nib.save(nib.Nifti1Image(scan, affine), tmp_path / f"p{k}" / "scan.nii.gz")
        nib.save(
            nib.Nifti1Image(rng.integers(0, 3, scan.shape).astype(np.uint8), affine),
            tmp_path / f"p{k}" / "label.nii.gz",
        )
    labels = ["background", "a", "b"]
    patterns = {"image": "{patient}/scan.nii.gz", "label": "{patient}/label.nii.gz"}
    data = opened("nifti-pairs", tmp_path, "segment", labels, **patterns)
    made = convert(data, "nnunet", task="segment", labels=labels, folder=tmp_path / "out")
    assert made.objects == 6
    first = data.part("train")[0]
    name = next((tmp_path / "out" / "imagesTr").glob("*_0000.nii.gz"))
    stored = nib.load(name)
    np.testing.assert_allclose(stored.affine, affine, atol=1e-6)
    assert first is not None


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    data = instances(tmp_path / "set")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="holds files already"):
        convert(data, "yolo", task="detect", labels=["cell"], folder=tmp_path / "out")
    with pytest.raises(UserError, match="'voc' is not one of yolo, coco, nnunet"):
        convert(data, "voc", task="detect", labels=["cell"], folder=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("seed", range(5))
def test_one_ring_fills_as_the_mask(seed: int) -> None:
    from medzoo.data.annotated import fill_rings

    mask = np.random.default_rng(seed).random((30, 40)) > 0.5
    assert np.array_equal(fill_rings([one_ring(polygons(mask)).astype(float)], mask.shape), mask)


def result(root: Path) -> Detections:
    noise = np.random.default_rng(0).integers(0, 255, (1, 48, 64), np.uint8)
    Pillow.fromarray(noise[0]).save(root / "a.png")
    boxes = np.array([[4, 6, 20, 30], [30.5, 10.25, 50, 40]], np.float32)
    image = Image(noise, None, source=str(root / "a.png"))
    return Detections(
        input="a.png",
        model="m",
        image=image,
        labels=("cell", "speck"),
        boxes=boxes,
        scores=np.array([0.6, 0.9], np.float32),
        classes=np.array([1, 0]),
    )


@pytest.mark.parametrize(
    ("form", "layout", "params"),
    [
        ("yolo", "yolo", {}),
        ("labelme", "labelme", {}),
        ("labelstudio", "label-studio", {"annotations": "labelstudio.json"}),
    ],
)
def test_pre_labels_are_read_by_their_layout(form: str, layout: str, params: dict[str, Any], tmp_path: Path) -> None:
    found = result(tmp_path)
    writer = open_writer(form, WriterOptions(tmp_path, "m", "detect", ("cell", "speck")))
    writer.write(found, tmp_path / "a")
    writer.close()
    if form == "labelstudio":  # a person accepts the predictions
        import json

        path = tmp_path / "labelstudio.json"
        tasks = json.loads(path.read_text())
        tasks[0]["annotations"] = [{"completed_by": 1, "result": tasks[0]["predictions"][0]["result"]}]
        path.write_text(json.dumps(tasks))
    data = opened_one(layout, tmp_path, **params)
    target = data.load(data.items()[0]).target
    assert isinstance(target, Objects)
    np.testing.assert_allclose(target.boxes, found.boxes[[1, 0]], atol=1e-4)
    assert target.labels.tolist() == [0, 1]


def opened_one(kind: str, root: Path, **params: Any) -> Any:
    entry = registry.entry("data", kind)
    return entry.open(entry.params(root=root, **params), "detect", ("cell", "speck"))


def test_masks_are_polygons_and_brush_strokes(tmp_path: Path) -> None:
    import json

    noise = np.random.default_rng(0).integers(0, 255, (1, SIDE, SIDE), np.uint8)
    Pillow.fromarray(noise[0]).save(tmp_path / "a.png")
    map_ = (blobs(0, 6) > 0).astype(np.uint8)
    image = Image(noise, None, source=str(tmp_path / "a.png"))
    found = Segmentation(input="a.png", model="m", image=image, labels=("background", "cell"), mask=map_)
    for form in ("yolo", "labelstudio"):
        writer = open_writer(form, WriterOptions(tmp_path, "m", "segment", ("background", "cell")))
        writer.write(found, tmp_path / "a")
        writer.close()
    entry = registry.entry("data", "yolo")
    data = entry.open(entry.params(root=tmp_path), "segment", ("background", "cell"))
    assert np.array_equal(data.load(data.items()[0]).target, map_)
    (task,) = json.loads((tmp_path / "labelstudio.json").read_text())
    assert {row["type"] for row in task["predictions"][0]["result"]} == {"brushlabels"}


def test_volumes_have_no_such_form(tmp_path: Path) -> None:
    image = Image(np.zeros((1, 4, 4, 4), np.uint8), np.eye(4))
    found = Segmentation(
        input="a", model="m", image=image, labels=("background", "x"), mask=np.ones((4, 4, 4), np.uint8)
    )
    writer = open_writer("yolo", WriterOptions(tmp_path, "m", "segment", ("background", "x")))
    with pytest.raises(UserError, match="pictures alone"):
        writer.write(found, tmp_path / "a")
