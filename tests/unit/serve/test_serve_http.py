"""Parts of the server beyond the protocol: image files, tokens, bounds, metrics, logs."""

from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.protocol.tensors import HEADER_LENGTH, build_request
from medzoo.serve.server import Server


def png(array: Any) -> bytes:
    buffer = io.BytesIO()
    Pillow.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def picture() -> Any:
    array = np.zeros((20, 30), np.uint8)
    array[4:9, 10:16] = 200
    return array


@pytest.fixture(scope="module")
def web(toy_server: Server) -> Any:
    with httpx.Client(base_url=f"http://127.0.0.1:{toy_server.http_port}", timeout=30) as client:
        yield client


class Slow(OnnxBackend):
    """Responds once `go` is set."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, device="cpu", threads=1)
        self.go = threading.Event()
        self.runs = 0

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.runs += 1
        assert self.go.wait(20)
        return super().run(inputs, outputs)


def question(value: float = 0.0, *, side: int = 8, **extra: Any) -> dict[str, Any]:
    data = [value] * side * side
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 1, side, side], "data": data}
    return {"inputs": [tensor], **extra}


def test_an_image_file_gets_what_predict_prints(
    toy_graphs: dict[str, Path], web: httpx.Client, picture: Any, tmp_path: Path
) -> None:
    path = tmp_path / "scan one.png"
    path.write_bytes(png(picture))
    for task, path_of_graph in toy_graphs.items():
        expected = Predictor(OnnxBackend(path_of_graph, device="cpu")).predict(path).to_dict()
        response = web.post(f"/predict/toy-{task}", files={"file": (path.name, path.read_bytes())})
        assert response.status_code == 200
        (answer,) = response.json()
        mask = answer.pop("mask", None)
        assert answer.pop("seconds") >= 0
        assert answer == {**{k: v for k, v in expected.items() if k != "seconds"}, "input": path.name}
        if task == "segment":
            raw = base64.b64decode(mask.removeprefix("data:image/png;base64,"))
            assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(raw))), picture > 100)


def test_a_raw_body_an_overlay_and_a_threshold(web: httpx.Client, picture: Any) -> None:
    body = png(picture)
    (found,) = web.post("/predict/toy-detect?name=a.png&overlay=true", content=body).json()
    assert found["detections"][0]["box"] == [1, 2, 9, 8]
    shown = Pillow.open(io.BytesIO(base64.b64decode(found["overlay"].split(",")[1])))
    assert shown.width >= 600
    (none,) = web.post("/predict/toy-detect?threshold=0.8", content=body).json()
    assert none["detections"] == []
    assert web.post("/predict/toy-detect?threshold=2", content=body).status_code == 400


def test_a_volume_gets_its_mask_as_nifti(web: httpx.Client, tmp_path: Path) -> None:
    import nibabel as nib

    volume = np.zeros((6, 7, 5), np.uint8)
    volume[2:4, 3:5, 1:3] = 150
    path = tmp_path / "t1.nii.gz"
    nib.save(nib.Nifti1Image(volume, np.diag([2, 2, 2, 1])), path)
    (answer,) = web.post("/predict/toy-segment", files={"file": (path.name, path.read_bytes())}).json()
    assert answer["volumes_ml"] == {"bright": pytest.approx(8 * 8 / 1000)}
    (tmp_path / "mask.nii.gz").write_bytes(base64.b64decode(answer["mask"].split(",")[1]))
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert np.array_equal(np.asarray(mask.dataobj), volume > 100)


def test_dicom_alone_and_as_a_series(web: httpx.Client) -> None:
    import pydicom
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("CT_small.dcm")))
    (answer,) = web.post("/predict/toy-segment", files={"file": ("scan", path.read_bytes())}).json()
    assert "areas_px" in answer
    slices = [path.read_bytes()]
    second = pydicom.dcmread(path)
    second.ImagePositionPatient = [*second.ImagePositionPatient[:2], float(second.ImagePositionPatient[2]) + 5]
    second.SOPInstanceUID = second.file_meta.MediaStorageSOPInstanceUID = f"{second.SOPInstanceUID}.1"
    second.InstanceNumber = 2
    buffer = io.BytesIO()
    second.save_as(buffer)
    slices.append(buffer.getvalue())
    files = [("file", (f"{number}", raw)) for number, raw in enumerate(slices)]
    (series,) = web.post("/predict/toy-segment?series=true", files=files).json()
    assert set(series["volumes_ml"]) == {"bright"}
    assert series["mask"].startswith("data:application/gzip;base64,")


def test_a_file_that_is_none_is_named_as_its_sender_named_it(web: httpx.Client, picture: Any) -> None:
    files = [("file", ("../../bad.png", b"not a picture")), ("file", ("good.png", png(picture)))]
    response = web.post("/predict/toy-classify", files=files)
    bad, good = response.json()
    assert response.status_code == 200
    assert bad["input"] == "bad.png"
    assert bad["error"].startswith("bad.png: ")
    assert "label" in good
    alone = web.post("/predict/toy-classify", files=files[:1])
    assert alone.status_code == 400
    assert "medzoo-" not in alone.text
    assert web.post("/predict/toy-classify", content=b"").status_code == 400


def test_a_token_guards_everything_but_health_and_the_page(
    toy_graphs: dict[str, Path], start: Callable[..., Server]
) -> None:
    import tritonclient.grpc as by_grpc
    from tritonclient.utils import InferenceServerException

    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")], token="secret words")
    with httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}") as web:
        assert web.get("/v2/health/ready").status_code == 200
        assert "<title>medzoo" in web.get("/").text
        for path in ("/v2", "/metrics", "/v2/models/toy-segment", "/v2/repository/index"):
            assert web.get(path).status_code == 401, path
            assert web.get(path, headers={"Authorization": "Bearer other"}).status_code == 401
            assert web.get(path, headers={"Authorization": "Bearer secret words"}).status_code == 200
    with by_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        assert client.is_server_ready()
        with pytest.raises(InferenceServerException, match="bearer token"):
            client.get_model_metadata("toy-segment")
        assert client.get_model_metadata("toy-segment", headers={"authorization": "Bearer secret words"})


def test_bounds_on_a_request(toy_graphs: dict[str, Path], start: Callable[..., Server]) -> None:
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")], max_body=10_000)
    with httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}") as web:
        address = "/v2/models/toy-segment/infer"
        assert web.post(address, json=question()).status_code == 200
        assert web.post(address, json=question(side=200)).status_code == 413
        assert web.post(address, content=(b" " * 6000 for _ in range(4))).status_code == 413  # no length is given
        bomb = gzip.compress(b" " * 5_000_000)
        assert len(bomb) < 10_000
        response = web.post(address, content=bomb, headers={"Content-Encoding": "gzip"})
        assert response.status_code == 413
        assert "the decompressed body is larger" in response.json()["error"]
    import tritonclient.grpc as by_grpc
    from tritonclient.utils import InferenceServerException

    with by_grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}") as client:
        tensor = by_grpc.InferInput("image", [1, 1, 200, 200], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 1, 200, 200), np.float32))
        with pytest.raises(InferenceServerException, match="larger than max") as caught:
            client.infer("toy-segment", [tensor])
        assert "RESOURCE_EXHAUSTED" in str(caught.value.status())


def test_a_full_queue_is_reported_and_a_deadline_kept(
    toy_graphs: dict[str, Path], start: Callable[..., Server]
) -> None:
    backend = Slow(toy_graphs["segment"])
    server = start([backend], max_queue=2, max_batch_size=1)
    statuses: list[int] = []

    def ask() -> None:
        address = f"http://127.0.0.1:{server.http_port}/v2/models/toy-segment/infer"
        statuses.append(httpx.post(address, json=question(), timeout=30).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(statuses) < 5:
        time.sleep(0.01)
    assert statuses == [429] * 5  # one runs, two wait
    late = httpx.post(
        f"http://127.0.0.1:{server.http_port}/v2/models/toy-segment/infer",
        json=question(parameters={"timeout": 1000}),
    )
    assert late.status_code == 429
    assert late.headers["retry-after"] == "1"
    backend.go.set()
    for thread in threads:
        thread.join(20)
    assert sorted(statuses) == [200] * 3 + [429] * 5
    backend.go.clear()
    late = httpx.post(
        f"http://127.0.0.1:{server.http_port}/v2/models/toy-segment/infer",
        json=question(parameters={"timeout": 50_000}),
    )
    backend.go.set()
    assert late.status_code == 504


def test_a_client_that_goes_away_is_dropped(toy_graphs: dict[str, Path], start: Callable[..., Server]) -> None:
    backend = Slow(toy_graphs["segment"])
    server = start([backend], max_batch_size=1)
    body = json.dumps(question()).encode()
    head = (
        f"POST /v2/models/toy-segment/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    with socket.create_connection(("127.0.0.1", server.http_port)) as first:
        first.sendall(head + body)
        while backend.runs < 1:
            time.sleep(0.005)
        with socket.create_connection(("127.0.0.1", server.http_port)) as second:
            second.sendall(head + body)
            while len(server.repository.models["toy-segment"].batcher) < 1:
                time.sleep(0.005)
        while server.repository.active_requests > 1:
            time.sleep(0.005)
        backend.go.set()
        assert first.recv(100).startswith(b"HTTP/1.1 200")
    assert httpx.get(f"http://127.0.0.1:{server.http_port}/v2/health/ready").status_code == 200
    assert backend.runs == 1


def test_grpc_says_full_and_late_and_drops_what_is_cancelled(
    toy_graphs: dict[str, Path], start: Callable[..., Server]
) -> None:
    import grpc
    from tritonclient.grpc import service_pb2

    backend = Slow(toy_graphs["segment"])
    server = start([backend], max_queue=1, max_batch_size=1)
    request = service_pb2.ModelInferRequest(model_name="toy-segment")
    request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 2, 2])
    request.raw_input_contents.append(np.zeros(4, np.float32).tobytes())
    raw = request.SerializeToString()
    queue = server.repository.models["toy-segment"].batcher
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        first = infer.future(raw, timeout=30)
        while backend.runs < 1:
            time.sleep(0.005)
        second = infer.future(raw, timeout=30)
        while len(queue) < 1:
            time.sleep(0.005)
        with pytest.raises(grpc.RpcError) as full:
            infer(raw, timeout=30)
        assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        second.cancel()
        while server.repository.active_requests > 1:
            time.sleep(0.005)
        # Its place is free again: this one waits there, until its time is over.
        with pytest.raises(grpc.RpcError) as late:
            infer(raw, timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        backend.go.set()
        assert first.result(20)
    assert backend.runs == 1


def test_metrics_count_what_happened(toy_graphs: dict[str, Path], start: Callable[..., Server]) -> None:
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu")])
    with httpx.Client(base_url=f"http://127.0.0.1:{server.http_port}") as web:
        for _ in range(3):
            web.post("/v2/models/toy-segment/infer", json=question())
        web.post("/v2/models/toy-segment/infer", json={})
        web.post("/v2/models/patient-smith/infer", json={})
        text = web.get("/metrics").text
    assert 'medzoo_requests_total{model="toy-segment",outcome="ok",protocol="http"} 3.0' in text
    assert 'medzoo_requests_total{model="toy-segment",outcome="invalid",protocol="http"} 1.0' in text
    assert 'medzoo_requests_total{model="",outcome="unknown",protocol="http"} 1.0' in text
    assert 'medzoo_compute_seconds_count{model="toy-segment"} 3.0' in text
    assert "smith" not in text


def test_logs_are_json_and_say_nothing_of_the_patient(
    toy_server: Server, web: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    from medzoo.serve.logs import JsonLines

    with caplog.at_level(logging.INFO, "medzoo.serve"):
        web.post("/predict/toy-classify?name=smith-john.png", files={"file": ("smith-john.png", b"damaged")})
        web.post("/v2/models/toy-segment/infer", json=question(id="smith-john"))
        web.post("/v2/models/smith-john/infer", json={})
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name == "medzoo.serve"]
    assert [(line["protocol"], line["outcome"]) for line in lines if line["event"] == "request"] == [
        ("upload", "invalid"),
        ("http", "ok"),
        ("http", "unknown"),
    ]
    assert "smith" not in json.dumps(lines)
    try:
        raise ValueError("smith-john")
    except ValueError:
        record = logging.LogRecord("uvicorn.error", 40, "x", 1, "smith-john", None, __import__("sys").exc_info())
    line = JsonLines().format(record)
    assert "smith" not in line
    assert json.loads(line)["exception"] == "ValueError"


def test_nothing_that_is_malformed_breaks_the_server(web: httpx.Client) -> None:
    """300 requests, each a valid one with something broken: 4xx or, where the change was harmless, 200."""
    rng = np.random.default_rng(0)
    image = np.zeros((1, 1, 4, 4), np.float32)
    head, tails = build_request({"image": image}, ["labels"])
    whole = b"".join([head, *tails])
    odd: list[Any] = [None, -1, 1e400, "x", [], {}, [[1], [2, 3]], True, 2**70, "\ud800", [None], float("nan"), 10**9]
    outcomes: set[int] = set()
    for number in range(300):
        headers = {}
        path = "/v2/models/toy-segment/infer"
        if number % 3 == 0:  # a field of a JSON request becomes something else
            document: Any = question(side=4, id="a", outputs=[{"name": "labels"}], parameters={})
            place = document
            for _ in range(int(rng.integers(0, 3))):
                inner = [
                    v for v in (place.values() if isinstance(place, dict) else place) if isinstance(v, dict | list)
                ]
                place = inner[int(rng.integers(len(inner)))] if inner else place
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            place[keys[int(rng.integers(len(keys)))] if keys else "x" if isinstance(place, dict) else slice(0)] = (
                odd[int(rng.integers(len(odd)))] if keys or isinstance(place, dict) else [1]
            )
            body = json.dumps(document).encode()
        elif number % 3 == 1:  # bytes of a binary request are changed, cut or repeated
            raw = bytearray(whole)
            for _ in range(int(rng.integers(1, 6))):
                raw[int(rng.integers(len(raw)))] = int(rng.integers(256))
            body = bytes(raw[: int(rng.integers(len(raw) + 1))]) if number % 2 else bytes(raw)
            headers[HEADER_LENGTH] = str(len(head))
        else:  # lengths, encodings and addresses that are not true
            body = rng.bytes(int(rng.integers(0, 200))) if number % 2 else whole
            headers[HEADER_LENGTH] = ["-1", "0", "99999999", "x", "", "1e3", "9" * 30][number % 7]
            if number % 5 == 0:
                headers["Content-Encoding"] = ["gzip", "deflate", "br"][number % 3]
            path = [path, "/predict/toy-segment", "/predict/toy-detect?series=1", "/v2/models/%2e%2e/infer"][number % 4]
            if number % 4 == 1:
                headers["Content-Type"] = ["multipart/form-data", "multipart/form-data; boundary=x"][number % 2]
        response = web.post(path, content=body, headers=headers)
        outcomes.add(response.status_code)
        assert response.status_code < 500, (number, response.status_code, response.text, body[:300])
        if response.headers["content-type"] == "application/json":
            response.json()
    assert 400 in outcomes
    assert web.post("/v2/models/toy-segment/infer", json=question()).status_code == 200
