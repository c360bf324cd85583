"""The protocol as its reference client speaks it: JSON and bytes in every combination, gRPC, mistakes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.grpc as by_grpc
import tritonclient.http as by_http
from tritonclient.utils import InferenceServerException

from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.server import Server

RNG = np.random.default_rng(0)
MODELS = ("toy-segment", "toy-classify", "toy-detect")


def image(*shape: int) -> Any:
    return RNG.uniform(0, 255, shape).astype(np.float32)


@pytest.fixture(scope="module")
def http(toy_server: Server) -> Any:
    with by_http.InferenceServerClient(f"127.0.0.1:{toy_server.http_port}", concurrency=4, network_timeout=120) as it:
        yield it


@pytest.fixture(scope="module")
def grpc(toy_server: Server) -> Any:
    with by_grpc.InferenceServerClient(f"127.0.0.1:{toy_server.grpc_port}") as it:
        yield it


def test_health_metadata_and_index(toy_server: Server, http: Any, grpc: Any) -> None:
    assert http.is_server_live()
    assert http.is_server_ready()
    assert grpc.is_server_live()
    assert grpc.is_server_ready()
    assert http.get_server_metadata()["name"] == grpc.get_server_metadata().name == "medzoo"
    assert {one["name"] for one in http.get_model_repository_index()} == set(MODELS)
    assert {one.name for one in grpc.get_model_repository_index().models} == set(MODELS)
    assert {one["state"] for one in http.get_model_repository_index()} == {"READY"}
    for name in MODELS:
        assert http.is_model_ready(name)
        assert grpc.is_model_ready(name)
        over_http, over_grpc = http.get_model_metadata(name), grpc.get_model_metadata(name, as_json=True)
        assert over_http["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 1, -1, -1]}]
        assert [one["name"] for one in over_http["outputs"]] == [one["name"] for one in over_grpc["outputs"]]
        stored = toy_server.repository.models[name].metadata.model_dump_json()
        assert http.get_model_config(name)["parameters"]["medzoo"]["string_value"] == stored
        assert grpc.get_model_config(name).config.parameters["medzoo"].string_value == stored


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False, None])
@pytest.mark.parametrize("task", ["segment", "classify", "detect"])
def test_http_gives_the_outputs_of_the_graph(
    toy_graphs: dict[str, Path], http: Any, task: str, binary_in: bool, binary_out: bool | None
) -> None:
    given = image(2, 1, 20, 31)
    expected = OnnxBackend(toy_graphs[task], device="cpu").run({"image": given})
    tensor = by_http.InferInput("image", list(given.shape), "FP32")
    tensor.set_data_from_numpy(given, binary_data=binary_in)
    wanted = None
    if binary_out is not None:
        wanted = [by_http.InferRequestedOutput(name, binary_data=binary_out) for name in expected]
    answer = http.infer(f"toy-{task}", [tensor], outputs=wanted, request_id="17")
    assert answer.get_response()["id"] == "17"
    for name, value in expected.items():
        got = answer.as_numpy(name)
        assert got.dtype == value.dtype
        assert np.array_equal(got, value), name
        behind = "binary_data_size" in answer.get_output(name).get("parameters", {})
        assert behind == (binary_out is not False), name


@pytest.mark.parametrize("task", ["segment", "classify", "detect"])
def test_grpc_gives_the_outputs_of_the_graph(toy_graphs: dict[str, Path], grpc: Any, task: str) -> None:
    given = image(3, 1, 17, 24)
    tensor = by_grpc.InferInput("image", list(given.shape), "FP32")
    tensor.set_data_from_numpy(given)
    answer = grpc.infer(f"toy-{task}", [tensor], request_id="x")
    for name, value in OnnxBackend(toy_graphs[task], device="cpu").run({"image": given}).items():
        assert np.array_equal(answer.as_numpy(name), value), name


def test_grpc_takes_typed_contents(toy_server: Server) -> None:
    import grpc as plain
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    given = image(1, 1, 4, 5)
    request = service_pb2.ModelInferRequest(model_name="toy-segment")
    tensor = request.inputs.add(name="image", datatype="FP32", shape=given.shape)
    tensor.contents.fp32_contents.extend(given.ravel().tolist())
    with plain.insecure_channel(f"127.0.0.1:{toy_server.grpc_port}") as channel:
        answer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert np.array_equal(np.frombuffer(answer.raw_output_contents[0], np.uint8), (given > 100).ravel())


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_a_compressed_body_is_read(http: Any, algorithm: str) -> None:
    given = image(1, 1, 12, 12)
    tensor = by_http.InferInput("image", list(given.shape), "FP32")
    tensor.set_data_from_numpy(given)
    answer = http.infer("toy-segment", [tensor], request_compression_algorithm=algorithm)
    assert np.array_equal(answer.as_numpy("labels"), given[:, 0] > 100)


def test_a_tensor_of_over_100_mb(http: Any, grpc: Any) -> None:
    given = np.full((1, 1, 5200, 5200), 255, np.float32)
    assert given.nbytes > 100e6
    for module, client in ((by_http, http), (by_grpc, grpc)):
        tensor = module.InferInput("image", list(given.shape), "FP32")
        tensor.set_data_from_numpy(given)
        answer = client.infer("toy-classify", [tensor]).as_numpy("probabilities")
        # The graph adds 27 million float32 values, which costs digits.
        assert answer == pytest.approx(np.array([[1, np.e]]) / (1 + np.e), abs=1e-2)


def test_concurrent_results_go_to_their_own_callers(toy_server: Server) -> None:
    client = by_grpc.InferenceServerClient(f"127.0.0.1:{toy_server.grpc_port}")

    def ask(number: int) -> bool:
        given = np.full((1, 1, 8, 8 + number % 3), number, np.float32)
        tensor = by_grpc.InferInput("image", list(given.shape), "FP32")
        tensor.set_data_from_numpy(given)
        if number % 2:
            p = client.infer("toy-classify", [tensor]).as_numpy("probabilities")[0, 1]
        else:
            document = {"name": "image", "datatype": "FP32", "shape": given.shape, "data": given.ravel().tolist()}
            address = f"http://127.0.0.1:{toy_server.http_port}/v2/models/toy-classify/infer"
            p = httpx.post(address, json={"inputs": [document]}).json()["outputs"][0]["data"][1]
        return bool(np.isclose(p, 1 / (1 + np.exp(-number / 255)), atol=1e-6))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(60)))


@pytest.mark.parametrize("module", [by_http, by_grpc], ids=["http", "grpc"])
@pytest.mark.parametrize(
    ("model", "name", "array", "outputs", "words"),
    [
        ("toy-nothing", "image", image(1, 1, 4, 4), None, "no model named 'toy-nothing'"),
        ("toy-segment", "picture", image(1, 1, 4, 4), None, "no input 'picture'; its inputs are image"),
        (
            "toy-segment",
            "image",
            image(1, 1, 4),
            None,
            "must have shape [-1, 1, -1, -1] (-1: any length), got [1, 1, 4]",
        ),
        ("toy-segment", "image", image(1, 3, 4, 4), None, "got [1, 3, 4, 4]"),
        ("toy-segment", "image", image(1, 1, 0, 4), None, "got [1, 1, 0, 4]"),
        ("toy-segment", "image", image(1, 1, 4, 4).astype(np.float64), None, "must be FP32, got FP64"),
        (
            "toy-segment",
            "image",
            image(1, 1, 4, 4),
            ["scores"],
            "no output 'scores'; its outputs are labels, probabilities",
        ),
    ],
)
def test_a_mistake_is_named(
    http: Any, grpc: Any, module: Any, model: str, name: str, array: Any, outputs: Any, words: str
) -> None:
    kind = {"float32": "FP32", "float64": "FP64"}[str(array.dtype)]
    tensor = module.InferInput(name, list(array.shape), kind)
    tensor.set_data_from_numpy(array)
    wanted = [module.InferRequestedOutput(one) for one in outputs] if outputs else None
    with pytest.raises(InferenceServerException) as caught:
        (http if module is by_http else grpc).infer(model, [tensor], outputs=wanted)
    assert words in str(caught.value)
    expected = ("404", "NOT_FOUND") if "no model" in words else ("400", "INVALID_ARGUMENT")
    assert any(code in str(caught.value.status()) for code in expected)


def test_bytes_that_are_no_request_are_refused_as_invalid(toy_server: Server) -> None:
    """As a mistake of the sender's, not a failure of the server's."""
    import grpc as plain

    rng = np.random.default_rng(0)
    codes = set()
    with plain.insecure_channel(f"127.0.0.1:{toy_server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        given = image(1, 1, 4, 5)
        request = by_grpc.service_pb2.ModelInferRequest(model_name="toy-segment")
        request.inputs.add(name="image", datatype="FP32", shape=given.shape)
        request.raw_input_contents.append(given.tobytes())
        whole = request.SerializeToString()
        for number in range(100):
            raw = bytearray(whole)
            for _ in range(int(rng.integers(1, 5))):
                raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
            raw = raw[: int(rng.integers(len(raw) + 1))] if number % 3 else raw
            try:
                infer(bytes(raw), timeout=30)
            except plain.RpcError as error:
                codes.add(error.code().name)
    assert codes <= {"INVALID_ARGUMENT", "NOT_FOUND"}
    assert "INVALID_ARGUMENT" in codes
