"""Launchers: this process by its environment, the Trainer's options, and a SLURM job that is requeued."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from medzoo.errors import UserError
from medzoo.recipe import TrainSection
from medzoo.training.checkpoints import Preempted, list_checkpoints
from medzoo.training.launch import ShardedStrategy, launch_local
from medzoo.training.processes import REQUEUE, is_main_process, is_restarted
from tests.unit.training.test_resume import run, same

SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_JOB_NAME": "toy",
    "SLURM_JOB_NODELIST": "localhost",
    "SLURM_NTASKS": "1",
    "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}


def test_the_first_process_is_the_one_of_rank_0_everywhere() -> None:
    assert is_main_process({})
    assert is_main_process({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": ""})
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        assert not is_main_process({"RANK": "0", name: "1"})
    assert is_restarted({"SLURM_RESTART_COUNT": "1"})
    assert is_restarted({"TORCHELASTIC_RESTART_COUNT": "2"})
    assert not is_restarted({"SLURM_RESTART_COUNT": "0"})


def test_fsdp_by_name_shards_over_gpus_and_is_refused_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    strategy = launch_local(TrainSection(strategy="fsdp", devices=4, nodes=2)).options["strategy"]
    assert isinstance(strategy, ShardedStrategy)
    assert strategy._state_dict_type == "full"
    wrap = strategy.kwargs["auto_wrap_policy"]
    layers = (torch.nn.Linear(2000, 1000), torch.nn.Linear(10, 10))
    assert [wrap(module=m, recurse=False, nonwrapped_numel=sum(p.numel() for p in m.parameters())) for m in layers] == [
        True,
        False,
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"train\.strategy: fsdp needs GPUs"):
        launch_local(TrainSection(strategy="fsdp"))


def test_slurm_is_read_as_lightning_reads_it_but_requeued_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    (environment,) = launch_local(TrainSection()).plugins
    assert type(environment).__name__ == "SLURMEnvironment"
    assert not environment.auto_requeue


def test_slurms_warning_saves_and_puts_the_job_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = run(tmp_path / "whole")
    script = tmp_path / "bin" / "scontrol"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent), prepend=os.pathsep)
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    before = signal.getsignal(signal.SIGUSR1)
    options: dict[str, Any] = {"checkpoint": {"every_steps": 1000}}
    with pytest.raises(Preempted) as ended:
        run(tmp_path / "cut", at=(1, 3), kill=signal.SIGUSR1, **options)
    assert ended.value.code == REQUEUE
    assert (tmp_path / "asked").read_text() == "requeue 4711\n"
    assert signal.getsignal(signal.SIGUSR1) is before
    assert len(list_checkpoints(tmp_path / "cut" / "checkpoints")) == 1
    resumed, _ = run(tmp_path / "cut", resume=True, **options)
    assert same(whole, resumed)
