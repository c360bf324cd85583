"""Tensors of pictures in another range are refused over every protocol, in the words of `predict`."""

from __future__ import annotations

import http.client
import json
from typing import Any

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.runtime.backends.remote import RemoteBackend
from medzoo.runtime.predictor import Predictor
from medzoo.serve.server import Server

GREY = np.random.default_rng(0).integers(0, 256, (1, 1, 9, 12)).astype(np.float32)
WRONG = {
    "0 to 1": GREY / 255,
    "-1 to 1": GREY / 127.5 - 1,
    "z-scores": (GREY - GREY.mean()) / GREY.std(),
    "16 bits": GREY * 257,
    "NaN": np.where(GREY > 200, np.nan, GREY).astype(np.float32),
}


def post(server: Server, array: Any) -> tuple[int, dict[str, Any]]:
    tensor = {"name": "image", "datatype": "FP32", "shape": list(array.shape), "data": array.ravel().tolist()}
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    connection.request("POST", "/v2/models/toy-classify/infer", json.dumps({"inputs": [tensor]}))
    response = connection.getresponse()
    return response.status, json.loads(response.read())


@pytest.mark.parametrize("name", [name for name in WRONG if name != "NaN"])
def test_json_of_another_range_gets_400(toy_server: Server, name: str) -> None:
    status, answer = post(toy_server, WRONG[name])
    assert status == 400
    assert "tensor 'image'" in answer["error"]
    assert "but toy-classify was trained on" in answer["error"]


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("name", WRONG)
def test_bytes_of_another_range_are_refused(toy_server: Server, scheme: str, name: str) -> None:
    port = toy_server.http_port if scheme == "http" else toy_server.grpc_port
    backend = RemoteBackend(f"{scheme}://127.0.0.1:{port}/toy-classify")
    with pytest.raises(UserError, match=r"error \((400|INVALID_ARGUMENT)\).*tensor 'image'"):
        backend.run({"image": WRONG[name].astype(np.float32)})
    batch = np.concatenate([GREY, GREY, WRONG[name].astype(np.float32)])
    with pytest.raises(UserError, match=r"tensor 'image', row 2"):
        backend.run({"image": batch})


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_stored_values_dark_and_converted_ones_are_predicted(toy_server: Server, scheme: str) -> None:
    port = toy_server.http_port if scheme == "http" else toy_server.grpc_port
    model = Predictor(RemoteBackend(f"{scheme}://127.0.0.1:{port}/toy-classify"))
    grey = GREY[0, 0].astype(np.uint8)
    expected = model.predict(grey).probabilities
    assert model.predict(grey / 255).probabilities == expected
    assert model.predict(grey.astype(np.int64)).probabilities == expected
    for dark in ((grey > 128).astype(np.uint8), np.zeros((4, 5), np.uint8)):
        assert model.predict(dark).probabilities["malignant"] >= 0.5
    with pytest.raises(UserError, match=r"^array: values range from 0 to 0\.\d+.*multiply by 255"):
        model.predict(grey / 300)
