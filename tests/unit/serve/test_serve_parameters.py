"""Options of a request: what is not known or not a number is refused by name, a threshold is honoured everywhere."""

from __future__ import annotations

import io
import json
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.runtime.prepared import Prepared
from medzoo.runtime.protocol import open_inference_pb2 as pb
from medzoo.runtime.protocol.messages import SERVICE
from medzoo.runtime.protocol.tensors import parse_request
from medzoo.serve.repository import ModelRepository
from medzoo.serve.server import Server
from medzoo.serve.threshold import above_threshold


@pytest.fixture(scope="module")
def web(toy_server: Server) -> Any:
    with httpx.Client(base_url=f"http://127.0.0.1:{toy_server.http_port}", timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def body() -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(np.full((20, 30), 90, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def tensors(**extra: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [0.0] * 4}], **extra}


def infer(web: httpx.Client, model: str, document: Any) -> httpx.Response:
    # httpx writes no NaN; Python's json does, and so do clients.
    return web.post(f"/v2/models/toy-{model}/infer", content=json.dumps(document))


@pytest.mark.parametrize(
    "asked",
    [
        {"params": {"treshold": "0.5"}},
        {"params": {"Threshold": "0.5"}},
        {"params": {"model": "other", "overlay": "true"}},
        {"data": {"treshold": "0.5"}},
        {"data": {"series": "true", "patient": "x"}},
        {"data": {"name": "x"}},
    ],
)
def test_a_query_or_form_field_that_is_not_known_is_named_with_the_known_ones(
    web: httpx.Client, body: bytes, asked: dict[str, Any]
) -> None:
    response = web.post("/predict/toy-detect", files={"file": ("a.png", body)}, **asked)
    assert response.status_code == 400
    error = response.json()["error"]
    (strange,) = {"treshold", "Threshold", "model", "patient", "name"} & set(asked.get("params", asked.get("data", {})))
    assert repr(strange) in error
    assert "known: " in error
    assert "threshold" in error


@pytest.mark.parametrize("field", ["image", "mask", "threshold"])
def test_a_file_under_another_field_is_refused(web: httpx.Client, body: bytes, field: str) -> None:
    response = web.post("/predict/toy-detect", files={field: ("a.png", body)})
    assert response.status_code == 400
    assert repr(field) in response.json()["error"]
    assert "known: file" in response.json()["error"]


@pytest.mark.parametrize(
    "path", ["/v2?x=1", "/v2/models/toy-detect?version=2", "/v2/repository/index?ready=true", "/metrics?name[]=up"]
)
def test_routes_without_a_query_refuse_one(web: httpx.Client, path: str) -> None:
    response = web.get(path)
    assert response.status_code == 400
    assert "query parameter" in response.json()["error"]
    refused = web.post("/v2/models/toy-detect/infer?threshold=0.9", json=tensors())
    assert refused.status_code == 400
    assert "'threshold'" in refused.json()["error"]


def test_an_option_given_twice_is_refused(web: httpx.Client, body: bytes) -> None:
    for query, data in (
        ("?threshold=0.1&threshold=0.9", {}),
        ("?threshold=0.1", {"threshold": "0.1"}),
        ("", {"overlay": ["1", "0"]}),
    ):
        response = web.post(f"/predict/toy-detect{query}", files={"file": ("a.png", body)}, data=data)
        assert response.status_code == 400, (query, data)
        assert "set" in response.json()["error"]


# The toy detector finds one box with a score of 0.75.
@pytest.mark.parametrize(("threshold", "found"), [("0", 1), ("0.75", 1), ("0.76", 0), ("1", 0), ("7.5e-1", 1)])
def test_a_threshold_is_honoured_by_every_way(
    web: httpx.Client, toy_server: Server, body: bytes, threshold: str, found: int
) -> None:
    files = {"file": ("a.png", body)}
    counts = [
        len(web.post(f"/predict/toy-detect?threshold={threshold}", content=body).json()[0]["detections"]),
        len(web.post("/predict/toy-detect", files=files, data={"threshold": threshold}).json()[0]["detections"]),
    ]
    for outputs in ({}, {"outputs": [{"name": "boxes"}, {"name": "count"}]}, {"outputs": [{"name": "boxes"}]}):
        response = infer(web, "detect", tensors(parameters={"threshold": float(threshold)}, **outputs))
        answer = {one["name"]: one["data"] for one in response.json()["outputs"]}
        assert set(answer) == ({one["name"] for one in outputs.get("outputs", [])} or set(answer))
        assert answer["boxes"] == ([1, 2, 9, 8] if found else [0] * 4)
        counts += answer.get("count", [found])
    for value in ({"double_param": float(threshold)}, {"string_param": threshold}):
        counts.append(grpc_count(toy_server, {"threshold": value}))
    assert set(counts) == {found}


def grpc_count(server: Server, parameters: dict[str, dict[str, Any]], *, model: str = "toy-detect") -> int:
    request = pb.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 2, 2])
    tensor.contents.fp32_contents.extend([0.0] * 4)
    request.outputs.add(name="count")
    for name, value in parameters.items():
        request.parameters[name].CopyFrom(pb.InferParameter(**value))
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        ask = channel.unary_unary(
            f"/{SERVICE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        answer = ask(request, timeout=20)
    return int(np.frombuffer(answer.raw_output_contents[0], "<i8")[0])


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "1.01", "50", "", "half", "0,5", " 0.5", "0_1", "True"])
def test_a_threshold_that_is_no_number_from_0_to_1_is_refused_in_text(
    web: httpx.Client, body: bytes, text: str
) -> None:
    for asked in ({"params": {"threshold": text}}, {"data": {"threshold": text}}):
        response = web.post("/predict/toy-detect", files={"file": ("a.png", body)}, **asked)
        assert response.status_code == 400, asked
        assert "'threshold' must be a number from 0 to 1" in response.json()["error"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5, 50, "0.5", True, None, [0.5], {}])
def test_a_threshold_that_is_no_number_from_0_to_1_is_refused_in_json(web: httpx.Client, value: Any) -> None:
    response = infer(web, "detect", tensors(parameters={"threshold": value}))
    assert response.status_code == 400
    assert "'threshold' must be a number from 0 to 1" in response.json()["error"]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"threshold": {"double_param": float("nan")}}, "threshold"),
        ({"threshold": {"int64_param": 50}}, "threshold"),
        ({"threshold": {"bool_param": True}}, "threshold"),
        ({"threshold": {"string_param": "half"}}, "threshold"),
        ({"threshold": {}}, "threshold"),
        ({"timeout": {"string_param": "soon"}}, "timeout"),
        ({"timeout": {"int64_param": -1}}, "timeout"),
        ({"treshold": {"double_param": 0.5}}, "treshold"),
        ({"priority": {"uint64_param": 1}}, "priority"),
    ],
)
def test_grpc_parameters_that_are_not_understood_are_invalid(
    toy_server: Server, parameters: dict[str, dict[str, Any]], named: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        grpc_count(toy_server, parameters)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert repr(named) in caught.value.details()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"threshold": 0.5}, "threshold"),
        ({"model_name": "x"}, "model_name"),
        ({"parameters": {"treshold": 0.5}}, "treshold"),
        ({"parameters": {"priority": 1}}, "priority"),
        ({"outputs": [{"name": "count", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": [{"name": "count", "datatype": "FP32"}]}, "datatype"),
        ({"inputs": [{**tensors()["inputs"][0], "values": []}]}, "values"),
        ({"inputs": [{**tensors()["inputs"][0], "parameters": {"shared_memory_region": "x"}}]}, "shared_memory_region"),
    ],
)
def test_json_fields_and_parameters_that_are_not_known_are_named(
    web: httpx.Client, change: dict[str, Any], named: str
) -> None:
    response = infer(web, "detect", {**tensors(), **change})
    assert response.status_code == 400
    assert repr(named) in response.json()["error"]
    assert "known: " in response.json()["error"]


def test_what_both_protocols_know_is_read() -> None:
    document = tensors(id="a", parameters={"binary_data_output": True}, outputs=[{"name": "count"}])
    assert parse_request(memoryview(json.dumps(document).encode()), None).id == "a"
    with pytest.raises(UserError, match="ids"):
        parse_request(memoryview(json.dumps({**document, "ids": 1}).encode()), None)


def test_a_threshold_that_would_change_nothing_is_refused(web: httpx.Client, body: bytes, toy_server: Server) -> None:
    for model in ("segment", "classify"):
        response = infer(web, model, tensors(parameters={"threshold": 0.5}))
        assert response.status_code == 400
        assert "has no effect" in response.json()["error"]
    assert "POST an image file to /predict/toy-classify" in response.json()["error"]
    # Of two labels, it is the threshold that chooses.
    for threshold, label in (("0.4", "malignant"), ("0.9", "benign")):
        (answer,) = web.post(f"/predict/toy-classify?threshold={threshold}", content=body).json()
        assert answer["label"] == label
    refused = web.post("/predict/toy-segment?threshold=0.5", content=body)
    assert refused.status_code == 400
    assert "has no effect" in refused.json()["error"]


def test_boxes_below_a_threshold_leave_every_output_of_their_row() -> None:
    outputs = {
        "found_boxes": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "scores": np.array([[0.9, 0.2, 0.5], [0.6, 0.8, 0.7]], np.float32),
        "labels": np.array([[1, 2, 3], [4, 5, 6]]),
        "count": np.array([3, 2]),
        "map": np.ones((2, 8, 8), np.float32),
    }
    answer = above_threshold(outputs, 0.5)
    assert answer["count"].tolist() == [2, 2]
    assert answer["labels"].tolist() == [[1, 3, 0], [4, 5, 0]]
    assert answer["scores"][0].tolist() == pytest.approx([0.9, 0.5, 0])
    assert answer["found_boxes"][0, 1].tolist() == [8, 9, 10, 11]
    assert answer["map"] is outputs["map"]
    assert above_threshold(outputs, 0.95)["count"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("kind", "data"), [("UINT64", [False]), ("INT64", [True]), ("UINT64", [2**64 - 1]), ("BOOL", [1])]
)
def test_whole_numbers_at_the_ends_of_their_range_are_read(kind: str, data: list[Any]) -> None:
    document = {"inputs": [{"name": "x", "datatype": kind, "shape": [1], "data": data}]}
    array = parse_request(memoryview(json.dumps(document).encode()), None).inputs["x"]
    assert array.tolist() == data


def test_tiles_reach_the_reader(
    web: httpx.Client, toy_server: Server, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, original = [], ModelRepository.prepare

    def prepare(self: ModelRepository, *given: Any, **options: Any) -> Prepared:
        prepared = original(self, *given, **options)
        asked.append((options["tile"], prepared.tile, prepared.image.array.dtype.kind))
        return prepared

    monkeypatch.setattr(ModelRepository, "prepare", prepare)
    answers = [
        web.post("/predict/toy-detect?tile=64,32", content=body),
        web.post("/predict/toy-detect", files={"file": ("a.png", body)}, data={"tile": "64,32"}),
        web.post("/predict/toy-detect", content=body),
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert asked == [((64, 32), (64, 32), "u")] * 2 + [(None, None, "f")]


@pytest.mark.parametrize(
    "text", ["", "64", "64,", "31,64", "64,64,64", "64.0,64", "-64,64", "\u0666\u0664,64", "true", "Auto"]
)
def test_tiles_that_are_none_are_refused(web: httpx.Client, body: bytes, text: str) -> None:
    response = web.post("/predict/toy-detect", params={"tile": text}, content=body)
    assert response.status_code == 400
    assert "'tile' must be auto, or height,width of at least 32 pixels" in response.json()["error"]


@pytest.mark.parametrize(
    ("model", "tile", "words"),
    [
        ("segment", "64,64", "toy-segment does not support tiles"),
        ("classify", "auto", "toy-classify does not support tiles"),
        ("detect", "auto", "the graph's input size is unknown"),
    ],
)
def test_tiles_that_a_model_cannot_have_are_refused_once(
    web: httpx.Client, body: bytes, model: str, tile: str, words: str
) -> None:
    files = [("file", ("a.png", body)), ("file", ("b.png", body))]
    response = web.post(f"/predict/toy-{model}", params={"tile": tile}, files=files)
    assert response.status_code == 400
    assert words in response.json()["error"]
