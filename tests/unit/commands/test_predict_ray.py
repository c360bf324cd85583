"""`predict --engine ray`: order and completeness of what comes back, and a worker that dies in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import medzoo
from medzoo.commands.predict import expand_folders
from medzoo.commands.predict_ray import Worker, in_order
from medzoo.errors import UserError
from tests.unit.serve.graphs import write_graph


def row(number: int) -> dict[str, Any]:
    return {"number": number, "answer": json.dumps({"input": f"{number}.png"})}


def test_results_come_in_order_and_each_once() -> None:
    found = list(in_order(iter([row(2), row(0), row(1)]), 3))
    assert [one["input"] for one in found] == ["0.png", "1.png", "2.png"]
    with pytest.raises(UserError, match=r"1\.png: has two results"):
        list(in_order(iter([row(0), row(1), row(1)]), 3))
    with pytest.raises(UserError, match="1 of 3 inputs have no result"):
        list(in_order(iter([row(0), row(2)]), 3))


def test_a_folder_of_scans_is_its_files_and_a_series_is_one(tmp_path: Path) -> None:
    for name in ("b.png", "a.nii.gz", "deep/c.PNG", "notes.txt"):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "scans" / name).touch()
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1.dcm").touch()
    found = expand_folders([str(tmp_path / "scans"), str(tmp_path / "series"), "x.png"])
    assert [Path(text).name for text in found] == ["a.nii.gz", "b.png", "c.PNG", "series", "x.png"]


def test_a_worker_predicts_as_predict_does(tmp_path: Path) -> None:
    graph = write_graph(tmp_path / "classify.onnx", "classify")
    Pillow.fromarray(np.full((8, 8), 9, np.uint8)).save(tmp_path / "a.png")
    worker = Worker(str(graph), False, {"device": "cpu"})
    inputs = [str(tmp_path / "a.png"), str(tmp_path / "none.png")]
    bases = [str(tmp_path / "out" / name) for name in ("a", "none")]
    answered = worker(
        {
            "number": np.array([4, 5]),
            "input": np.array([*map(json.dumps, inputs)]),
            "base": np.array([*map(json.dumps, bases)]),
        }
    )
    first, second = (json.loads(text) for text in answered["answer"])
    assert list(answered["number"]) == [4, 5]
    assert json.loads((tmp_path / "out" / "a.json").read_text())["label"] == first["label"]
    assert "no such file" in second["error"]


@pytest.mark.long
def test_a_killed_worker_loses_no_result(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    graph = write_graph(tmp_path / "classify.onnx", "classify")
    scans, out, count = tmp_path / "scans", tmp_path / "out", 120
    scans.mkdir()
    for number in range(count):
        Pillow.fromarray(np.full((1500, 1500), number, np.uint8)).save(scans / f"{number:03}.png")
    command = [sys.executable, "-m", "medzoo", "predict", str(graph), str(scans), "-o", str(out), "--device", "cpu"]
    environment = {**os.environ, "RAY_raylet_start_wait_time_s": "300", "OMP_NUM_THREADS": "1"}
    with (tmp_path / "stdout").open("wb") as stream, (tmp_path / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [*command, "--engine", "ray", "--json"], stdout=stream, stderr=errors, env=environment
        )
        try:
            end = time.monotonic() + 600
            while len(list(out.glob("*.json"))) < 10:
                assert process.poll() is None, (tmp_path / "stderr").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
            victims = workers(process.pid)
            assert len(victims) >= 2
            os.kill(victims[0], signal.SIGKILL)
            before = len(list(out.glob("*.json")))
            assert process.wait(600) == 0, (tmp_path / "stderr").read_text()
        finally:
            process.kill()
    assert before < count
    answers = json.loads((tmp_path / "stdout").read_text())
    assert [Path(answer["input"]).name for answer in answers] == [f"{number:03}.png" for number in range(count)]
    p = [answer["probabilities"]["malignant"] for answer in answers]
    here = medzoo.load(graph, device="cpu").predict(sorted(scans.iterdir()))
    assert p == pytest.approx([answer.probabilities["malignant"] for answer in here], abs=2e-6)
    assert len(list(out.glob("*.json"))) == count


def workers(root: int) -> list[int]:
    """Process numbers of Ray's workers that hold the model, below `root`."""
    return [pid for pid, name in below(root).items() if "Worker" in name and name.startswith("ray::")]


def below(root: int) -> dict[int, str]:
    """Processes below `root` with their command lines."""
    parents, names = {}, {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            names[int(entry.name)] = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue

    def is_below(pid: int) -> bool:
        while pid in parents and pid != root:
            pid = parents[pid]
        return pid == root

    return {pid: name for pid, name in names.items() if is_below(pid)}
