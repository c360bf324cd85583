"""`medzoo serve`: models by name or folder behind HTTP and gRPC, kept alive by a supervisor."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model
from medzoo.artifact.pipeline import pipeline_members
from medzoo.errors import UserError, missing_extra
from medzoo.escape import escaped
from medzoo.loading.backend import PrecisionName, open_backend
from medzoo.runtime.backends.devices import Device, GpuOptions, cuda_usable
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.pipeline import Pipeline
from medzoo.serve.settings import Settings

TOKEN = "MEDZOO_TOKEN"
_WORKER = "MEDZOO_SERVE_WORKER"
_SOCKET, _GRPC_PORT = "MEDZOO_SERVE_SOCKET", "MEDZOO_SERVE_GRPC_PORT"  # what a supervisor keeps for its workers


def serve(
    models: Sequence[str],
    settings: Settings,
    *,
    device: Device = "auto",
    precision: PrecisionName = "auto",
    gpu: GpuOptions | None = None,
    supervised: bool = True,
) -> int:
    """Serve until told to stop; returns the exit code.

    With `supervised`, this process only watches over another that serves. Raises UserError for a model or a
    port that cannot be had.
    """
    for package in ("uvicorn", "starlette", "grpc", "prometheus_client", "python_multipart"):
        if find_spec(package) is None:
            raise missing_extra(package, "serve")
    from medzoo.serve.logs import to_stderr

    to_stderr()
    is_worker = os.environ.get(_WORKER) == "1"
    if supervised and not is_worker:
        check_settings(settings)
        for model in models:  # a mistyped name is said here, in one line
            find_model(model)
        return _supervise(settings)
    listening = None
    if _SOCKET in os.environ:
        listening = socket.socket(fileno=int(os.environ[_SOCKET]))
    if _GRPC_PORT in os.environ:
        settings = replace(settings, grpc_port=int(os.environ[_GRPC_PORT]))
    from medzoo.serve.server import Server
    from medzoo.serve.sockets import raise_file_limit

    raise_file_limit()
    backends, pipelines = _opened(models, device=device, precision=precision, gpu=gpu)
    server = Server(backends, settings, pipelines)
    if is_worker:
        from medzoo.serve.supervisor import when_orphaned

        when_orphaned(server.stop)
    for served in server.repository.models.values():
        runs = f"{served.batcher.backend.device}, {served.metadata.precision}"
        print(f"{escaped(served.name)}: asked for {device}, {precision}; runs on {runs}", file=sys.stderr, flush=True)
    server.run(ready=_say_ready, listening=listening)
    return 0


def _supervise(settings: Settings) -> int:
    """Run this command as a worker process and restart it if it dies, on the same ports."""
    from medzoo.serve.sockets import free_port, listen
    from medzoo.serve.spool import FOLDER, Spool
    from medzoo.serve.supervisor import supervise

    command = [sys.executable, "-m", "medzoo", *sys.argv[1:]]
    environment = {**os.environ, _WORKER: "1"}
    if settings.grpc_port == 0:
        environment[_GRPC_PORT] = str(free_port(settings.host))
    with ExitStack() as stack:
        keep: tuple[int, ...] = ()
        if sys.platform != "win32":  # where a process inherits no socket by number
            listening = stack.enter_context(listen(settings.host, settings.http_port))
            environment[_SOCKET], keep = str(listening.fileno()), (listening.fileno(),)
        spool = Spool()
        stack.callback(spool.close)
        environment[FOLDER] = str(spool.path)
        return supervise(command, environment=environment, keep=keep, ended=spool.clear)


def check_settings(settings: Settings) -> None:
    """Raise UserError for an address, certificates or tokens that cannot be used, before anything is started."""
    from medzoo.serve.network import check_tls, require_protection
    from medzoo.serve.origin import OriginCheck
    from medzoo.serve.tokens import Tokens

    require_protection(settings)
    check_tls(settings)
    OriginCheck(settings)
    if settings.tokens is not None:
        Tokens(settings.tokens)


def read_token(path: Path | None) -> str | None:
    """Read the bearer token: from a file, else from $MEDZOO_TOKEN, else None. Never from the command line, which
    every user of the machine can read."""
    if path is None:
        return os.environ.get(TOKEN) or None
    from medzoo.serve.tokens import require_private

    try:
        with path.open(encoding="utf-8") as file:
            token, status = file.read().strip(), os.fstat(file.fileno())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the token cannot be read", where=str(path)) from error
    if not token:
        raise UserError("is empty, a token was expected", where=str(path))
    require_private(path, status)
    return token


def _opened(
    models: Sequence[str], *, device: Device, precision: PrecisionName, gpu: GpuOptions | None = None
) -> tuple[list[OnnxBackend], list[Pipeline]]:
    """Open and warm up the graphs to serve, members of pipelines included; returns them and the pipelines."""
    graphs: dict[Path, OnnxBackend] = {}
    pipelines = []
    # A GPU's first answer may take long, and nothing else would say what is being waited for.
    on_gpu = device != "cpu" and cuda_usable()

    def graph(path: Path) -> OnnxBackend:
        place = path.resolve()
        if place not in graphs:  # a member may be asked for by itself as well
            if on_gpu:
                print(f"{escaped(path.name)}: starting on the GPU", file=sys.stderr, flush=True)
            start = time.perf_counter()
            opened = open_backend(path, backend="onnx", device=device, precision=precision, gpu=gpu)
            assert isinstance(opened, OnnxBackend)
            opened.warm_up()
            if on_gpu:
                seconds = time.perf_counter() - start
                print(f"{escaped(path.name)}: first answer after {seconds:.1f} s", file=sys.stderr, flush=True)
            graphs[place] = opened
        return graphs[place]

    for model in dict.fromkeys(models):
        path = find_model(model)
        folder = ModelFolder.open(path) if path.is_dir() else None
        if folder is None or "members" not in folder.manifest:
            graph(path)
            continue
        members = {role: graph(member.path).metadata for role, member in pipeline_members(folder).items()}
        pipelines.append(Pipeline(name=folder.name, members=members))
    return list(graphs.values()), pipelines


def _say_ready(server: object) -> None:
    from medzoo.serve.server import Server
    from medzoo.serve.supervisor import notify_ready

    notify_ready()
    assert isinstance(server, Server)
    server.repository.start_decoders()
    settings = server.settings
    scheme = "https" if settings.certificate else "http"
    grpc = f", gRPC on port {server.grpc_port}" if server.grpc_port is not None else ""
    models = ", ".join(escaped(name) for name in server.repository.names)
    print(f"serving {models} on {scheme}://{settings.host}:{server.http_port}{grpc}", file=sys.stderr, flush=True)
    from medzoo.serve.network import is_loopback

    if not is_loopback(settings.host) and not (settings.authenticates and settings.certificate):
        missing = " and ".join(
            word for word, given in (("token", settings.authenticates), ("TLS", settings.certificate)) if not given
        )
        print(f"warning: others on the network can reach this server, and it has no {missing}", file=sys.stderr)
