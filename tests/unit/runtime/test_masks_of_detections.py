"""Detections with masks: from the graph's outputs to the picture, its tiles, JSON, COCO and CSV."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.io.run_lengths import decompressed, from_run_lengths
from medzoo.results import Detections
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image
from medzoo.writer import WriterOptions, open_writer


class Blobs:
    """A backend that finds the bright blobs of a picture, each with its mask, as a trained graph would."""

    name, device = "toy", "cpu"
    metadata = Metadata(
        name="toy", task="detect", labels=("blob",), outputs=("boxes", "scores", "labels", "count", "masks")
    )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        from scipy.ndimage import find_objects, label

        numbers, count = label(inputs["image"][0, 0] > 100)
        boxes, masks = np.zeros((1, 20, 4), np.float32), np.zeros((1, 20, 12, 12), np.float32)
        scores = np.zeros((1, 20), np.float32)
        for k, (rows, columns) in enumerate(find_objects(numbers)):
            boxes[0, k] = columns.start, rows.start, columns.stop, rows.stop
            part = numbers[rows, columns] == k + 1
            at = [((np.arange(12) + 0.5) / 12 * n).astype(int) for n in part.shape]
            masks[0, k] = part[np.ix_(*at)]
            scores[0, k] = 0.5 + 0.02 * k
        labels = np.zeros((1, 20), np.int64)
        return {"boxes": boxes, "scores": scores, "labels": labels, "count": np.array([count]), "masks": masks}


def picture() -> Array:
    array = np.zeros((1, 96, 120), np.uint8)
    array[0, 10:34, 20:44], array[0, 60:84, 70:94] = 200, 200
    array[0, 66:78, 76:88] = 0  # a hole
    array[0, 45:57, 0:12] = 200
    return array


def predict(**options: Any) -> Detections:
    found = Predictor(Blobs(), threshold=0.1).predict(Image(picture(), None, "made.png"), **options)
    assert isinstance(found, Detections)
    return found


def test_masks_come_back_on_the_pictures_grid() -> None:
    found = predict()
    assert found.masks is not None
    together = np.any([*found.masks], axis=0)
    assert np.array_equal(together, picture()[0] > 0)
    document = found.to_dict()["detections"]
    json.dumps(document)
    for one, index in zip(document, found.by_score, strict=True):
        counts = decompressed(one["mask"]["counts"], where="")
        assert np.array_equal(from_run_lengths(counts, (96, 120), where=""), found.masks[int(index)])
        assert one["measures"]["of"] == "mask"
        assert one["measures"]["mean"] == 200
    assert [one["measures"]["area_px"] for one in document] == [432, 144, 576]
    assert [one["measures"]["cut_by_border"] for one in document] == [False, True, False]


@pytest.mark.parametrize("tile", [(64, 64), (48, 80), (96, 64)])
def test_an_object_that_tiles_share_has_one_mask(tile: tuple[int, int]) -> None:
    whole, found = predict(), predict(tile=tile)
    assert found.masks is not None
    assert whole.masks is not None
    assert len(found) == len(whole) == 3
    assert np.array_equal(np.any([*found.masks], axis=0), np.any([*whole.masks], axis=0))


@pytest.mark.long
def test_a_slide_of_48_megapixels_is_read_in_bounded_memory() -> None:
    slide, rng = np.zeros((1, 6000, 8000), np.uint8), np.random.default_rng(0)
    corners = [(y, x) for y in range(40, 5900, 145) for x in range(40, 7900, 145)]
    sides = rng.integers(12, 60, len(corners))
    for (y, x), side in zip(corners, sides, strict=True):
        slide[0, y : y + side, x : x + side] = 200
    model = Predictor(Blobs(), threshold=0.1)
    tracemalloc.start()
    try:
        found = model.predict(Image(slide, None, "slide.png"), tile=(500, 500))
        assert isinstance(found, Detections)
        assert found.masks is not None
        assert tracemalloc.get_traced_memory()[1] < 40 << 20  # the slide alone takes 46 MB, as floats 183
    finally:
        tracemalloc.stop()
    assert len(found) == len(corners)
    assert sorted(found.masks.crop(k)[1].sum() for k in range(len(found))) == sorted(sides**2)


def test_neighbours_with_overlapping_boxes_stay_apart() -> None:
    from medzoo.runtime.decode.tiles import _suppress

    boxes = np.array([[0, 0, 20, 20], [1, 1, 21, 21]], np.float32)
    upper = np.triu(np.ones((20, 20), np.float32), 2)
    masks, scores, classes, cut = np.stack([upper, upper.T]), np.array([0.9, 0.8]), np.zeros(2), np.zeros(2, bool)
    assert _suppress(boxes, scores, classes, cut).tolist() == [0]
    assert _suppress(boxes, scores, classes, cut, masks).tolist() == [0, 1]
    assert _suppress(boxes, scores, classes, cut, np.stack([upper, upper])).tolist() == [0]


def test_detections_are_a_sequence() -> None:
    found = predict()
    assert [len(one) for one in found] == [1, 1, 1]
    assert found[-1].boxes.tolist() == found.boxes[-1:].tolist()
    sure = found[found.scores > 0.51]
    assert len(sure) == 2
    assert sure.masks is not None
    assert found.masks is not None
    assert np.array_equal(sure.masks[0], found.masks[1])
    assert len(found[[]]) == len(found[3:]) == 0
    assert found[np.array([2, 0])].scores.tolist() == found.scores[[2, 0]].tolist()
    with pytest.raises(IndexError):
        found[3]


def test_coco_and_csv_hold_masks_and_measures(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")
    found = predict()
    for name in ("coco", "csv"):
        writer = open_writer(name, WriterOptions(tmp_path, "toy", "detect", ("blob",)))
        writer.write(found, tmp_path / "made")
        writer.close()
    rows = json.loads((tmp_path / "predictions.json").read_text())["annotations"]
    for row, index in zip(rows, found.by_score, strict=True):
        assert found.masks is not None
        mask = coco.decode(row["segmentation"])
        assert np.array_equal(mask > 0, found.masks[int(index)])
        assert (row["area"], row["iscrowd"]) == (mask.sum(), 0)
    head, first, *_ = (tmp_path / "predictions.csv").read_text().splitlines()
    table = dict(zip(head.split(","), first.split(","), strict=True))
    assert (table["area_px"], table["measured"], table["cut_by_border"], table["p50"]) == (
        "432.0",
        "mask",
        "false",
        "200.0",
    )
