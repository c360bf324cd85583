"""Exported repositories in a real Triton: its own reading of config.pbtxt, and the same results as `predict`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http
from tritonclient.utils import InferenceServerException

import medzoo
from medzoo.cli import main
from medzoo.runtime.backends.onnx import OnnxBackend
from tests.triton.conftest import Triton
from tests.unit.serve.graphs import write_graph

pytestmark = pytest.mark.long

ZOO = ("breast-lesion-rcnn", "breast-cascade", "lenet-mass", "brain-tissue-unet")
GRAPHS = ("breast-lesion-rcnn", "breast-mass-svm", "breast-ultrasound-cnn", "lenet-mass", "brain-tissue-unet")


@pytest.fixture(scope="module")
def triton(
    start_triton: Callable[[Path], AbstractContextManager[Triton]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Triton]:
    """A Triton with models of the zoo, a pipeline among them, and a small graph of each task."""
    folder = tmp_path_factory.mktemp("served")
    toys = [str(write_graph(folder / f"{task}.onnx", task)) for task in ("segment", "classify", "detect")]
    for model in (*ZOO, *toys):
        with pytest.raises(SystemExit) as ended:
            main(["export", model, "--to", "triton", "-o", str(folder / "repository")])
        assert ended.value.code == 0
    with start_triton(folder / "repository") as running:
        yield running


@pytest.fixture(scope="module")
def pictures(shared_data: Path) -> list[Path]:
    return [shared_data / "busi" / kind / f"{kind} ({n}).png" for kind, n in (("benign", 3), ("malignant", 5))]


def test_triton_reads_the_configuration(triton: Triton) -> None:
    with by_grpc.InferenceServerClient(triton.grpc) as client:
        states = {one.name: one.state for one in client.get_model_repository_index().models}
        assert states == dict.fromkeys(states, "READY")
        assert set(states) > {*GRAPHS, "breast-cascade", "breast-lesion-rcnn-predict"}
        config = client.get_model_config("breast-lesion-rcnn").config
        assert config.backend == "onnxruntime"
        assert config.HasField("dynamic_batching")
        assert json.loads(config.parameters["medzoo"].string_value)["name"] == "breast-lesion-rcnn"


@pytest.mark.parametrize("task", ["segment", "classify", "detect"])
@pytest.mark.parametrize("protocol", [by_http, by_grpc])
def test_tensors_give_the_outputs_of_the_graph(triton: Triton, protocol: Any, task: str, tmp_path: Path) -> None:
    given = np.random.default_rng(0).uniform(0, 255, (3, 1, 20, 31)).astype(np.float32)
    expected = OnnxBackend(write_graph(tmp_path / "graph.onnx", task), device="cpu").run({"image": given})
    address = triton.http if protocol is by_http else triton.grpc
    with protocol.InferenceServerClient(address) as client:
        tensor = protocol.InferInput("image", list(given.shape), "FP32")
        tensor.set_data_from_numpy(given)
        answer = client.infer(f"toy-{task}", [tensor])
        for name, array in expected.items():
            np.testing.assert_array_equal(answer.as_numpy(name).reshape(array.shape), array)


@pytest.mark.parametrize("protocol", [by_http, by_grpc])
def test_shared_memory(triton: Triton, protocol: Any, tmp_path: Path) -> None:
    given = np.random.default_rng(1).uniform(0, 255, (1, 1, 64, 64)).astype(np.float32)
    expected = OnnxBackend(write_graph(tmp_path / "graph.onnx", "segment"), device="cpu").run({"image": given})
    # As tritonclient's own module of shared memory does it, which needs a part of setuptools that is gone.
    memory = SharedMemory(create=True, size=given.nbytes)
    try:
        memory.buf[: given.nbytes] = given.tobytes()
        with protocol.InferenceServerClient(triton.http if protocol is by_http else triton.grpc) as client:
            client.register_system_shared_memory("given", f"/{memory.name}", given.nbytes)
            tensor = protocol.InferInput("image", list(given.shape), "FP32")
            tensor.set_shared_memory("given", given.nbytes)
            answer = client.infer("toy-segment", [tensor])
            client.unregister_system_shared_memory("given")
        for name, array in expected.items():
            np.testing.assert_array_equal(answer.as_numpy(name).reshape(array.shape), array)
    finally:
        memory.close()
        memory.unlink()


@pytest.mark.parametrize("model", ["breast-lesion-rcnn-predict", "breast-cascade"])
def test_pictures_are_predicted_as_by_predict(triton: Triton, model: str, pictures: list[Path]) -> None:
    local = medzoo.load(model.removesuffix("-predict"), device="cpu")
    for path in pictures:
        answer = _file(triton, model, path)
        _assert_close(answer, local.predict(path).to_dict())


def test_a_volume_is_predicted_as_by_predict(triton: Triton, mni_t1: Path, tmp_path: Path) -> None:
    path = tmp_path / "slab.nii.gz"
    nib.save(nib.load(mni_t1).slicer[:, :, 88:94], path)
    answer = _file(triton, "brain-tissue-unet-predict", path)
    local = medzoo.load("brain-tissue-unet", device="cpu").predict(path)
    _assert_close(answer["volumes_ml"], local.to_dict()["volumes_ml"])


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_load_takes_a_tritons_address(triton: Triton, scheme: str, pictures: list[Path]) -> None:
    address = triton.http if scheme == "http" else triton.grpc
    remote = medzoo.load(f"{scheme}://{address}/breast-lesion-rcnn")
    local = medzoo.load("breast-lesion-rcnn", device="cpu")
    for path in pictures:
        _assert_close(remote.predict(path).to_dict(), local.predict(path).to_dict())


def test_a_damaged_file_gives_one_line_and_the_next_file_its_result(triton: Triton, pictures: list[Path]) -> None:
    with by_http.InferenceServerClient(triton.http, network_timeout=120) as client:
        answer = _ask(client, "breast-lesion-rcnn-predict", b"\x89PNG no picture", "broken.png")
        assert "error" in answer
        assert "\n" not in answer["error"]
    assert "error" not in _file(triton, "breast-lesion-rcnn-predict", pictures[0])


def test_rows_beyond_the_configured_batch_are_refused(triton: Triton) -> None:
    given = np.zeros((33, 1, 64, 64), np.float32)
    with by_http.InferenceServerClient(triton.http) as client:
        tensor = by_http.InferInput("image", list(given.shape), "FP32")
        tensor.set_data_from_numpy(given)
        with pytest.raises(InferenceServerException, match="batch-size must be <= 32"):
            client.infer("toy-segment", [tensor])


def _file(triton: Triton, model: str, path: Path) -> dict[str, Any]:
    with by_http.InferenceServerClient(triton.http, network_timeout=300, connection_timeout=300) as client:
        return _ask(client, model, path.read_bytes(), path.name)


def _ask(client: Any, model: str, content: bytes, name: str) -> dict[str, Any]:
    tensors = []
    for key, value in (("file", content), ("name", name.encode())):
        tensor = by_http.InferInput(key, [1], "BYTES")
        tensor.set_data_from_numpy(np.array([value], object))
        tensors.append(tensor)
    answer: dict[str, Any] = json.loads(client.infer(model, tensors).as_numpy("answer")[0])
    return answer


def _assert_close(answer: Any, expected: Any) -> None:
    """Compare the parts of `expected` that are numbers, labels, lists or mappings of them."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            if key not in ("image", "input", "source", "seconds", "model"):
                _assert_close(answer[key], value)
    elif isinstance(expected, list | tuple):
        assert len(answer) == len(expected)
        for one, other in zip(answer, expected, strict=True):
            _assert_close(one, other)
    elif isinstance(expected, float):
        assert answer == pytest.approx(expected, abs=2e-3)
    else:
        assert answer == expected
