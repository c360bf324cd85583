"""The guard's verdict: own pictures pass, foreign ones are refused in one line, altered ones are said."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from medzoo.errors import UnfamiliarError, UserError
from medzoo.export.embedding import strip_embedding
from medzoo.export.guarded import without_guard
from medzoo.guard.record import Guard, Packed
from medzoo.guard.wire import fields, message, read_property, read_tensor, with_property, with_tensor
from medzoo.results import Failure
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.runtime.predictor import Predictor
from tests.unit.guard.sky_toys import guarded_graph, opened, sky
from tests.unit.serve.graphs import write_graph

ROOT = Path(__file__).resolve().parents[3]
OWN = [sky(seed) for seed in range(1000, 1060)]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return guarded_graph(tmp_path_factory.mktemp("guarded") / "model.onnx")


@pytest.fixture(scope="module")
def model(graph: Path) -> Predictor:
    return Predictor(OnnxBackend(graph, device="cpu", threads=1))


def verdicts(model: Predictor, pictures: list[Any]) -> list[str]:
    return [result.familiar.verdict for result in model.predict(pictures, anyway=True)]


def test_own_unseen_pictures_are_familiar(model: Predictor) -> None:
    found = verdicts(model, OWN)
    assert found.count("no") <= 1
    assert found.count("yes") >= 0.85 * len(found)


@pytest.mark.parametrize(
    "alter",
    [
        lambda a: a[::-1].copy(),
        lambda a: 255 - a,
        lambda a: np.clip(a + np.random.default_rng(0).normal(0, 40, a.shape), 0, 255).astype(np.uint8),
        lambda a: (a * 0.25).astype(np.uint8),
    ],
    ids=["upside-down", "inverted", "noise", "contrast"],
)
def test_altered_pictures_are_at_least_unsure(model: Predictor, alter: Any) -> None:
    found = verdicts(model, [alter(one) for one in OWN])
    assert found.count("yes") <= 0.1 * len(found)


def test_foreign_pictures_are_refused(model: Predictor) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :90]
    foreign = [
        rng.integers(0, 256, (70, 80)).astype(np.uint8),
        (((x // 8 + y // 8) % 2) * 255).astype(np.uint8),
        np.full((64, 72), 128, np.uint8),
    ]
    for picture in foreign:
        with pytest.raises(UnfamiliarError, match=r"is not what toy-classify was trained on: .* \(to predict it all"):
            model.predict(picture)
        assert model.predict(picture, anyway=True).familiar.verdict == "no"


def test_among_many_a_refused_one_is_a_failure_in_its_place(model: Predictor) -> None:
    first, second, third = model.predict([OWN[0], np.full((64, 72), 9, np.uint8), OWN[1]])
    assert first.error is None
    assert third.error is None
    assert isinstance(second, Failure)
    assert second.to_dict()["familiar"]["verdict"] == "no"


def test_an_unsure_answer_says_so(model: Predictor) -> None:
    rng = np.random.default_rng(0)
    grainy = [np.clip(sky(n) + rng.normal(0, n % 24, (64, 72)), 0, 255).astype(np.uint8) for n in range(1000, 1060)]
    results = list(model.predict(grainy, anyway=True))
    unsure = next(one for one in results if one.familiar.verdict == "unsure")
    document = unsure.to_dict()
    assert document["familiar"]["p"] <= 0.05
    assert any("not sure to be what the model was trained on" in note for note in document["notes"])
    assert "unlike the training data" in unsure._strangeness


def test_the_p_of_unseen_pictures_is_nearly_uniform(model: Predictor) -> None:
    p = [result.familiar.p for result in model.predict(OWN, anyway=True)]
    assert 0.3 < float(np.mean(p)) < 0.7
    assert min(p) >= 1 / 41


def test_a_model_without_a_guard_answers_as_before(tmp_path: Path) -> None:
    plain = Predictor(OnnxBackend(write_graph(tmp_path / "plain.onnx", "classify"), device="cpu"))
    result = plain.predict(np.full((64, 72), 9, np.uint8))
    assert result.familiar is None
    assert "familiar" not in result.to_dict()


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_every_task_carries_the_verdict(task: str, tmp_path: Path) -> None:
    model = Predictor(OnnxBackend(guarded_graph(tmp_path / "model.onnx", task=task, count=80), device="cpu"))
    assert model.predict(OWN[0], anyway=True).to_dict()["familiar"]["verdict"] in ("yes", "unsure")
    with pytest.raises(UnfamiliarError):
        model.predict(np.full((64, 72), 200, np.uint8))


def test_the_graph_answers_as_without_the_embedding(graph: Path, tmp_path: Path) -> None:
    plain = write_graph(tmp_path / "plain.onnx", "classify").read_bytes()
    raw = graph.read_bytes()
    onnx.checker.check_model(onnx.load_from_string(raw))
    batch = {"image": np.stack([one[None] for one in OWN[:3]]).astype(np.float32)}
    both = OnnxBackend(raw, device="cpu").run(batch)
    assert both["embedding"].shape[0] == 3
    assert np.array_equal(both["probabilities"], OnnxBackend(plain, device="cpu").run(batch)["probabilities"])
    alone = OnnxBackend(raw, device="cpu").run({"image": batch["image"][1:2]})["embedding"]
    assert np.allclose(alone[0], both["embedding"][1], atol=1e-5)
    stripped = OnnxBackend(without_guard(raw), device="cpu")
    assert stripped.metadata == OnnxBackend(plain, device="cpu").metadata
    assert [one.name for one in stripped.session.get_outputs()] == ["probabilities"]


def test_metadata_stay_small_and_the_guard_is_the_same_each_time(graph: Path, tmp_path: Path) -> None:
    text = read_property(graph.read_bytes(), KEY)
    assert len(text) < 300_000
    again = guarded_graph(tmp_path / "again.onnx")
    assert read_property(again.read_bytes(), KEY) == text


def test_a_damaged_guard_is_refused_when_it_is_read(graph: Path) -> None:
    text = read_property(graph.read_bytes(), KEY)
    for path, value in (
        (("center", "data"), "AAAA"),
        (("basis", "data"), "not base64!"),
        (("heads",), []),
        (("refuse",), None),
    ):
        document = json.loads(text)
        place = document["guard"]
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = value
        with pytest.raises(UserError, match="invalid 'medzoo' metadata at 'guard"):
            Metadata.read({KEY: json.dumps(document)}, where="model.onnx")


def test_an_embedding_that_is_not_finite_is_refused(model: Predictor) -> None:
    guard = model.metadata.guard
    assert isinstance(guard, Guard)
    assert guard.judge(np.full(guard.width, np.nan, np.float32)).verdict == "no"


def test_packed_arrays_are_halves() -> None:
    array = np.array([[1.5, -2, 1e9], [np.inf, 0, 3]])
    packed = Packed.of(array)
    assert len(base64.b64decode(packed.data)) == 12
    assert packed.array[0].tolist() == [1.5, -2.0, 65504.0]


def test_too_few_images_are_no_guard(tmp_path: Path) -> None:
    from medzoo.export.guarded import add_guard

    raw = write_graph(tmp_path / "model.onnx", "classify").read_bytes()
    with pytest.raises(UserError, match="a guard needs 12 training images or more, there are 6"):
        add_guard(raw, opened(8), example={"image": np.zeros((1, 1, 64, 64), np.float32)}, where="model.onnx")


@pytest.mark.parametrize("name", ["nodule-svm", "breast-mass-svm-classic", "lenet-mass"])
def test_files_survive_being_cut_and_joined(name: str) -> None:
    raw = (ROOT / "zoo" / name / "model.onnx").read_bytes()
    assert message(fields(raw)) == raw
    changed = with_property(raw, "note", "ä \u00df")
    model = onnx.load_from_string(changed)
    assert {one.key: one.value for one in model.metadata_props}["note"] == "ä \u00df"
    assert read_property(changed, "note") == "ä \u00df"
    assert with_property(changed, KEY, read_property(raw, KEY)) != raw
    assert strip_embedding(raw) == raw


def test_a_tensor_is_replaced() -> None:
    raw = (ROOT / "zoo" / "lenet-mass" / "model.onnx").read_bytes()
    before = read_tensor(raw, "temperature")
    assert before is not None
    after = read_tensor(with_tensor(raw, "temperature", before * 2), "temperature")
    assert after is not None
    assert np.array_equal(after, before * 2)
    onnx.checker.check_model(onnx.load_from_string(with_tensor(raw, "temperature", before * 2)))
