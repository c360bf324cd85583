"""The Triton repository: read by Triton's own schema, and its Python model run against a stand-in for Triton."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from medzoo.cli import main
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from tests.unit.serve.graphs import write_graph


@pytest.fixture(params=["segment", "classify", "detect"])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    host = ({"op": "orient", "to": "RAS"},) if request.param == "segment" else ()
    graph = write_graph(tmp_path / "graph.onnx", request.param, host=host)
    for _ in range(2):  # the second replaces the first
        with pytest.raises(SystemExit) as ended:
            main(["export", str(graph), "--to", "triton", "-o", str(tmp_path / "repository")])
        assert ended.value.code == 0
    return graph, tmp_path / "repository"


def config(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_the_configuration_is_the_onnx_files_own(exported: tuple[Path, Path]) -> None:
    graph, repository = exported
    backend = OnnxBackend(graph, device="cpu")
    name = backend.metadata.name
    assert sorted(path.name for path in repository.iterdir()) == [name, f"{name}-predict"]
    read = config(repository / name)
    assert read.name == name
    assert read.platform == "onnxruntime_onnx"
    assert (repository / name / "1" / "model.onnx").read_bytes() == graph.read_bytes()
    assert read.HasField("dynamic_batching")
    assert read.max_batch_size >= 16  # the slices that a client sends at once
    assert len(read.instance_group) == 1
    for described, own in ((read.input, backend.session.get_inputs()), (read.output, backend.session.get_outputs())):
        assert [one.name for one in described] == [value.name for value in own]
        for one, value in zip(described, own, strict=True):
            dims = [n if isinstance(n, int) else -1 for n in value.shape[1:]]
            assert list(one.dims) == (dims or [1])
            kind = model_config_pb2.DataType.Name(one.data_type)
            wanted = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64", "tensor(uint8)": "TYPE_UINT8"}
            assert kind == wanted[value.type]
    (warm,) = read.model_warmup
    assert list(warm.inputs["image"].dims) == [1, 64, 64]
    # Random bytes would be any float, NaN among them, of which no box can be made.
    assert warm.inputs["image"].zero_data
    assert Metadata.model_validate_json(read.parameters["medzoo"].string_value) == backend.metadata


class FakeTriton(types.ModuleType):
    """A stand-in for the parts of triton_python_backend_utils that the model uses; graphs run in ONNX Runtime, and are
    given no more rows than their configuration allows."""

    def __init__(self, repository: Path) -> None:
        graphs, most = {}, {}
        for path in repository.glob("*/1/model.onnx"):
            name = path.parents[1].name
            graphs[name] = OnnxBackend(path, device="cpu")
            most[name] = config(path.parents[1]).max_batch_size
        super().__init__("triton_python_backend_utils")

        class Tensor:
            def __init__(self, name: str, value: Any) -> None:
                self.name, self.value = name, value

            def as_numpy(self) -> Any:
                return self.value

        class Response:
            def __init__(self, output_tensors: Any) -> None:
                self.tensors = {tensor.name: tensor for tensor in output_tensors}

            def has_error(self) -> bool:
                return False

        class Request:
            def __init__(self, model_name: str, requested_output_names: Any, inputs: Any) -> None:
                self.model, self.outputs = model_name, requested_output_names
                self.tensors = {tensor.name: tensor for tensor in inputs}

            def exec(self) -> Response:
                assert len(next(iter(self.tensors.values())).value) <= most[self.model]
                answer = graphs[self.model].run({k: t.value for k, t in self.tensors.items()}, self.outputs)
                # The batch axis alone comes back with an axis of length 1, as the configuration says.
                return Response([Tensor(k, v[:, None] if v.ndim == 1 else v) for k, v in answer.items()])

        self.Tensor, self.InferenceRequest, self.InferenceResponse = Tensor, Request, Response
        self.get_input_tensor_by_name = self.get_output_tensor_by_name = lambda one, name: one.tensors.get(name)


def python_model(repository: Path, name: str, triton: FakeTriton, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The Python-backend model `name`, started as Triton starts it."""
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    spec = importlib.util.spec_from_file_location("exported_model", repository / name / "1" / "model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    read = config(repository / name)
    parameters = {key: {"string_value": value.string_value} for key, value in read.parameters.items()}
    model = module.TritonPythonModel()
    model.initialize({"model_config": json.dumps({"name": name, "parameters": parameters})})
    return model


def ask(model: Any, triton: FakeTriton, path: Path) -> Any:
    """The model's prediction for a file."""
    file = triton.Tensor("file", np.array([path.read_bytes()], object))
    name = triton.Tensor("name", np.array([path.name.encode()], object))
    (response,) = model.execute([triton.InferenceRequest("x", [], [file, name])])
    return json.loads(response.tensors["answer"].value[0])


def test_the_model_that_takes_files_predicts_as_predict_does(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph, repository = exported
    backend = OnnxBackend(graph, device="cpu")
    name = f"{backend.metadata.name}-predict"
    triton = FakeTriton(repository)
    model = python_model(repository, name, triton, monkeypatch)

    path = tmp_path / "scan.nii.gz"
    volume = np.random.default_rng(0).uniform(0, 255, (20, 9, 40)).astype(np.float32)
    if backend.metadata.task != "segment":
        from PIL import Image as Pillow

        path = tmp_path / "scan.png"
        Pillow.fromarray(volume[0].astype(np.uint8)).save(path)
    else:
        nib.save(nib.Nifti1Image(volume, np.diag([-1, 2, 1, 1])), path)
    answer = ask(model, triton, path)
    expected = Predictor(backend).predict(path).to_dict()
    for key in ("seconds", "input"):
        answer.pop(key)
        expected.pop(key)
    assert answer.pop("mask", "").startswith("data:application/gzip" if backend.metadata.task == "segment" else "")
    assert answer == expected

    broken = triton.InferenceRequest("x", [], [triton.Tensor("file", np.array([b"nothing"], object))])
    (refused,) = model.execute([broken])
    assert "error" in json.loads(refused.tensors["answer"].value[0])


ROOT = Path(__file__).resolve().parents[3]
ZOO = sorted(path.parent for path in ROOT.glob("zoo/*/manifest.json"))


@pytest.mark.parametrize("folder", ZOO, ids=lambda folder: folder.name)
def test_every_released_model_becomes_a_repository(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", folder.name, "--to", "triton", "-o", str(tmp_path)])
    assert ended.value.code == 0
    members = json.loads((folder / "manifest.json").read_text()).get("members", {})
    graphs = {member["name"] for member in members.values()} or {folder.name}
    takes_files = folder.name if members else f"{folder.name}-predict"
    assert {path.name for path in tmp_path.iterdir()} == {*graphs, takes_files}
    for name in graphs:
        read = config(tmp_path / name)
        session = OnnxBackend(tmp_path / name / "1" / "model.onnx", device="cpu").session
        assert [one.name for one in read.input] == [value.name for value in session.get_inputs()]
        assert [one.name for one in read.output] == [value.name for value in session.get_outputs()]
        # Triton warms up with these: the graph takes them.
        (warm,) = read.model_warmup
        shapes = {key: [1, *value.dims] for key, value in warm.inputs.items()}
        session.run(None, {key: np.zeros(shape, np.float32) for key, shape in shapes.items()})
    read = config(tmp_path / takes_files)
    assert read.backend == "python"
    assert [one.name for one in read.input] == ["file", "name"]


@pytest.mark.parametrize("name", ["breast-cascade", "breast-mass-svm"])
def test_host_steps_and_several_graphs_run_inside_triton(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipeline runs three graphs; a mass model runs its graph once for every feature as well."""
    import medzoo

    with pytest.raises(SystemExit):
        main(["export", name, "--to", "triton", "-o", str(tmp_path)])
    triton = FakeTriton(tmp_path)
    takes_files = name if (tmp_path / name / "1" / "model.py").is_file() else f"{name}-predict"
    model = python_model(tmp_path, takes_files, triton, monkeypatch)
    picture = next((shared_data / "busi" / "malignant").glob("*(1).png"))
    answer = ask(model, triton, picture)
    expected = medzoo.load(name, device="cpu").predict(picture).to_dict()
    assert {**answer, "seconds": 0, "input": ""} == {**expected, "seconds": 0, "input": ""}
