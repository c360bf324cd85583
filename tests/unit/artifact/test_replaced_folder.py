"""A model folder whose replacing is killed at any step is the old one or the new one, whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from medzoo.artifact import ModelFolder, write_folder

OLD = {"model.onnx": b"old" * 1000, "README.md": b"# old\n", "parts/gone.png": b"old"}
NEW = {"model.onnx": b"new" * 1000, "README.md": b"# new\n", "parts/come.png": b"new", "split.json": b"{}"}

STEPS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "tempfile.mkdtemp"}


def run(work: Callable[[], object], fatal: int = 0) -> int:
    """Do `work` in a process that ends, as by a kill, before its step of number `fatal` of those that change the disk.

    The number of steps; -1 if it was killed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        steps = 0

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal steps
            if event not in STEPS or (event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3)):
                return
            steps += 1
            if steps == fatal:
                os._exit(9)

        code = 1
        try:
            sys.addaudithook(audit)
            work()
            os.write(writing, str(steps).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = os.read(reading, 100)
    os.close(reading)
    assert code in (0, 9)
    return int(said) if code == 0 else -1


def write(folder: Path, which: str) -> ModelFolder:
    return write_folder(folder, OLD if which == "old" else NEW, {"name": "toy", "state": which})


def state(folder: Path) -> str:
    """Of a folder that opens: which one it is; every byte of it is checked."""
    found = ModelFolder.open(folder)
    files = {name: (folder / name).read_bytes() for name in found.manifest["files"]}
    assert files == (NEW if found.manifest["state"] == "new" else OLD)
    return str(found.manifest["state"])


@pytest.mark.parametrize("before", ["old", "none"])
def test_killed_before_any_step_the_old_or_the_new_one_is_there(before: str, tmp_path: Path) -> None:
    def made(name: str) -> Path:
        if before == "old":
            write(tmp_path / name, "old")
        return tmp_path / name

    probe = made("probe")
    count = run(lambda: write(probe, "new"))
    assert count > 15
    seen = []
    for fatal in range(1, count + 1):
        folder = made(f"killed-{fatal}")
        assert run(partial(write, folder, "new"), fatal) == -1
        if before == "none" and not any((folder / at).exists() for at in ("manifest.json", ".new/manifest.json")):
            seen.append("none")
        else:
            seen.append(state(folder))
        if seen[-1] == "new":
            assert not list(folder.glob(".*"))
        write(folder, "new")  # whatever was left is in nobody's way
        assert state(folder) == "new"
        assert not list(folder.glob(".*"))
    assert set(seen) == {before, "new"}
    assert seen == sorted(seen, key=[before, "new"].index)


def test_killed_while_it_is_finished_it_is_finished_by_the_next(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    write(probe, "old")
    count = run(lambda: write(probe, "new"))
    committed = 0
    for fatal in range(count, 0, -1):  # the last step before which nothing was moved to its place yet
        write(probe, "old")
        run(partial(write, probe, "new"), fatal)
        if (probe / ".new" / "model.onnx").exists() and (probe / "parts" / "gone.png").exists():
            committed = fatal
            break
    assert committed
    for fatal in range(1, count - committed + 2):
        folder = tmp_path / f"again-{fatal}"
        write(folder, "old")
        assert run(partial(write, folder, "new"), committed) == -1
        run(partial(ModelFolder.open, folder), fatal)
        assert state(folder) == "new"


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment(seed: int, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, "old")
    code = (
        "import sys; from pathlib import Path; from medzoo.artifact import write_folder; print(flush=True)\n"
        f"while True:\n  write_folder(Path(sys.argv[1]), {NEW!r}, {{'name': 'toy', 'state': 'new'}})\n"
        f"  write_folder(Path(sys.argv[1]), {OLD!r}, {{'name': 'toy', 'state': 'old'}})\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.1))
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert state(folder) in ("old", "new")


def test_readers_see_no_mixture_while_it_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write(folder, "old")
    child = os.fork()
    if child == 0:
        try:
            for _ in range(10):
                write(folder, "new")
                write(folder, "old")
        finally:
            os._exit(0)
    seen = set()
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        seen.add(ModelFolder.open(folder).manifest["state"])
    assert seen <= {"old", "new"}
    assert state(folder) == "old"
