"""Nothing of a patient stays on disk, however the worker or its supervisor ends; a worker that hangs is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from medzoo.serve.spool import FOLDER, Spool, clear_abandoned
from tests.unit.serve.test_serve_process import answers, free_port, wait_for, worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def supervised(
    toy_graphs: dict[str, Path], tmp_path: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int, Path, Path]]:
    """`medzoo serve`, its port, its folder for temporary files, and its log."""
    port, temporary, log = free_port(), tmp_path / "temporary", tmp_path / "log"
    temporary.mkdir()
    command = [sys.executable, "-m", "medzoo", "serve", str(toy_graphs["segment"]), "--device", "cpu"]
    command += ["--http-port", str(port), "--grpc-port", "-1"]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stderr=stream, env={**os.environ, "TMPDIR": str(temporary)})
    try:
        wait_for(lambda: answers(port))
        yield process, port, temporary, log
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(30)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


def upload_that_stays(port: int, temporary: Path, *, form: bool) -> socket.socket:
    """A request whose file lies on disk until its decoder, which is stopped, goes on."""
    raw = b"DOE^JANE" * 300_000
    if form:
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="DOE_JANE.nii"\r\n\r\n'
        raw, kind = head + raw + b"\r\n--x--\r\n", "multipart/form-data; boundary=x"
    else:
        kind = "application/octet-stream"
    connection = socket.create_connection(("127.0.0.1", port))
    request = f"POST /predict/toy-segment HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {kind}\r\n"
    connection.sendall(f"{request}Content-Length: {len(raw)}\r\n\r\n".encode() + raw)
    wait_for(lambda: files(temporary))
    return connection


def decoders_of(process: int) -> list[int]:
    def children(number: int) -> list[int]:
        return [int(n) for n in Path(f"/proc/{number}/task/{number}/children").read_text().split()]

    found = wait_for(lambda: [n for task in Path(f"/proc/{process}/task").iterdir() for n in _children(process, task)])
    return wait_for(lambda: children(found[0]) if len(children(found[0])) == 2 else [])


def _children(process: int, task: Path) -> list[int]:
    try:
        return [int(n) for n in (task / "children").read_text().split()]
    except OSError:  # a thread that has just ended
        return []


@pytest.fixture
def stop_decoders() -> Iterator[Callable[[int], None]]:
    """Stop the decoders of a worker; at the end they are killed, since a stopped process outlives all others."""
    stopped: list[int] = []

    def stop(process: int) -> None:
        for number in decoders_of(process):
            stopped.append(os.pidfd_open(number))
            os.kill(number, signal.SIGSTOP)

    yield stop
    for descriptor in stopped:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


@pytest.mark.parametrize("form", [False, True])
def test_a_killed_worker_leaves_nothing_of_an_upload(
    supervised: tuple[subprocess.Popen[bytes], int, Path, Path], stop_decoders: Callable[[int], None], form: bool
) -> None:
    supervisor, port, temporary, _ = supervised
    first = worker(supervisor.pid)
    assert first is not None
    stop_decoders(first)
    with upload_that_stays(port, temporary, form=form):
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not files(temporary))
    wait_for(lambda: answers(port))


def test_what_a_killed_supervisor_leaves_goes_with_its_worker_or_at_the_next_start(
    supervised: tuple[subprocess.Popen[bytes], int, Path, Path], stop_decoders: Callable[[int], None]
) -> None:
    supervisor, port, temporary, _ = supervised
    first = worker(supervisor.pid)
    assert first is not None
    stop_decoders(first)
    with upload_that_stays(port, temporary, form=False):
        os.kill(first, signal.SIGSTOP)
        supervisor.kill()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not Path(f"/proc/{first}").exists())
        assert files(temporary)
    supervisor.wait()
    Spool(temporary).close()  # the next server's
    assert not list(temporary.iterdir())


def test_a_stopped_worker_is_replaced(supervised: tuple[subprocess.Popen[bytes], int, Path, Path]) -> None:
    supervisor, port, temporary, log = supervised
    for times in range(1, 4):
        wait_for(lambda times=times: log.read_text().count('"event": "ready"') == times)
        first = worker(supervisor.pid)
        assert first is not None
        os.kill(first, signal.SIGSTOP)
        wait_for(lambda first=first: worker(supervisor.pid) not in (first, None))
        wait_for(lambda: answers(port))
    assert '"event": "worker hangs"' in log.read_text()
    supervisor.terminate()
    assert supervisor.wait(30) == 0
    assert not list(temporary.iterdir())


def test_a_spool_that_is_in_use_stays(tmp_path: Path) -> None:
    used = Spool(tmp_path)
    (used.path / "upload").write_text("x")
    (used.path / "folder").mkdir()
    (used.path / "folder" / "upload").write_text("x")
    other = Spool(tmp_path)
    assert sorted(files(tmp_path)) == [used.path / "folder" / "upload", used.path / "upload"]
    assert used.path.stat().st_mode & 0o77 == 0
    used.clear()
    assert files(tmp_path) == []
    other.close()
    assert list(tmp_path.iterdir()) == [used.path]
    used.close()
    assert not list(tmp_path.iterdir())


def test_what_only_looks_like_a_spool_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "elsewhere"
    kept.mkdir()
    (kept / "lock").touch()
    (tmp_path / "medzoo-serve-link").symlink_to(kept)
    (tmp_path / "medzoo-serve-notes").mkdir()
    (tmp_path / "medzoo-serve-file").touch()
    clear_abandoned(tmp_path)
    assert (kept / "lock").exists()
    assert len(list(tmp_path.iterdir())) == 4
    monkeypatch.setenv(FOLDER, str(kept))
    shared = Spool.shared()
    assert shared is not None
    (kept / "upload").touch()
    shared.close()  # the folder is its supervisor's
    assert sorted(path.name for path in kept.iterdir()) == ["lock"]
