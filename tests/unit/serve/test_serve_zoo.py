"""Every released model behind the server, called by the protocol's reference client and by medzoo.load."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http
from PIL import Image as Pillow
from tritonclient.utils import InferenceServerException

import medzoo
from medzoo.commands.serve import _opened
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.backends.remote import RemoteBackend
from medzoo.runtime.parity.gate import load_golden
from medzoo.runtime.protocol.tensors import datatype
from medzoo.serve.server import Server
from tests.unit.serve.conftest import running

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = sorted(path.parent for path in ROOT.glob("zoo/*/manifest.json"))
GRAPHS = [folder.name for folder in FOLDERS if (folder / "model.onnx").is_file()]
# One model of each family that shrinks its input before it computes: a large one costs little.
SHRINKING = ("lenet-mass", "breast-ultrasound-alexnet", "breast-ultrasound-cnn", "breast-lesion-rcnn")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    backends, pipelines = _opened([str(folder) for folder in FOLDERS], device="cpu", precision="auto")
    with running(backends, pipelines=pipelines) as started:
        yield started


@pytest.fixture(scope="module")
def http(server: Server) -> Any:
    with by_http.InferenceServerClient(f"127.0.0.1:{server.http_port}", concurrency=4, network_timeout=300) as it:
        yield it


@pytest.fixture(scope="module")
def grpc(server: Server) -> Any:
    with by_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as it:
        yield it


def own_inputs(name: str) -> dict[str, Any]:
    """A golden input of the model's folder: a batch of several."""
    goldens, _ = load_golden((ROOT / "zoo" / name / "golden.npz").read_bytes())
    return dict(goldens[1].inputs)


def graph_answers(server: Server, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    backend: OnnxBackend = server.repository.models[name].batcher.backend  # type: ignore[assignment]
    return backend.run(inputs)


def tensors(module: Any, inputs: dict[str, Any], **options: Any) -> list[Any]:
    made = []
    for name, array in inputs.items():
        tensor = module.InferInput(name, list(array.shape), datatype(array.dtype))
        tensor.set_data_from_numpy(array, **options)
        made.append(tensor)
    return made


@pytest.mark.parametrize("name", GRAPHS)
def test_every_way_of_asking_gives_what_the_graph_gives(server: Server, http: Any, grpc: Any, name: str) -> None:
    inputs = own_inputs(name)
    expected = graph_answers(server, name, inputs)
    answers = []
    for binary_in in (True, False):
        for binary_out in (True, False):
            wanted = [by_http.InferRequestedOutput(output, binary_data=binary_out) for output in expected]
            answers.append(http.infer(name, tensors(by_http, inputs, binary_data=binary_in), outputs=wanted))
    answers.append(grpc.infer(name, tensors(by_grpc, inputs)))
    for answer in answers:
        for output, value in expected.items():
            got = answer.as_numpy(output)
            assert got.dtype == value.dtype
            assert np.array_equal(got, value), output
    for url in (f"http://127.0.0.1:{server.http_port}/{name}", f"grpc://127.0.0.1:{server.grpc_port}/{name}"):
        for output, value in RemoteBackend(url).run(inputs).items():
            assert np.array_equal(value, expected[output]), (url, output)


@pytest.mark.parametrize("name", GRAPHS)
def test_concurrent_requests_get_their_own_responses(server: Server, grpc: Any, name: str) -> None:
    goldens, _ = load_golden((ROOT / "zoo" / name / "golden.npz").read_bytes())
    expected = [graph_answers(server, name, dict(golden.inputs)) for golden in goldens]

    def same(number: int) -> bool:
        own = number % len(goldens)
        answer = grpc.infer(name, tensors(by_grpc, dict(goldens[own].inputs)))
        # In a batch with others a sum may be taken in another order.
        return all(
            np.allclose(answer.as_numpy(output), value, atol=1e-4 if output != "boxes" else 1e-2)
            for output, value in expected[own].items()
        )

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(same, range(12)))


@pytest.mark.parametrize("module", [by_http, by_grpc], ids=["http", "grpc"])
@pytest.mark.parametrize("name", GRAPHS)
def test_wrong_names_shapes_and_types_are_reported(http: Any, grpc: Any, module: Any, name: str) -> None:
    client = http if module is by_http else grpc
    inputs = own_inputs(name)
    first, array = next(iter(inputs.items()))
    wrong = {
        "has no input": {f"{first}s": array},
        "must have shape": {**inputs, first: array[..., None]},
        "must be FP32": {**inputs, first: array.astype(np.float64)},
    }
    for words, mistaken in wrong.items():
        with pytest.raises(InferenceServerException, match=words) as caught:
            client.infer(name, tensors(module, mistaken))
        assert any(code in str(caught.value.status()) for code in ("400", "INVALID_ARGUMENT"))
    with pytest.raises(InferenceServerException, match="has no output"):
        client.infer(name, tensors(module, inputs), outputs=[module.InferRequestedOutput("nothing")])


@pytest.mark.long
@pytest.mark.parametrize("name", SHRINKING)
def test_a_tensor_of_over_100_mb(server: Server, http: Any, grpc: Any, name: str) -> None:
    side = 5200
    image = np.zeros((1, 1, side, side), np.float32)
    image[0, 0] = np.add.outer(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32)) % 251
    assert image.nbytes > 100e6
    expected = graph_answers(server, name, {"image": image})
    for module, client in ((by_http, http), (by_grpc, grpc)):
        answer = client.infer(name, tensors(module, {"image": image}))
        for output, value in expected.items():
            assert np.array_equal(answer.as_numpy(output), value), (module.__name__, output)
        gc.collect()


def test_a_pipeline_predicts_images_and_names_its_members(server: Server, shared_data: Path) -> None:
    picture = next((shared_data / "busi" / "malignant").glob("*(1).png"))
    here = medzoo.load("breast-cascade", device="cpu").predict(picture).to_dict()
    assert here["detections"][0]["members"]
    address = f"http://127.0.0.1:{server.http_port}"
    (sent,) = httpx.post(
        f"{address}/predict/breast-cascade", files={"file": (picture.name, picture.read_bytes())}, timeout=120
    ).json()
    afar = [
        medzoo.load(f"{url}/breast-cascade").predict(picture).to_dict()
        for url in (address, f"grpc://127.0.0.1:{server.grpc_port}")
    ]
    for answer in (sent, *afar):
        assert {**answer, "seconds": 0, "input": ""} == {**here, "seconds": 0, "input": ""}
    refused = httpx.post(f"{address}/v2/models/breast-cascade/infer", json={"inputs": []})
    assert refused.status_code == 400
    assert "is a pipeline and takes no tensors: use its members (breast-lesion-rcnn, " in refused.json()["error"]
    described = httpx.get(f"{address}/v2/models/breast-cascade").json()
    assert (described["inputs"], described["outputs"]) == ([], [])
    with by_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        assert client.get_model_metadata("breast-cascade").name == "breast-cascade"
        assert "breast-cascade" in {one.name for one in client.get_model_repository_index().models}


def test_an_answer_says_by_how_much_a_picture_was_reduced(server: Server, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Pillow.fromarray(np.uint8(np.add.outer(np.arange(2400), np.arange(3250)) // 24 % 251)).save(large)
    predictor = medzoo.load("breast-lesion-rcnn", device="cpu")
    address = f"http://127.0.0.1:{server.http_port}/predict/breast-lesion-rcnn"
    for tile, query in ((None, {}), ((2000, 2400), {"tile": "2000,2400"})):
        here = predictor.predict(large, tile=tile).to_dict()
        (sent,) = httpx.post(address, params=query, content=large.read_bytes(), timeout=120).json()
        assert {**sent, "seconds": 0, "input": ""} == {**here, "seconds": 0, "input": ""}
        (reduced,) = (note for note in sent["notes"] if "pixels were reduced " in note)  # the guard's note aside
        assert ("its 3250 x 2400 pixels" in reduced) == (tile is None)
