"""Everything works with the network off: in a process where a socket that leaves the machine is an error."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# Put in front of the command line: no connection, no name look-up, whoever asks.
BLOCKED = """
import socket, sys
def refuse(*arguments, **options):
    raise AssertionError(f"the network was asked for: {arguments}")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.getaddrinfo = socket.gethostbyname = socket.create_connection = refuse
import json
from medzoo.cli import main
for line in json.loads(sys.argv[1]):
    try:
        main(line)
    except SystemExit as end:
        if end.code:
            raise
"""


# ONNX Runtime reports to nobody where it believes to be tested.
TESTED = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")


def medzoo(*lines: list[str | Path], cwd: Path) -> str:
    """Standard output of several command lines in one process, whose HOME is cwd/home."""
    (cwd / "home").mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in TESTED}
    arguments = json.dumps([[str(word) for word in line] for line in lines])
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED, arguments],
        cwd=cwd,
        env=environment | {"HOME": str(cwd / "home")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_guard_itself_refuses(tmp_path: Path) -> None:
    code = BLOCKED.split("import json")[0] + "socket.create_connection(('127.0.0.1', 9))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "the network was asked for" in done.stderr


def test_nothing_is_kept_to_be_reported_to_anybody(tmp_path: Path) -> None:
    """Python's sockets are not those of ONNX Runtime, which leaves a queue of events in the user's cache."""
    environment = {name: value for name, value in os.environ.items() if name not in TESTED}
    arguments = ["predict", "lenet-mass", str(ROOT / "docs" / "images" / "phantom.png"), "-o", str(tmp_path / "out")]
    code = f"from medzoo.cli import main; main({arguments!r})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment | {"HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [str(path) for path in (tmp_path / "home").rglob("*") if "onnxruntime" in str(path).lower()] == []


def test_the_runtime_works_with_the_network_off(small_scan: Path, tmp_path: Path) -> None:
    phantom = ROOT / "docs" / "images" / "phantom.png"
    out = medzoo(
        ["list"],
        ["show", "breast-lesion-rcnn"],
        ["predict", "breast-lesion-rcnn", phantom],
        ["predict", "breast-mass-svm", phantom],
        ["predict", "breast-ultrasound-cnn", phantom],
        ["predict", "breast-cascade", phantom],
        ["predict", "brain-tissue-unet", small_scan],
        ["verify", "nodule-svm"],
        ["report", "nodule-svm"],
        ["fetch", "nodule-svm", "--from", ROOT / "zoo"],
        cwd=tmp_path,
    )
    assert out.count("phantom.png: ") == 4
    assert {path.name for path in (tmp_path / "home").glob(".cache/*")} <= {"medzoo", "matplotlib", "fontconfig"}
    assert "white-matter" in out
    assert "ok  parity" in out


@pytest.mark.long
def test_training_works_with_the_network_off(tiny_model: Path, small_scan: Path, tmp_path: Path) -> None:
    small = ["train.epochs=1", "train.steps_per_epoch=2", "model.channels=[4, 6, 8]", "model.hidden=8"]
    medzoo(
        ["train", ROOT / "recipes" / "brain-tissue-mni.yaml", *small, "-o", tmp_path / "run"],
        ["predict", tmp_path / "run", small_scan, "--backend", "torch"],
        ["evaluate", tiny_model],
        ["export", tiny_model, "-o", tmp_path / "out"],
        cwd=tmp_path,
    )
