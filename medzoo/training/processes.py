"""The process among those that a launcher started: torchrun, SLURM, Ray, or Lightning itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping

RANKS = ("RANK", "NODE_RANK", "LOCAL_RANK", "SLURM_PROCID")
REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: "try again later", what a scheduler may requeue on
INTERRUPTED = 130  # 128 + SIGINT, as shells count: Ctrl-C
RESTARTS = ("SLURM_RESTART_COUNT", "TORCHELASTIC_RESTART_COUNT")


def is_main_process(environment: Mapping[str, str] = os.environ) -> bool:
    """True in the process that writes; the others only compute."""
    return all(environment.get(name, "0") in ("", "0") for name in RANKS)


def is_restarted(environment: Mapping[str, str] = os.environ) -> bool:
    """True if a launcher restarted this job, so that it goes on as with --resume."""
    return any(environment.get(name, "0") not in ("", "0") for name in RESTARTS)


def ending_signals(environment: Mapping[str, str] = os.environ) -> tuple[signal.Signals, ...]:
    """The signals that make a training save its state and end: SIGTERM, and SLURM's early warning (--signal=USR1@90),
    as Lightning reads it."""
    return (signal.SIGTERM, *([signal.SIGUSR1] if "SLURM_JOB_ID" in environment else []))
