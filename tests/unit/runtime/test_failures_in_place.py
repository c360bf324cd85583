"""Whatever one input does to a reader, a host step, a graph or a writer, the others are predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import medzoo
from medzoo.commands.predict import predict_files
from medzoo.errors import UnexpectedError, UserError
from medzoo.results import Detections, Failure
from medzoo.runtime.backends.batching import Batcher
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array


class Finds:
    """A graph for pictures that finds one box, and fails as it is told for pictures whose first value is 66."""

    name, device = "made", "cpu"
    metadata = Metadata(name="finds", task="detect", labels=("lesion",), geometry=Geometry(dims=2))

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        image = inputs["image"]
        if self.error is not None and (image[:, 0, 0, 0] == 66).any():
            raise self.error
        rows, one = len(image), np.ones((len(image), 1), np.float32)
        boxes = np.tile(np.array([[[1, 1, 3, 3]]], np.float32), (rows, 1, 1))
        return {"boxes": boxes, "scores": one, "labels": one.astype(np.int64) - 1, "count": np.ones(rows, np.int64)}


@pytest.fixture
def three(tmp_path: Path) -> list[str]:
    """Pictures, the second of which is the odd one."""
    paths = []
    for n, value in enumerate((5, 66, 7)):
        paths.append(str(tmp_path / f"{n}.png"))
        Pillow.new("L", (8, 8), value).save(paths[-1])
    return paths


def in_place(results: list[Any], name: str) -> Failure:
    first, failure, last = results
    assert isinstance(first, Detections)
    assert isinstance(last, Detections)
    assert isinstance(failure, medzoo.Failure)
    assert failure.input == name
    assert "\n" not in str(failure.error)
    return failure


ERRORS = [ValueError("two\nlines"), MemoryError(), RecursionError("deep"), KeyError("x"), OSError(28, "No space left")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("stage", ["read", "prepare", "graph", "write", "draw"])
def test_an_exception_of_any_stage_is_an_error_in_its_place(
    three: list[str], tmp_path: Path, stage: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raising(real: Any, number: int) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if three[1] in str(arguments[number]) or getattr(arguments[number], "source", None) == three[1]:
                raise error
            return real(*arguments, **options)

        return call

    if stage == "read":
        from medzoo.io import picture

        monkeypatch.setattr(picture, "read_picture", raising(picture.read_picture, 0))
    elif stage == "prepare":
        from medzoo.runtime import predictor

        monkeypatch.setattr(predictor, "apply_steps", raising(predictor.apply_steps, 0))
    elif stage == "write":
        monkeypatch.setattr(Detections, "save", raising(Detections.save, 0))
    elif stage == "draw":
        monkeypatch.setattr(Detections, "plot", raising(Detections.plot, 0))
    predictor_ = Predictor(Finds(error if stage == "graph" else None))
    if stage in ("read", "prepare", "graph"):
        in_place(list(predictor_.predict(three)), three[1])
    failure = in_place(list(predict_files(predictor_, three, out=tmp_path / "out")), three[1])
    if not isinstance(error, MemoryError):
        assert isinstance(failure.error, UnexpectedError)
        assert type(error).__name__ in str(failure.error)
        assert failure.error.__cause__ is error


@pytest.mark.parametrize("form", ["csv", "coco"])
def test_outputs_that_hold_all_results_survive_one_failure(three: list[str], tmp_path: Path, form: Any) -> None:
    class Bad(Predictor):
        def predict_prepared(self, prepared: Any) -> Any:
            result: Any = super().predict_prepared(prepared)
            return replace(result, classes=np.array([99])) if prepared.name == three[1] else result  # no such label

    results = list(predict_files(Bad(Finds()), three, out=tmp_path / "out", form=form, pictures=False))
    in_place(results, three[1])


def test_one_row_of_a_batch_that_fails_otherwise_costs_no_other(three: list[str]) -> None:
    predictor = Predictor(Finds(RuntimeError("the graph")))
    predictor.backend.device = "cuda:0"
    results = list(predictor.stream([*three, *three], batch=6, delay=0.2))
    in_place(results[:3], three[1])
    in_place(results[3:], three[1])


def test_a_graph_whose_output_has_no_batch_is_an_error_not_a_hang() -> None:
    class Scalar(Finds):
        def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
            return {"count": np.array(3)}

    batcher = Batcher(Scalar())
    try:
        with pytest.raises(IndexError):
            batcher.submit({"image": np.zeros((1, 1, 4, 4), np.float32)}).result(timeout=20)
    finally:
        batcher.close()


def test_an_error_of_the_iterator_itself_is_the_callers(three: list[str]) -> None:
    def inputs() -> Any:
        yield three[0]
        raise LookupError("the caller's own")

    with pytest.raises(LookupError):
        list(Predictor(Finds()).predict(inputs()))


def test_one_input_alone_raises() -> None:
    with pytest.raises(UserError, match="no such file"):
        Predictor(Finds()).predict("none.png")
