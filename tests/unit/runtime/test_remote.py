"""`medzoo.load` of a server's URL predicts as the graph itself does; each failure is one line."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

import medzoo
from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.backends.remote import RemoteBackend, is_url
from medzoo.runtime.predictor import Predictor
from medzoo.serve.server import Server
from medzoo.types import Image
from tests.unit.serve.conftest import running
from tests.unit.serve.graphs import write_graph


@pytest.fixture(scope="module")
def server_and_graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, dict[str, Path]]:
    folder = tmp_path_factory.mktemp("remote")
    host = ({"op": "orient", "to": "RAS"},)
    graphs = {
        task: write_graph(folder / f"{task}.onnx", task, host=host if task == "segment" else ())
        for task in ("segment", "classify", "detect")
    }
    with running([OnnxBackend(path, device="cpu") for path in graphs.values()]) as server:
        yield server, graphs


def address(server: Server, scheme: str, model: str) -> str:
    return f"{scheme}://127.0.0.1:{server.http_port if scheme == 'http' else server.grpc_port}/{model}"


@pytest.mark.parametrize("scheme", ["http", "grpc"])
@pytest.mark.parametrize("task", ["segment", "classify", "detect"])
def test_a_remote_model_gives_the_same_result(
    server_and_graphs: tuple[Server, dict[str, Path]], scheme: str, task: str
) -> None:
    server, graphs = server_and_graphs
    rng = np.random.default_rng(0)
    # Stored left to right reversed and with axes exchanged, so that the host step has work to do here.
    affine = np.array([[0, 0, -2, 9], [3, 0, 0, 1], [0, 1, 0, 4], [0, 0, 0, 1]], float)
    volume = Image(rng.uniform(0, 255, (1, 6, 9, 7)).astype(np.float32), affine, "made")
    picture = Image(rng.uniform(0, 255, (1, 12, 17)).astype(np.float32), None, "made")
    image = volume if task == "segment" else picture
    here = Predictor(OnnxBackend(graphs[task], device="cpu")).predict(image)
    there = medzoo.load(address(server, scheme, f"toy-{task}")).predict(image)
    assert {**there.to_dict(), "seconds": 0} == {**here.to_dict(), "seconds": 0}
    if task == "segment":
        assert np.array_equal(there.mask, here.mask)
        assert np.array_equal(there.mask, volume.array[0] > 100)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_threads_share_a_remote_backend(server_and_graphs: tuple[Server, dict[str, Path]], scheme: str) -> None:
    backend = RemoteBackend(address(server_and_graphs[0], scheme, "toy-segment"))
    wrong: list[int] = []

    def ask(number: int) -> None:
        for _ in range(5):
            labels = backend.run({"image": np.full((2, 1, 3, 3), number * 60, np.float32)}, ["labels"])["labels"]
            if not (labels == (number * 60 > 100)).all():
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_mistakes_are_one_line(server_and_graphs: tuple[Server, dict[str, Path]], scheme: str) -> None:
    server, _ = server_and_graphs
    with pytest.raises(UserError, match="no model named 'toy-nothing'"):
        medzoo.load(address(server, scheme, "toy-nothing"))
    backend = RemoteBackend(address(server, scheme, "toy-segment"))
    with pytest.raises(UserError, match=r"got \[1, 2, 4, 4\]"):
        backend.run({"image": np.zeros((1, 2, 4, 4), np.float32)})
    with pytest.raises(UserError, match="cannot connect to the server"):
        medzoo.load(f"{scheme}://127.0.0.1:1/toy-segment")
    with pytest.raises(UserError, match="not a valid model URL"):
        RemoteBackend(f"{scheme}://127.0.0.1:8000/")


def test_what_is_a_url() -> None:
    assert is_url("http://host:8000/name")
    assert is_url("grpcs://host/name")
    assert not is_url("brain-tissue")
    assert not is_url(Path("http://host/x"))
