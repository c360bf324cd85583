"""Metrics over all thresholds see every detection, those at the operating threshold only the ones above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from medzoo.data.dataset import Item, Objects, Sample
from medzoo.evaluation import evaluate, sample_facts
from medzoo.runtime.metadata import Geometry, Metadata, OperatingPoint
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image

METADATA = Metadata(
    name="made",
    task="detect",
    labels=("thing",),
    geometry=Geometry(),
    operating_point=OperatingPoint(threshold=0.5, rule="made up"),
)


class Graph:
    """Finds a box on the left with 0.9 and one on the right with 0.3, in every picture."""

    name, device, metadata = "made", "cpu", METADATA

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        boxes = np.array([[[0, 0, 8, 8], [20, 0, 28, 8], [0, 0, 0, 0]]], np.float32)
        return {
            "boxes": boxes,
            "scores": np.array([[0.9, 0.3, 0]], np.float32),
            "labels": np.zeros((1, 3), np.int64),
            "count": np.array([2]),
        }


class Both:
    """Pictures with an object on either side."""

    def items(self) -> list[Item]:
        return [Item(f"i{k}", {}, groups={"image": str(k)}) for k in range(4)]

    def load(self, item: Item) -> Sample:
        boxes = np.array([[0, 0, 8, 8], [20, 0, 28, 8]], np.float32)
        return Sample(item, Image(np.zeros((1, 16, 32), np.uint8), None, item.id), Objects(boxes, np.zeros(2, int)))


@pytest.mark.parametrize(("threshold", "share"), [(None, 0.5), (0.2, 1.0)])
def test_precision_sees_all_detections_and_the_operating_point_its_own(threshold: float | None, share: float) -> None:
    data = Both()
    predictor = Predictor(Graph(), threshold=threshold)
    scores = evaluate(predictor, data, data.items(), metrics=["ap50", "cpm", "sensitivity"], group="image")
    figures = {figure.name: figure for figure in scores.metrics()}
    assert figures["ap50"].value == pytest.approx(1.0)
    assert figures["cpm"].value == pytest.approx(1.0)
    assert figures["sensitivity"].value == pytest.approx(share)
    assert f"score >= {threshold or 0.5:g}" in figures["sensitivity"].protocol
    shown = predictor.predict(data.load(data.items()[0]).image)
    assert len(shown) == (1 if threshold is None else 2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("boxes", "affine", "facts"),
    [
        (np.empty((0, 4), np.float32), None, {}),
        (np.array([[0, 0, 8, 8], [20, 0, 28, 18]], np.float32), None, {"side_px": 12.0}),
        (np.array([[0, 0, 0, 2, 2, 2]], np.float32), np.diag([1, 1, 8, 1.0]), {"side_mm": 4.0}),
    ],
)
def test_the_size_of_what_is_to_be_found_is_known(boxes: Array, affine: Array | None, facts: dict[str, float]) -> None:
    array = np.zeros((1, 4, 4) if affine is None else (1, 4, 4, 4), np.uint8)
    sample = Sample(Item("x", {}), Image(array, affine, "x"), Objects(boxes, np.zeros(len(boxes), int)))
    assert sample_facts(sample) == facts
