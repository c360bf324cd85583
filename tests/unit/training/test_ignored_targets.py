"""Objects that do not count (VOC's difficult ones, COCO's crowds) do not move a detector's operating threshold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo.data.dataset import IgnoredObjects, Item, Sample
from medzoo.inputs.regions import ProposedPictures, WholePictures
from medzoo.inputs.scenes import OrderedScenes, ScenePictures
from medzoo.nn.detection.detector import Detector
from medzoo.preprocess.host.selective_search import SelectiveSearch
from tests.unit.training.scenes_toys import ToyScenes

BESIDE = np.array([[60, 40, 90, 70]], np.float32)


class Beside(ToyScenes):
    """Scenes with one object beside the others that does not count."""

    def __init__(self, count: int, *, crowd: bool = False) -> None:
        super().__init__(count)
        self.crowd = crowd

    def load(self, item: Item) -> Sample:
        sample = super().load(item)
        beside = IgnoredObjects(BESIDE, np.zeros(1, np.int64), self.crowd)
        return Sample(item, sample.image, sample.target.ignoring(beside))  # type: ignore[union-attr]


class FindsThem(Detector):
    """Finds every object surely, and a box at `at` with a score of 0.8."""

    false_positives = 0.25

    def __init__(self, targets: list[dict[str, Any]], at: list[float]) -> None:
        torch.nn.Module.__init__(self)
        self.targets, self.at = targets, at

    def forward(self, *images: torch.Tensor) -> dict[str, torch.Tensor]:
        most = 1 + max(len(target["boxes"]) for target in self.targets)
        boxes, scores = torch.zeros(len(self.targets), most, 4), torch.zeros(len(self.targets), most)
        counts = []
        for row, target in enumerate(self.targets):
            own = torch.cat([target["boxes"], torch.tensor([self.at])])
            boxes[row, : len(own)], counts = own, [*counts, len(own)]
            scores[row, : len(own) - 1], scores[row, len(own) - 1] = 0.9, 0.8
        labels = torch.zeros(len(self.targets), most, dtype=torch.int64)
        return {"boxes": boxes, "scores": scores, "labels": labels, "count": torch.tensor(counts)}


def threshold(images: Any, targets: list[dict[str, Any]], at: list[float]) -> float:
    net = FindsThem(targets, at)
    net.calibrate(net.predictions(images, targets))
    assert net.operating_point is not None
    return net.operating_point[0]


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("limit", [1 << 20, 0])
def test_of_scenes(crowd: bool, limit: int) -> None:
    data = Beside(6, crowd=crowd)
    pictures = ScenePictures(data, data.items(), (), channels=1, size=(64, 64), limit=limit)
    ordered = OrderedScenes(pictures, batch=6)
    for _ in range(2):  # read, and kept
        images, targets = ordered.batch(0, 0)
        (box,) = targets[0]["ignored_boxes"].tolist()
        assert bool(targets[0]["crowd"]) is crowd
        np.testing.assert_allclose(box, BESIDE[0] * 64 / 100, atol=1)  # scaled with the picture
        assert threshold(images, targets, box) < 0.85  # found on what does not count
        assert threshold(images, targets, [0, 0, 5, 5]) > 0.85  # found on nothing


def test_of_regions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path))
    data = Beside(3)
    step = SelectiveSearch(size=(16, 16), context=2)
    items = [Item(item.id, {}, item.groups) for item in data.items()]
    whole = WholePictures(ProposedPictures(data, items, (step,), channels=1))
    ((regions, _), targets) = whole.batch(0, 1)
    (box,) = targets[0]["ignored_boxes"].tolist()
    assert threshold(regions, targets, box) < 0.85
    assert threshold(regions, targets, [0, 0, 5, 5]) > 0.85


def test_without_any_there_is_nothing_beside() -> None:
    data = ToyScenes(3)
    ordered = OrderedScenes(ScenePictures(data, data.items(), (), channels=1, size=(64, 64)), batch=3)
    assert all("ignored_boxes" not in target for target in ordered.batch(0, 0)[1])
