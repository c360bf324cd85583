"""A pool of decoder processes that read uploaded files; each is replaced when it ends.

One file that exhausts its decoder's memory or time, or makes it crash, costs its own request and no other.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from medzoo.errors import Fault, UserError
from medzoo.io.limits import Limits
from medzoo.runtime.backends.batching import ClosedError, DeadlineError
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.runtime.protocol.tensors import InferenceRequest
from medzoo.serve.ipc import IpcError, receive, send
from medzoo.serve.logs import log

_POLL = 0.1  # seconds between two looks at whether a request is still wanted
_START = 30.0  # seconds
# Environment variables that decoders get; a token, for one, is not among them.
_PASSED = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "SYSTEMROOT")
_SET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "ORT_DISABLE_TELEMETRY": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
_FORK, _KILL, _NUMBER = b"f", b"k", 8


def supported() -> bool:
    """Return True if this system can pass sockets between processes; if not, the server's process reads the files."""
    return sys.platform != "win32" and hasattr(socket, "send_fds")


@dataclass
class _Decoder:
    """One process: its id, the socket to it, and the models that it knows."""

    number: int
    connection: socket.socket
    models: set[str] = field(default_factory=set)


class DecoderPool:
    """At most `count` decoder processes, of `memory` bytes beyond their idle size, which can read only `folder`.

    `seconds`: CPU time of one request. `limits`: the largest input. Decoders start with the first request, or with
    `start`.
    """

    def __init__(self, *, count: int, memory: int, seconds: float, limits: Limits, folder: Path) -> None:
        self.count, self.memory, self.seconds, self.limits, self.folder = count, memory, seconds, limits, folder
        self._idle: list[_Decoder] = []
        self._places = threading.BoundedSemaphore(count)
        self._lock = threading.Lock()
        self._source: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._closed = False

    def start(self) -> None:
        """Start the decoders before the first request."""
        with suppress(UserError):
            for decoder in [self._new() for _ in range(self.count)]:
                self._keep(decoder)

    def prepare(
        self,
        predictor: Predictor,
        path: Path,
        *,
        deadline: float,
        stopped: Callable[[], bool] = lambda: False,
        tile: Any = None,
    ) -> Prepared:
        """Run `predictor.prepare(path, tile=tile)` in a decoder.

        Raises UserError as `prepare` does and for a file that its decoder could not bear, DeadlineError at `deadline`
        (time.monotonic), and ClosedError once `stopped` says so.
        """
        name = predictor.metadata.name
        request = {
            "do": "prepare",
            "model": name,
            "path": str(path),
            "limits": asdict(self.limits),
            "only_pictures": predictor.only_pictures,
            "tile": predictor.tile_size(tile),
        }
        stored = predictor.metadata.model_dump_json
        value = self._ask(request, where=str(path), deadline=deadline, stopped=stopped, model=name, metadata=stored)
        if not isinstance(value, Prepared):
            raise IpcError("unexpected reply of a decoder")
        return predictor.to_input(value)

    def parse_request(self, body: Any, header: int | None, *, deadline: float) -> InferenceRequest:
        """Run `parse_request` in a decoder. Raises UserError and DeadlineError."""
        import numpy as np

        request = {"do": "parse_request", "body": np.frombuffer(body, np.uint8), "header": header}
        value = self._ask(request, where="the request", deadline=deadline, stopped=lambda: False)
        if not isinstance(value, InferenceRequest):
            raise IpcError("unexpected reply of a decoder")
        return value

    def _ask(
        self,
        request: dict[str, Any],
        *,
        where: str,
        deadline: float,
        stopped: Callable[[], bool],
        model: str | None = None,
        metadata: Callable[[], str] = str,
    ) -> Any:
        if not self._places.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise DeadlineError
        try:
            decoder = self._take()
            started = time.monotonic()
            try:
                if model is not None and model not in decoder.models:
                    request = {**request, "metadata": metadata()}
                    decoder.models.add(model)
                request = {**request, "seconds": min(self.seconds, max(0.0, deadline - time.monotonic()))}
                answer = self._record(decoder, request, deadline=deadline, stopped=stopped)
            except BaseException as error:
                self._end(decoder)
                if isinstance(error, OSError | IpcError):
                    log("decoder died")
                    if time.monotonic() - started > self.seconds:
                        raise UserError(
                            f"decoding exceeded the limit of {self.seconds:g} CPU seconds",
                            where,
                        ) from error
                    raise UserError("the decoder failed on this file", where, "is it damaged?") from error
                raise
            if answer["last"]:
                self._end(decoder)
            else:
                self._keep(decoder)
        finally:
            self._places.release()
        if "value" in answer:
            return answer["value"]
        if "fault" in answer:
            raise UserError.of([Fault(*fault) for fault in answer["fault"]])
        if answer["failed"] == "memory":
            most = f"decoding needs more than {self.memory >> 20} MB of memory"
            raise UserError(f"the file is too large for this server: {most}", where)
        log("decoder failed", exception=answer["exception"], place=answer["place"])
        raise UserError("the decoder failed on this file", where, "is it damaged?")

    def _record(
        self, decoder: _Decoder, request: dict[str, Any], *, deadline: float, stopped: Callable[[], bool]
    ) -> dict[str, Any]:
        send(decoder.connection, request)
        waiting = select.poll()
        waiting.register(decoder.connection, select.POLLIN)
        while not waiting.poll(1000 * _POLL):
            if stopped():
                raise ClosedError
            if time.monotonic() > deadline:
                raise DeadlineError
        answer = receive(decoder.connection)
        if not isinstance(answer, dict):
            raise IpcError("a decoder ended")
        return answer

    def _take(self) -> _Decoder:
        with self._lock:
            if self._closed:
                raise ClosedError
            while self._idle:
                decoder = self._idle.pop()
                if not _ended(decoder.connection):
                    return decoder
                self._forget(decoder)
        return self._new()

    def _keep(self, decoder: _Decoder) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(decoder)
                return
        self._end(decoder)

    def _new(self) -> _Decoder:
        with self._lock:
            if self._closed:
                raise ClosedError
            for attempt in (1, 2):
                try:
                    return self._fork()
                except OSError as error:
                    self._close_source()  # it died: the next one forks
                    if attempt == 2:
                        raise UserError("cannot start a decoder process; try again later") from error
        raise AssertionError

    def _fork(self) -> _Decoder:
        if self._control is None:
            self._open_source()
        assert self._control is not None
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [_FORK + self.memory.to_bytes(_NUMBER, "little")], [theirs.fileno()])
            number = self._control.recv(_NUMBER)
        if len(number) != _NUMBER:
            ours.close()
            raise ConnectionResetError
        return _Decoder(int.from_bytes(number, "little"), ours)

    def _open_source(self) -> None:
        ours, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in _PASSED if name in os.environ} | _SET
        with theirs:
            self._source = subprocess.Popen(
                [sys.executable, "-m", "medzoo.serve.decoder_process", str(theirs.fileno()), str(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.settimeout(_START)
        self._control = ours
        greeting = ours.recv(1)
        if greeting == b"0":
            log("decoders share the network: the system allows no network namespace")
        if not greeting:
            raise ConnectionResetError

    def _end(self, decoder: _Decoder) -> None:
        with self._lock:
            self._forget(decoder)

    def _forget(self, decoder: _Decoder) -> None:
        """Kill a decoder that may have ended already."""
        decoder.connection.close()
        if self._control is not None:
            with suppress(OSError):
                self._control.sendall(_KILL + decoder.number.to_bytes(_NUMBER, "little"))

    def _close_source(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        for decoder in self._idle:
            decoder.connection.close()
        self._idle.clear()
        if self._source is not None:
            self._source.kill()
            self._source.wait()
            self._source = None

    def close(self) -> None:
        """End every decoder; pending requests fail."""
        with self._lock:
            self._closed = True
            self._close_source()


def _ended(connection: socket.socket) -> bool:
    """Return True if an idle decoder has ended: only then is its socket readable."""
    looking = select.poll()
    looking.register(connection, select.POLLIN)
    return bool(looking.poll(0))
