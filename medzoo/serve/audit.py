"""The audit log: one JSON line per request, whatever its outcome; no pixels, no names of patients or files.

A line is written before its response is sent: if that fails (full disk), the request fails, and the server recovers
once the log can be written again. Each line is one write call, so it survives a crash of the server; with `fsync` it
also survives a power failure. A file that was renamed or removed (logrotate) is reopened.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from medzoo.errors import UserError
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.logs import log
from medzoo.serve.request_record import RequestRecord


class AuditLog:
    """Appends lines to the file at `path`. Raises UserError if it cannot be opened.

    `digests`: returns the SHA-256 of a model's file by name; for a pipeline, those of its members.
    """

    def __init__(
        self,
        path: Path,
        *,
        fsync: bool = False,
        digests: Callable[[str], str | Mapping[str, str] | None] = lambda name: None,
    ) -> None:
        self._path = path
        self._fsync = fsync
        self._digests = digests
        self._file = -1
        self._torn = False
        self._failing = False
        self._lock = threading.Lock()
        try:
            self._open()
        except OSError as error:
            raise UserError(f"cannot write the audit log: {error.strerror}", where=str(path)) from error

    async def write(self, record: RequestRecord) -> None:
        """Append the line of a request. Raises InferenceError if that fails."""
        line = self._line(record)
        try:
            if self._fsync:
                await asyncio.to_thread(self._append, line)
            else:
                self._append(line)
        except OSError as error:
            if not self._failing:
                log("audit log cannot be written", level=logging.ERROR, error=error)
            self._failing = True
            raise InferenceError(ErrorCode.UNRECORDED, "cannot write the audit log; try again later") from error
        if self._failing:
            self._failing = False
            log("audit log written again")

    def close(self) -> None:
        """Sync the file to disk and close it."""
        if self._file >= 0:
            try:
                os.fsync(self._file)
            except OSError as error:
                log("audit log cannot be written", level=logging.ERROR, error=error)
            os.close(self._file)
            self._file = -1

    def _line(self, record: RequestRecord) -> bytes:
        now = time.time()
        facts = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}Z",
            "request": record.id,
            "protocol": record.protocol,
            "client": record.client,
            "address": record.address,
            "model": record.model,
            "model_sha256": self._digests(record.model) if record.model else None,
            "input_sha256": record.digest.hexdigest() if record.received else None,
            "input_bytes": record.received,
            "files_sha256": record.files,
            "status": record.status,
            "outcome": record.outcome,
            "error": record.error or None,
            "seconds": round(time.perf_counter() - record.started, 6),
        }
        return json.dumps(facts).encode() + b"\n"

    def _append(self, line: bytes) -> None:
        with self._lock:
            self._append_alone(line)

    def _append_alone(self, line: bytes) -> None:
        self._reopen_if_rotated()
        # A line that a full disk cut off stays, as nothing written is ever changed; this one starts on a new line.
        whole = b"\n" + line if self._torn else line
        written = os.write(self._file, whole)
        if written < len(whole):
            self._torn = True
            raise OSError(None, "the line was cut off")
        self._torn = False
        if self._fsync:
            os.fsync(self._file)

    def _reopen_if_rotated(self) -> None:
        if self._file >= 0:
            held = os.fstat(self._file)
            try:
                there = self._path.stat()
            except FileNotFoundError:
                there = None
            if there is not None and (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino):
                return
            self.close()
        self._open()

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        size = os.fstat(self._file).st_size
        self._torn = size > 0 and os.pread(self._file, 1, size - 1) != b"\n"
