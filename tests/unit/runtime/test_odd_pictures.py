"""Pictures that a detector rarely meets: thin, huge, deep, crowded. Each is predicted, or refused in one line."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.errors import UserError
from medzoo.export.onnx_file import onnx_bytes
from medzoo.models.region_cnn import ENTRY
from medzoo.nn.net import Spec
from medzoo.results import Detections
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A region CNN of fresh weights, whose scores are near a half and so all above the floor."""
    net = ENTRY.build(ENTRY.params.model_validate({**ENTRY.tiny}), Spec("detect", ("lesion",)))
    metadata = Metadata(name="made", task="detect", labels=("lesion",), geometry=net.geometry)
    raw = onnx_bytes(net, metadata, example={"image": np.zeros((2, 1, 96, 80), np.float32)})
    return Predictor(OnnxBackend(raw, where="made.onnx", device="cpu"), threshold=0.0)


def saved(array: np.ndarray, path: Path) -> Path:
    Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 1), (3, 700)])
def test_boxes_in_a_thin_picture_lie_inside_it(predictor: Predictor, size: tuple[int, int], tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 255, size, np.uint8)
    result = predictor.predict(saved(array, tmp_path / "thin.png"))
    assert isinstance(result, Detections)
    assert np.isfinite(result.boxes).all()
    assert (result.boxes[:, :2] >= 0).all()
    assert (result.boxes[:, 2:] <= [size[1], size[0]]).all()
    assert (result.boxes[:, 2:] > result.boxes[:, :2]).all()


def test_twenty_thousand_pixels_a_side_are_refused_by_the_header(predictor: Predictor, tmp_path: Path) -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(20_001))) + chunk(b"IEND", b""))
    with pytest.raises(UserError, match=r"huge\.png: is larger than medzoo reads \(at most 134217728 pixels"):
        predictor.predict(path)


def test_sixteen_bits_are_refused_by_a_detector_of_eight(predictor: Predictor, tmp_path: Path) -> None:
    deep = saved(np.full((40, 50), 30_000, np.uint16), tmp_path / "deep.png")
    with pytest.raises(
        UserError, match=r"deep\.png: the picture has 16 bits per pixel, but made was trained on 8-bit pictures"
    ):
        predictor.predict(deep)
    trained_deep = Predictor(predictor.backend, threshold=0.0)
    trained_deep.metadata = predictor.metadata.model_copy(update={"bits": 16})
    assert isinstance(trained_deep.predict(deep), Detections)


def test_of_a_thousand_objects_the_best_are_given_in_order(predictor: Predictor, tmp_path: Path) -> None:
    array = np.full((640, 800), 40, np.uint8)
    for y in range(4, 640, 25):
        for x in range(4, 800, 20):
            array[y : y + 10, x : x + 10] = 220
    assert (np.diff((array > 100).astype(int), axis=1) == 1).any(axis=0).sum() * 26 >= 1000
    result = predictor.predict(saved(array, tmp_path / "crowd.png"))
    assert isinstance(result, Detections)
    assert 0 < len(result) <= ENTRY.tiny["detections"]
    assert (np.diff(result.scores) <= 0).all()
