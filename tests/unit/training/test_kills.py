"""Real SIGKILLs at random moments, of every family that learns by gradient. Minutes, so marked long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.training.killed_runs import FAMILIES

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.long
def test_twenty_of_twenty_killed_runs_end_bit_identical(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.unit.training.killed_runs", str(tmp_path / "runs"), "--kills", "20"]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    seed, *kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert "seed" in seed
    assert [kill["identical"] for kill in kills] == [True] * 20
    assert {kill["family"] for kill in kills} == set(FAMILIES)
    assert {kill["kill"] for kill in kills} == {"step", "write", "any"}
