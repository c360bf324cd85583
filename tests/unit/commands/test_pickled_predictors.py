"""Predictors go to other processes by the path and digest of their model, and predict the same there."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import medzoo
from medzoo.artifact.locate import find_model
from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.cascade import Cascade
from medzoo.runtime.predictor import Predictor
from tests.unit.runtime.toy_backends import MeanValue
from tests.unit.serve.conftest import running
from tests.unit.serve.graphs import write_graph

PHANTOM = str(Path(__file__).resolve().parents[3] / "docs" / "images" / "phantom.png")


def received(raw: bytes) -> Any:
    return pickle.loads(raw)  # noqa: S301  (made here)


def sent(model: Predictor) -> Any:
    return received(pickle.dumps(model))


def answered(predictor: Predictor, source: Any = PHANTOM) -> dict[str, Any]:
    return {key: value for key, value in predictor.predict(source).to_dict().items() if key != "seconds"}


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "toy.onnx", "classify")


@pytest.fixture
def picture(tmp_path: Path) -> str:
    Pillow.fromarray(np.full((9, 8), 90, np.uint8)).save(tmp_path / "x.png")
    return str(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["breast-lesion-rcnn", "breast-mass-svm", "breast-cascade"])
def test_it_comes_back_and_predicts_the_same(name: str) -> None:
    model = medzoo.load(name, device="cpu", threshold=0.3, time_limit=100)
    raw = pickle.dumps(model)
    assert len(raw) < 4000  # no weights
    again = received(raw)
    assert (type(again), again.threshold, again.time_limit) == (type(model), 0.3, 100)
    assert answered(again) == answered(model)


def test_a_spawned_pool_and_joblib_predict_the_same(toy: Path, picture: str) -> None:
    joblib = pytest.importorskip("joblib")
    model = medzoo.load(toy, device="cpu")
    model.threshold = 0.9  # set after loading
    expected = [answered(model, picture)] * 2
    assert expected[0]["label"] == "benign"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.starmap(answered, [(model, picture)] * 2) == expected
    with joblib.parallel_config("loky", n_jobs=1):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(answered)(model, picture) for _ in range(2)) == expected


def test_a_remote_model_goes_by_its_address(toy: Path, picture: str) -> None:
    with running([OnnxBackend(toy, device="cpu", threads=1)]) as server:
        model = medzoo.load(f"http://127.0.0.1:{server.http_port}/toy-classify", threshold=0.2)
        again = sent(model)
        assert again.backend.name == "remote"
        assert answered(again, picture) == answered(model, picture)


def test_a_pipeline_made_by_hand_goes_by_its_members() -> None:
    members = {"find": medzoo.load("breast-lesion-rcnn"), "judge": medzoo.load("breast-mass-svm")}
    model = Cascade.from_members("by-hand", members)
    model.threshold = 0.4
    again = sent(model)
    assert again.threshold == 0.4
    assert answered(again) == answered(model)


def test_another_model_at_that_path_is_refused(toy: Path, tmp_path: Path) -> None:
    raw = pickle.dumps(medzoo.load(toy))
    write_graph(toy, "detect")
    with pytest.raises(UserError, match=r"toy\.onnx: the model has changed since this was pickled"):
        received(raw)
    toy.unlink()
    with pytest.raises(UserError, match=r"toy\.onnx: the model of this pickle is not here"):
        received(raw)
    folder = shutil.copytree(find_model("breast-mass-svm"), tmp_path / "svm")
    raw = pickle.dumps(medzoo.load(folder))
    shutil.rmtree(folder)
    shutil.copytree(find_model("breast-mass-svm-classic"), folder)
    with pytest.raises(UserError, match="the model has changed"):
        received(raw)


def test_a_copy_shares_the_backend_and_one_in_memory_is_not_pickled(toy: Path) -> None:
    model = medzoo.load(toy)
    assert copy.copy(model).backend is model.backend
    with pytest.raises(TypeError, match=r"use one from medzoo\.load"):
        pickle.dumps(Predictor(MeanValue()))
