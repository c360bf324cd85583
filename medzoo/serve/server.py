"""The server process: HTTP and gRPC in one event loop, from start to graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import uvicorn

from medzoo.errors import UserError, missing_extra
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.pipeline import Pipeline
from medzoo.serve.access import AccessControl
from medzoo.serve.connections import limited_protocol
from medzoo.serve.http_app import http_app
from medzoo.serve.logs import log
from medzoo.serve.memory import release_memory
from medzoo.serve.network import check_tls, report_handshakes, require_protection
from medzoo.serve.repository import ModelRepository
from medzoo.serve.settings import Settings
from medzoo.serve.sockets import listen
from medzoo.serve.supervisor import send_heartbeats


class Server:
    """Serves models until SIGTERM or SIGINT (in the main thread), or a call of `stop`."""

    def __init__(self, backends: Sequence[OnnxBackend], settings: Settings, pipelines: Sequence[Pipeline] = ()) -> None:
        self.repository = ModelRepository(backends, settings, pipelines)
        self.settings = settings
        try:
            require_protection(settings)
            self.access = AccessControl(self.repository)
        except UserError:
            self.repository.close()
            raise
        self.http_port = 0
        self.grpc_port: int | None = None
        self._grpc_connections: Any = None
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(
        self, *, ready: Callable[[Server], None] = lambda server: None, listening: socket.socket | None = None
    ) -> None:
        """Serve; `ready` is called once both ports accept requests. Raises UserError if a port cannot be opened.

        `listening`: an open HTTP socket to use in place of the settings' host and port.
        """
        try:
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                runner.run(self._run(ready, listening))
        finally:
            self.repository.close()
            self.access.close()

    def stop(self) -> None:
        """Finish active requests and end `run`; may be called from any thread."""
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)

    async def _run(self, ready: Callable[[Server], None], given: socket.socket | None) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._on_signals()
        settings = self.settings
        with given or listen(settings.host, settings.http_port) as listening:
            self.http_port = listening.getsockname()[1]
            check_tls(settings)
            config = uvicorn.Config(
                http_app(self.repository, self.access),
                http=limited_protocol(settings, self.access.report_refused),
                log_config=None,
                access_log=False,
                server_header=False,
                # Whoever is on this machine could write another address into the audit log.
                proxy_headers=False,
                lifespan="off",
                ws="none",
                timeout_keep_alive=30,
                h11_max_incomplete_event_size=64 << 10,
                ssl_certfile=settings.certificate,
                ssl_keyfile=settings.key,
                ssl_ca_certs=settings.client_ca,
                ssl_cert_reqs=ssl.CERT_NONE if settings.client_ca is None else ssl.CERT_REQUIRED,
            )
            config.load()
            if config.ssl is not None:
                report_handshakes(config.ssl, self.access.report_handshake)
            web = _Web(config)
            rpc = await self._start_grpc()
            serving = asyncio.create_task(web.serve(sockets=[listening]))
            while not web.started and not serving.done():
                await asyncio.sleep(0.005)
            log("ready", http_port=self.http_port, grpc_port=self.grpc_port, models=sorted(self.repository.names))
            ready(self)
            kept = [
                asyncio.create_task(send_heartbeats()),
                asyncio.create_task(release_memory(lambda: not self.repository.active_requests)),
            ]
            if self._grpc_connections is not None:
                kept.append(asyncio.create_task(self._grpc_connections.watch()))
            stopping = asyncio.create_task(self._stop.wait())
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            log("stopping", open=self.repository.active_requests)
            left = await self.repository.drain()
            if rpc is not None:
                await rpc.stop(5.0)
            web.should_exit = True
            web.force_exit = left > 0
            await serving
            for task in kept:
                task.cancel()
            log("stopped", unanswered=left)

    async def _start_grpc(self) -> Any:
        settings = self.settings
        if settings.grpc_port is None:
            return None
        try:
            import grpc
        except ImportError as error:
            raise missing_extra("grpcio", "serve") from error
        from medzoo.serve.grpc_connections import GrpcConnections
        from medzoo.serve.grpc_server import grpc_server

        self._grpc_connections = GrpcConnections(settings, lambda: self.grpc_port)
        server = grpc_server(self.repository, self.access, self._grpc_connections)
        address = f"{_bracketed(settings.host)}:{settings.grpc_port}"
        try:
            if settings.certificate is not None and settings.key is not None:
                pair = (settings.key.read_bytes(), settings.certificate.read_bytes())
                roots = settings.client_ca.read_bytes() if settings.client_ca is not None else None
                credentials = grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
                self.grpc_port = server.add_secure_port(address, credentials)
            else:
                self.grpc_port = server.add_insecure_port(address)
        except RuntimeError as error:
            raise UserError("cannot open the gRPC port", where=address, hint="is the port in use?") from error
        await server.start()
        return server

    def _on_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        assert self._stop is not None
        assert self._loop is not None
        for number in (signal.SIGTERM, signal.SIGINT):
            if sys.platform == "win32":
                signal.signal(number, lambda *_: self.stop())
            else:
                self._loop.add_signal_handler(number, self._stop.set)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's factory if it is installed (not on Windows): it transfers large bodies in half the time."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


class _Web(uvicorn.Server):
    """uvicorn without its signal handlers: the server drains before it closes."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
