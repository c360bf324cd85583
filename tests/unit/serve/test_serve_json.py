"""JSON in requests and responses: long documents as short ones, malformed ones refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.protocol.tensors import HEADER_LENGTH, InferenceRequest, build_request, build_response
from medzoo.serve.responses import dump_response
from medzoo.serve.server import Server

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def backend(toy_graphs: dict[str, Path]) -> OnnxBackend:
    return OnnxBackend(toy_graphs["segment"], device="cpu", threads=1)


def test_long_json_is_read_and_written_as_short_json_is(start: Start, backend: OnnxBackend) -> None:
    server = start([backend], max_json=4 << 20)
    image = np.random.default_rng(0).integers(0, 255, (1, 1, 400, 500)).astype(np.float32)
    body = {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 1, 400, 500], "data": image.ravel().tolist()}]
    }
    address = f"http://127.0.0.1:{server.http_port}/v2/models/toy-segment/infer"
    long = json.dumps(body | {"id": "a"})
    assert len(long) > 256 << 10
    found = httpx.post(address, content=long, timeout=60).json()
    assert found["id"] == "a"
    outputs = {one["name"]: np.reshape(one["data"], one["shape"]) for one in found["outputs"]}
    assert np.array_equal(outputs["labels"], image[:, 0] > 100)
    assert np.array_equal(outputs["probabilities"][:, 1:], image > 100)
    for broken, words in (
        (long[:-2], "not valid JSON"),
        ("[" * 400_000, "not valid JSON"),
        ("[" + "9" * 400_000 + "]", "not valid JSON"),
        ('{"inputs":[' + ",".join(["{}"] * 200_000) + "]}", "list of tensors"),
        (json.dumps({str(n): n for n in range(100_000)}), "'0' is unknown"),
        (long.replace('"FP32"', '"EVIL"'), "EVIL"),
        (" " * (5 << 20), "at most 4194304 bytes of JSON"),
    ):
        refused = httpx.post(address, content=broken, timeout=60)
        assert refused.status_code in (400, 413)
        assert words in refused.json()["error"]
    head, tails = build_request({"image": image}, ["labels"])
    spaces = head + b" " * (5 << 20)
    refused = httpx.post(address, content=spaces + b"".join(tails), headers={HEADER_LENGTH: str(len(spaces))})
    assert refused.status_code == 413


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3), np.float32),
        np.arange(100_000, dtype=np.int64).reshape(4, -1),
        np.random.default_rng(0).normal(size=(1, 70_000)).astype(np.float32),
        np.array([[True], [False]]),
    ],
)
def test_an_output_in_parts_equals_the_whole(array: Any) -> None:
    question = InferenceRequest({}, id="é")
    outputs = {"a": array, "b": np.arange(3)}
    whole, _ = build_response("m", outputs, request=question)
    pieces, _ = build_response("m", outputs, request=question, listed=False)
    assert json.loads(dump_response(pieces)) == whole
