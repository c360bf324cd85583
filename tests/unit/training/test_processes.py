"""Two processes on gloo train as one does; one that fails ends the other. Minutes, so marked long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.long
ROOT = Path(__file__).resolve().parents[3]
TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29713")


def start(folder: Path, *options: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "tests" / "unit" / "training" / "processes.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, script, str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, cwd=folder.parent)


@pytest.mark.parametrize("batch", ["6", "5"])
@pytest.mark.parametrize("launcher", [TORCHRUN, ()], ids=["torchrun", "by hand"])
def test_two_processes_give_the_weights_and_the_metrics_of_one(
    tmp_path: Path, launcher: tuple[str, ...], batch: str
) -> None:
    one = start(tmp_path / "one", "--batch", batch)
    assert one.returncode == 0, one.stderr
    two = start(tmp_path / "two", "--batch", batch, "--devices", "2", launcher=launcher)
    assert two.returncode == 0, two.stderr
    first, second = (torch.load(tmp_path / name / "weights.pt", weights_only=True) for name in ("one", "two"))
    for name, tensor in first.items():
        assert torch.allclose(tensor, second[name], atol=1e-5), name
    said = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    assert said[0]["steps"] == said[1]["steps"]
    assert said[0]["best"] == pytest.approx(said[1]["best"], abs=1e-6)
    assert said[0]["val"] == pytest.approx(said[1]["val"], rel=1e-5)
    assert [path.name for path in (tmp_path / "two").glob("written-by-*")] == ["written-by-0"]


@pytest.mark.parametrize("launcher", [TORCHRUN, ()], ids=["torchrun", "by hand"])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_an_error_in_one_process_ends_all_and_is_named(tmp_path: Path, launcher: tuple[str, ...], rank: str) -> None:
    begun = time.monotonic()
    ended = start(tmp_path / "two", "--devices", "2", "--die", rank, launcher=launcher)
    assert ended.returncode != 0
    assert "p05.png: is truncated" in ended.stderr + ended.stdout
    assert time.monotonic() - begun < 200
    assert not list((tmp_path / "two").glob("written-by-*"))


@pytest.mark.parametrize("launcher", [TORCHRUN, ()], ids=["torchrun", "by hand"])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_that_is_killed_ends_all_and_is_named(tmp_path: Path, launcher: tuple[str, ...], rank: str) -> None:
    ended = start(tmp_path / "two", "--devices", "2", "--die", rank, "--kill", launcher=launcher)
    assert ended.returncode != 0
    said = [line for line in (ended.stderr + ended.stdout).splitlines() if line.startswith("error: ")]
    assert len(said) == 1, ended.stderr
    how = "was ended by SIGKILL" if (rank, launcher) == ("1", ()) else "is gone"
    assert said[0] == f"error: process {rank} of 2 {how} (the last checkpoint is kept, continue with --resume)"
    assert not list((tmp_path / "two").glob("written-by-*"))
