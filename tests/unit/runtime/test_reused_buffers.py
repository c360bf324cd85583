"""An iterator may hand out one buffer again and again: every result is that of its content when it was handed out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.runtime.predictor import Failure, Predictor
from tests.unit.runtime.toy_backends import MeanValue

FRAMES = range(2, 42)  # values: 0 and 1 alone would say nothing in a float
SHAPE = (64, 80)


def one_array() -> Iterator[Any]:
    frame = np.zeros(SHAPE, np.uint8)
    for number in FRAMES:
        frame[:] = number
        yield frame


def a_view_of_a_ring() -> Iterator[Any]:
    ring = np.zeros((3, *SHAPE), np.float32)
    for number in FRAMES:
        ring[number % 3] = number
        yield ring[number % 3]


def one_picture() -> Iterator[Any]:
    picture = Pillow.new("L", SHAPE[::-1])
    for number in FRAMES:
        picture.paste(number, (0, 0, *picture.size))
        yield picture


def a_memoryview() -> Iterator[Any]:
    frame = np.zeros(SHAPE, np.uint8)
    for number in FRAMES:
        frame[:] = number
        yield memoryview(frame)


def one_tensor() -> Iterator[Any]:
    torch = pytest.importorskip("torch")
    frame = torch.zeros((1, *SHAPE))
    for number in FRAMES:
        yield frame.fill_(number)


def one_stream() -> Iterator[Any]:
    stream = io.BytesIO()
    for number in FRAMES:
        stream.seek(0)
        Pillow.new("L", SHAPE[::-1], number).save(stream, "PNG")
        stream.truncate()
        yield stream


def files_that_close() -> Iterator[Any]:
    raw = io.BytesIO()
    for number in FRAMES:
        raw = io.BytesIO()
        Pillow.new("L", SHAPE[::-1], number).save(raw, "PNG")
        with raw:
            yield raw


@pytest.mark.parametrize(
    "sources",
    [one_array, a_view_of_a_ring, one_picture, a_memoryview, one_tensor, one_stream, files_that_close],
)
def test_every_result_is_that_of_its_own_frame(sources: Callable[[], Iterator[Any]]) -> None:
    model = Predictor(MeanValue())
    answers = list(model.predict(sources()))
    assert [round(255 * one.probabilities["bright"]) for one in answers] == list(FRAMES)
    # The pictures that are drawn later, too.
    assert [int(one.image.array.max()) for one in answers] == list(FRAMES)


def test_a_result_keeps_its_picture_when_the_array_goes_on() -> None:
    frame = np.full(SHAPE, 7, np.uint8)
    answer = Predictor(MeanValue()).predict(frame)
    frame[:] = 200
    assert int(answer.image.array.max()) == 7


def test_a_nibabel_image_over_one_array(tiny_model: Path, mni_t1: Path) -> None:
    import medzoo

    scan = nibabel.load(mni_t1).slicer[:, :, 88:94]
    stored = np.asarray(scan.dataobj)
    model = medzoo.load(tiny_model)
    expected = [int((model.predict(scan.slicer[:, :, k : k + 1]).mask > 0).sum()) for k in range(6)]

    def slices() -> Iterator[Any]:
        frame = np.zeros((*stored.shape[:2], 1), stored.dtype)
        for k in range(6):
            frame[..., 0] = stored[..., k]
            yield nibabel.Nifti1Image(frame, scan.affine)

    assert [int((one.mask > 0).sum()) for one in model.predict(slices())] == expected


def test_a_file_that_is_rewritten_never_gets_the_result_of_another(tmp_path: Path) -> None:
    path = tmp_path / "frame.bmp"

    def files() -> Iterator[Any]:
        for number in FRAMES:
            # Another size each time: a clock may be slower than these frames are written.
            Pillow.new("L", (80 + number, 64), number).save(path)
            yield path

    found = list(Predictor(MeanValue()).stream(files()))
    assert len(found) == len(FRAMES)
    for number, one in zip(FRAMES, found, strict=True):
        if isinstance(one, Failure):
            assert "frame.bmp" in str(one.error)
        else:
            assert round(255 * one.probabilities["bright"]) == number


def test_one_that_cannot_be_taken_fails_in_its_place() -> None:
    def sources() -> Iterator[Any]:
        yield np.full(SHAPE, 3, np.uint8)
        yield np.ma.masked_equal(np.full(SHAPE, 3, np.uint8), 3)
        yield io.StringIO("no image")
        yield np.full(SHAPE, 5, np.uint8)

    found = list(Predictor(MeanValue()).stream(sources()))
    assert [isinstance(one, Failure) for one in found] == [False, True, True, False]
    assert [found[n].input for n in (1, 2)] == ["MaskedArray", "StringIO"]
