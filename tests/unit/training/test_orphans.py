"""A worker never outlives its training, not even one that is killed while the worker starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
# The worker is three seconds from ready when its training is killed; only then torch's own guard notes the parent.
KILLED = """
import os, signal, threading, time
import torch
from torch.utils.data._utils import worker
from medzoo.inputs.batches import Loader

class Late(worker.ManagerWatchdog):
    def __init__(self):
        print("started", flush=True)
        time.sleep(3)
        super().__init__()

class Ones:
    def __len__(self):
        return 2
    def batch(self, epoch, step, *, rank=0, world=1):
        return torch.ones(1), torch.ones(1)

worker.ManagerWatchdog = Late
threading.Timer(1, os.kill, (os.getpid(), signal.SIGKILL)).start()
list(Loader(Ones(), workers=1))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_worker_ends_with_a_training_that_is_killed_as_it_starts() -> None:
    # Its standard output stays open as long as one of the two lives.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", KILLED], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9
    assert done.stdout == "started\n"
