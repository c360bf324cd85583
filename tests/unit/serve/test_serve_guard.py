"""A server refuses pictures of another kind by 422, unless it is told to answer them anyway."""

from __future__ import annotations

import http.client
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medzoo.errors import UnfamiliarError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.backends.remote import RemoteBackend
from medzoo.runtime.predictor import Predictor
from medzoo.serve.server import Server
from tests.unit.guard.sky_toys import guarded_graph, sky


@pytest.fixture(autouse=True)
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDZOO_ANYWAY", raising=False)


def png(array: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def upload(server: Server, array: Any, query: str = "") -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
    connection.request("POST", f"/predict/toy-classify{query}", png(array), {"Content-Type": "image/png"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def test_uploads_and_clients_judge_alike(start: Any, tmp_path: Path) -> None:
    server = start([OnnxBackend(guarded_graph(tmp_path / "model.onnx"), device="cpu", threads=1)])
    foreign = np.full((64, 72), 200, np.uint8)
    status, answer = upload(server, sky(2000), "?anyway=true")
    assert status == 200
    assert answer[0]["familiar"]["verdict"] in ("yes", "unsure")
    remote = Predictor(RemoteBackend(f"http://127.0.0.1:{server.http_port}/toy-classify"))
    assert remote.predict(sky(2000), anyway=True).familiar.to_dict() == answer[0]["familiar"]
    status, answer = upload(server, foreign)
    assert status == 422
    assert answer[0]["familiar"]["verdict"] == "no"
    assert "is not what toy-classify was trained on" in answer[0]["error"]
    status, answer = upload(server, foreign, "?anyway=true")
    assert status == 200
    assert answer[0]["familiar"]["verdict"] == "no"
    with pytest.raises(UnfamiliarError):
        remote.predict(foreign)
