"""Cores are counted once, however many threads the processor runs on each."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medzoo.runtime.backends.devices import physical_cores

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system ties no process to cores")


def test_two_threads_of_one_core_are_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3, 5})
    for number, siblings in enumerate(("0,4", "1,5", "2,6", "3,7", "0,4", "1,5")):
        (tmp_path / str(number)).write_text(siblings + "\n")
    assert physical_cores(str(tmp_path / "{}")) == 4


def test_without_a_topology_each_processor_is_a_core(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 3})
    assert physical_cores(str(tmp_path / "{}")) == 2
