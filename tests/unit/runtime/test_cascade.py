"""One prediction by several models: which one found, outlined and classified each box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.results import Detections
from medzoo.runtime.cascade import Cascade
from medzoo.runtime.metadata import Geometry, Metadata, OperatingPoint
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image


class Finder:
    """Two boxes in every picture, the second one two pixels wide."""

    name, device = "made", "cpu"
    metadata = Metadata(
        name="finder",
        task="detect",
        labels=("lesion",),
        geometry=Geometry(dims=2),
        operating_point=OperatingPoint(threshold=0.5, rule="made"),
    )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        boxes = np.array([[[20, 25, 70, 75], [1, 1, 3, 3], [0, 0, 9, 9]]], np.float32)
        return {
            "boxes": boxes,
            "scores": np.array([[0.9, 0.7, 0.2]], np.float32),
            "labels": np.zeros((1, 3), np.int64),
            "count": np.array([3]),
        }


class Judge:
    """Says how bright what it is shown is, from 0 to 255; `shown` keeps the sizes."""

    name, device = "made", "cpu"

    def __init__(self, model: str, *host: dict[str, object]) -> None:
        self.metadata = Metadata(
            name=model, task="classify", labels=("benign", "malignant"), geometry=Geometry(dims=2), host=host
        )
        self.shown: list[tuple[int, ...]] = []

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        self.shown.append(inputs["image"].shape[2:])
        p = np.float32(inputs["image"].mean() / 255)
        return {"probabilities": np.array([[1 - p, p]], np.float32)}


@pytest.fixture
def picture() -> Image:
    y, x = np.indices((100, 120))
    inside = ((x - 45) / 22) ** 2 + ((y - 50) / 22) ** 2 <= 1
    rng = np.random.default_rng(0)
    array = np.where(inside, 40, 170) + rng.integers(0, 12, inside.shape)
    return Image(array[None].astype(np.uint8), None, "made.png")


def test_each_box_is_outlined_and_classified_by_every_stage(picture: Image, tmp_path: Path) -> None:
    crop = Judge("crop-judge", {"op": "crop-mass", "context": 0.0, "polarity": "dark"})
    whole = Judge("whole-judge")
    judges = {"svm": Predictor(crop), "cnn": Predictor(whole)}
    answer = Cascade("both", Predictor(Finder()), judges).predict(picture)
    assert isinstance(answer, Detections)
    found = answer.to_dict()
    assert found["model"] == "both"
    assert [one["score"] for one in found["detections"]] == pytest.approx([0.9, 0.7])
    first = found["detections"][0]
    assert crop.shown[0] == (50, 50)
    assert whole.shown == [(100, 120)]  # once for the picture, not once for each box
    mean = picture.array.mean() / 255
    assert first["members"]["whole-judge"]["malignant"] == pytest.approx(mean, abs=1e-4)
    assert first["members"]["crop-judge"]["malignant"] < mean  # the dark mass fills the crop
    assert [(stage["role"], stage["model"]) for stage in first["stages"]] == [
        ("find", "finder"),
        ("svm", "crop-judge"),
        ("cnn", "whole-judge"),
    ]
    assert [stage.get("sees") for stage in first["stages"]] == [None, "box", "picture"]
    assert answer.plot(tmp_path / "drawn.png").is_file()


class OutliningFinder(Finder):
    """The same boxes; in the first a disc, in the others nothing."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        y, x = (np.indices((28, 28)) + 0.5) / 28 - 0.5
        masks = np.zeros((1, 3, 28, 28), np.float32)
        masks[0, 0] = np.hypot(y, x) < 0.4
        return {**super().run(inputs), "masks": masks}


def test_the_outline_that_was_found_is_judged_where_there_is_one(picture: Image) -> None:
    crop = Judge("crop-judge", {"op": "crop-mass", "context": 0.0, "polarity": "dark"})
    answer = Cascade("both", Predictor(OutliningFinder()), {"svm": Predictor(crop)}).predict(picture)
    assert isinstance(answer, Detections)
    assert answer.masks is not None
    first, second = answer.to_dict()["detections"]
    assert crop.shown[0] == (40, 40)  # the disc is four fifths of its box
    assert first["stages"][1]["sees"] == "outline"
    assert first["outline"]["by"] == "finder"
    assert first["outline"]["area_px"] == answer.masks[0].sum() == pytest.approx(np.pi * 20**2, rel=0.05)
    assert second["stages"][1]["sees"] == "box"  # of an empty mask


def test_the_threshold_is_the_finders_unless_another_is_given(picture: Image) -> None:
    judge = {"cnn": Predictor(Judge("whole-judge"))}
    assert Cascade("both", Predictor(Finder()), judge).threshold == 0.5
    answer = Cascade("both", Predictor(Finder()), judge, threshold=0.1).predict(picture)
    assert isinstance(answer, Detections)
    assert len(answer) == 3


def test_a_picture_without_a_lesion_is_not_classified(picture: Image) -> None:
    judge = Judge("whole-judge")
    answer = Cascade("both", Predictor(Finder()), {"cnn": Predictor(judge)}, threshold=0.95).predict(picture)
    assert isinstance(answer, Detections)
    assert len(answer) == 0
    assert judge.shown == []


def test_a_volume_is_refused_in_one_line() -> None:
    scan = Image(np.full((1, 20, 24, 3), 90, np.uint8), np.eye(4), "scan.nii.gz")
    for predictor in (Predictor(Judge("cnn")), Cascade("both", Predictor(Finder()), {"cnn": Predictor(Judge("cnn"))})):
        with pytest.raises(UserError, match=r"scan\.nii\.gz: this is a volume; \w+ takes 2D pictures") as caught:
            predictor.predict(scan)
        assert "\n" not in str(caught.value)
