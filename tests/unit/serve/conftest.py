"""A server in a thread of the test's own process, on ports that the system chooses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.pipeline import Pipeline
from medzoo.serve.server import Server
from medzoo.serve.settings import Settings
from tests.unit.serve.graphs import write_graph


@contextmanager
def running(backends: list[Any], pipelines: Sequence[Pipeline] = (), **options: Any) -> Iterator[Server]:
    server = Server(backends, Settings(**{"http_port": 0, "grpc_port": 0, **options}), pipelines)
    ready = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            server.run(ready=lambda _: ready.set())
        except BaseException as error:
            failed.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    if failed:
        raise failed[0]
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def toy_graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An ONNX file of each task."""
    folder = tmp_path_factory.mktemp("graphs")
    return {task: write_graph(folder / f"{task}.onnx", task) for task in ("segment", "classify", "detect")}


@pytest.fixture(scope="session")
def toy_server(toy_graphs: dict[str, Path]) -> Iterator[Server]:
    """A server of all of them."""
    backends = [OnnxBackend(path, device="cpu", threads=1) for path in toy_graphs.values()]
    with running(backends) as server:
        yield server


@pytest.fixture
def start() -> Iterator[Callable[..., Server]]:
    """Starts further servers, which end with the test."""
    with ExitStack() as stack:
        yield lambda backends, **options: stack.enter_context(running(backends, **options))
