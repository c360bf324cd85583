"""Large pictures: detected in tiles, or with a note on how much they were reduced."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy.ndimage import find_objects, label
from typer.testing import CliRunner

import medzoo
from medzoo.boxes import box_iou
from medzoo.cli import app
from medzoo.errors import UserError
from medzoo.runtime.backends.canvas import read_canvas
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.decode.tiles import tiles
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from tests.unit.serve.conftest import running

ROOT = Path(__file__).resolve().parents[3]


class BrightBlobs:
    """Boxes every bright blob that is at least 4 pixels a side of a picture of at most `canvas`; sees nothing in a
    larger one."""

    name, device = "onnx", "cpu"
    metadata = Metadata(name="blobs", task="detect", labels=("blob",))

    def __init__(self, canvas: tuple[int, int] = (64, 80)) -> None:
        self.canvas = canvas
        self.shapes: list[tuple[int, ...]] = []

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        image = inputs["image"]
        self.shapes.append(image.shape)
        found = []
        if image.shape[2] <= self.canvas[0] and image.shape[3] <= self.canvas[1]:
            for rows, columns in find_objects(label(image[0, 0] > 100)[0]):
                found.append([columns.start, rows.start, columns.stop, rows.stop])
        boxes = np.array(found, np.float32).reshape(1, -1, 4)
        # A larger blob is surer, so that one that is cut is not.
        scores = np.minimum(0.2 + np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1) / 2000, 0.99).astype(np.float32)
        return {
            "boxes": boxes,
            "scores": scores,
            "labels": np.zeros(boxes.shape[:2], np.int64),
            "count": np.array([boxes.shape[1]]),
        }


def drawn(size: tuple[int, int], boxes: Sequence[Sequence[int]]) -> np.ndarray:
    picture = np.zeros(size, np.uint8)
    for x0, y0, x1, y1 in boxes:
        picture[y0:y1, x0:x1] = 200
    return picture


def spread(size: tuple[int, int], *, seed: int, side: int) -> list[list[int]]:
    """Blobs of 4 to `side` pixels that do not touch, anywhere."""
    rng, taken, found = np.random.default_rng(seed), np.zeros(size, bool), []
    for _ in range(400):
        width, height = rng.integers(4, side + 1, 2)
        x, y = int(rng.integers(0, size[1] - width)), int(rng.integers(0, size[0] - height))
        if not taken[max(0, y - 2) : y + height + 2, max(0, x - 2) : x + width + 2].any():
            taken[y : y + height, x : x + width] = True
            found.append([x, y, x + int(width), y + int(height)])
    return found


def placed(answer: Any) -> list[list[int]]:
    return sorted([round(float(v)) for v in box] for box in answer.boxes)


@pytest.mark.parametrize("size", [(301, 407), (64, 500), (700, 65), (65, 81)])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_object_of_up_to_half_a_tile_is_found_once_wherever_the_seams_lie(
    size: tuple[int, int], seed: int
) -> None:
    boxes = spread(size, seed=seed, side=30)
    backend = BrightBlobs()
    answer = Predictor(backend, threshold=0).predict(drawn(size, boxes), tile=True)
    assert placed(answer) == sorted(boxes)
    assert (np.diff(answer.scores) <= 0).all()
    assert all(shape[2] <= 64 and shape[3] <= 80 for shape in backend.shapes)
    assert "notes" not in answer.to_dict()


def test_every_pixel_has_one_tile_of_its_own() -> None:
    for size in ((301, 407), (64, 80), (63, 200), (6000, 8000)):
        area = 0.0
        for one in tiles(size, (64, 80)):
            x0, y0, x1, y1 = one.own
            area += (x1 - x0) * (y1 - y0)
            assert one.left <= x0 < x1 <= one.right
            assert one.top <= y0 < y1 <= one.bottom
        assert area == size[0] * size[1]


def test_a_picture_of_one_tile_is_predicted_as_without_tiles() -> None:
    boxes = spread((60, 70), seed=3, side=20)
    model = Predictor(BrightBlobs(), threshold=0)
    plain, tiled = (model.predict(drawn((60, 70), boxes), tile=tile) for tile in (None, True))
    assert np.array_equal(plain.boxes, tiled.boxes)
    assert np.array_equal(plain.scores, tiled.scores)


def test_an_object_larger_than_half_a_tile_is_reported_as_cut() -> None:
    answer = Predictor(BrightBlobs(), threshold=0).predict(drawn((200, 200), [[10, 10, 170, 190]]), tile=True)
    assert "objects larger than half a tile need a larger one" in answer.to_dict()["notes"][0]


def test_tiles_that_are_reduced_themselves_say_so() -> None:
    answer = Predictor(BrightBlobs(), threshold=0).predict(np.zeros((900, 1200), np.uint8), tile=(320, 400))
    assert answer.notes == ("its tiles of 400 x 320 pixels were reduced 5.0 times: smaller ones see more",)


def test_memory_does_not_grow_with_the_picture() -> None:
    picture = np.zeros((6000, 8000), np.uint8)
    picture[5000:5020, 7000:7025] = 200
    model = Predictor(BrightBlobs((480, 640)), threshold=0)
    tracemalloc.start()
    try:
        answer = model.predict(picture, tile=True)
        assert tracemalloc.get_traced_memory()[1] < 3 * picture.nbytes
    finally:
        tracemalloc.stop()
    assert placed(answer) == [[7000, 5000, 7025, 5020]]


@pytest.mark.parametrize("tile", [(0, 64), (64,), "64", 64, (64.5, 80), (float("inf"), 64), (True, 64), (8, 8)])
def test_what_is_no_tile_is_refused(tile: Any) -> None:
    with pytest.raises(UserError, match=r"^tile: .* is not a height and width of at least 32 pixels \(as in tile="):
        Predictor(BrightBlobs()).predict(np.zeros((90, 90), np.uint8), tile=tile)


def test_a_model_that_looks_at_the_whole_refuses_tiles() -> None:
    for name in ("breast-ultrasound-cnn", "breast-mass-svm", "ms-lesion-rcnn"):
        with pytest.raises(UserError, match=rf"tile: {name} does not support tiles"):
            medzoo.load(name).predict(ROOT / "docs" / "images" / "phantom.png", tile=True)


def test_the_canvas_is_read_from_the_graph() -> None:
    found = {
        name: read_canvas(ROOT / "zoo" / name / "model.onnx")
        for name in ("blood-cell-rcnn", "breast-lesion-rcnn", "breast-ultrasound-cnn", "lenet-mass", "brain-tissue")
    }
    assert list(found.values()) == [(384, 512), (256, 320), (320, 384), (64, 64), None]
    assert read_canvas((ROOT / "zoo" / "lenet-mass" / "model.onnx").read_bytes()) == (64, 64)


@pytest.mark.parametrize(
    ("name", "times"), [("breast-lesion-rcnn", 10.2), ("breast-ultrasound-cnn", 8.5), ("breast-mass-svm", 12.7)]
)
def test_a_picture_that_was_reduced_far_has_a_note(name: str, times: float, tmp_path: Path) -> None:
    model = medzoo.load(name)
    phantom = ROOT / "docs" / "images" / "phantom.png"
    with Pillow.open(phantom) as opened:
        opened.convert("L").resize((3250, 2400)).save(tmp_path / "large.png")
    notes = model.predict(tmp_path / "large.png").to_dict()["notes"]
    assert sum(f"its 3250 x 2400 pixels were reduced {times} times" in note for note in notes) == 1
    assert not any("reduced" in note for note in model.predict(phantom).notes)


@pytest.mark.parametrize("backend", ["torch", "remote"])
def test_other_backends_know_the_canvas_too(backend: str) -> None:
    pytest.importorskip("torch")
    path = ROOT / "zoo" / "breast-lesion-rcnn"
    if backend == "torch":
        assert medzoo.load(path, backend="torch", device="cpu").canvas == (256, 320)
        return
    with running([OnnxBackend(path / "model.onnx", device="cpu", threads=1)]) as server:
        assert medzoo.load(f"http://127.0.0.1:{server.http_port}/breast-lesion-rcnn").canvas == (256, 320)
        assert medzoo.load(f"grpc://127.0.0.1:{server.grpc_port}/breast-lesion-rcnn").canvas == (256, 320)


def test_cells_of_a_mosaic_are_found_as_in_its_pictures(shared_data: Path, tmp_path: Path) -> None:
    """Two by two pictures of a smear side by side, 1280 x 960."""
    paths = sorted((shared_data / "bccd" / "JPEGImages").glob("*.jpg"))[:4]
    model = medzoo.load("blood-cell-rcnn", device="cpu", threshold=0.6)
    with Pillow.open(paths[0]) as first:
        width, height = first.size
    mosaic = np.zeros((2 * height, 2 * width, 3), np.uint8)
    expected, kinds = [], []
    for number, path in enumerate(paths):
        y, x = divmod(number, 2)
        with Pillow.open(path) as opened:
            mosaic[y * height : (y + 1) * height, x * width : (x + 1) * width] = np.asarray(opened.convert("RGB"))
        one = model.predict(path)
        expected.append(one.boxes + np.array([x * width, y * height] * 2))
        kinds.append(one.classes)
    every, labels = np.concatenate(expected), np.concatenate(kinds)
    answer = model.predict(mosaic, tile=(height, width))
    overlaps = box_iou(every, answer.boxes) * (labels[:, None] == answer.classes[None])
    assert (overlaps.max(axis=1) > 0.5).mean() > 0.9
    assert abs(len(answer) - len(every)) < 0.2 * len(every)
    Pillow.fromarray(mosaic).save(tmp_path / "mosaic.png")
    options = ["--tile", f"{height},{width}", "--device", "cpu", "--threshold", "0.6", "--no-pictures"]
    ran = CliRunner().invoke(
        app, ["predict", "blood-cell-rcnn", str(tmp_path / "mosaic.png"), *options, "-o", str(tmp_path / "out")]
    )
    assert ran.exit_code == 0
    assert f"{len(answer)} found" in ran.output


@pytest.mark.parametrize(
    ("size", "tiled"), [((64, 80), False), ((60, 96), False), ((97, 64), True), ((130, 200), True)]
)
def test_a_detector_made_for_tiles_takes_them_by_itself(size: tuple[int, int], tiled: bool) -> None:
    backend = BrightBlobs()
    backend.metadata = backend.metadata.model_copy(update={"geometry": Geometry(tile=64)})
    model = Predictor(backend)
    picture = drawn(size, [(10, 10, 22, 20)])
    found = model.predict(picture)
    assert (len(backend.shapes) > 1) == tiled
    assert max(max(shape[2:]) for shape in backend.shapes) <= (64 if tiled else 96)
    if tiled:
        assert found.boxes.tolist() == [[10, 10, 22, 20]]
    backend.shapes.clear()
    model.predict(picture, tile=False)
    assert backend.shapes == [(1, 1, *size)]
