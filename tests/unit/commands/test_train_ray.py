"""`train --engine ray`: what is refused here, and two workers of which one is killed in the middle."""

from __future__ import annotations

import builtins
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
from safetensors.numpy import load_file

from medzoo.artifact import ModelFolder
from medzoo.cli import main
from medzoo.commands.train_ray import train_on_ray
from medzoo.errors import UserError
from tests.unit.commands.test_predict_ray import below

RECIPE = """medzoo: 1
name: toy
task: classify
labels: [dark, bright]
data: {type: image-folder, root: ROOT, split: {group: none, val: 0.2, test: 0.3, seed: 0}}
model: {type: lenet, variant: full}
train: {epochs: 30, batch: 6, lr: 3e-3, optimizer: sgd, mixup: 0.2, monitor: auc, checkpoint: {every_steps: 1}}
metrics: [auc, accuracy]
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(40):
        kind = ("dark", "bright")[k % 2]
        (root / kind).mkdir(exist_ok=True)
        Pillow.fromarray((rng.random((36, 40)) * 120 + 80 * (k % 2)).astype(np.uint8)).save(root / kind / f"{k}.png")
    path = root.parent / f"{root.name}.yaml"
    path.write_text(RECIPE.replace("ROOT", str(root)))
    return path


def test_without_ray_one_line_says_how_to_get_it(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name == "ray" or name.startswith("ray."):
            raise ImportError(name)
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UserError, match=r"'ray' is not installed .*pip install 'medzoo\[ray\]'"):
        train_on_ray(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folds_are_no_work_for_ray(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["train", str(recipe), "--engine", "ray", "--folds", "2"])
    assert ended.value.code == 2
    assert "--engine ray: cross-validation runs its folds on this machine" in capsys.readouterr().err


def train(recipe: Path, folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "medzoo", "train", str(recipe), "-o", str(folder), *options]
    environment = {**os.environ, "RAY_raylet_start_wait_time_s": "300", "OMP_NUM_THREADS": "1"}
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log, env=environment)


@pytest.mark.long
def test_a_killed_worker_starts_again_and_the_run_ends_right(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    assert train(recipe, tmp_path / "one", "train.devices=1").wait(300) == 0
    process = train(recipe, tmp_path / "two", "train.devices=2", "--engine", "ray")
    states = tmp_path / "two" / "training" / "checkpoints"
    log = tmp_path / "two.log"
    try:
        end = time.monotonic() + 400
        while not [path for path in states.glob("step-*.ckpt") if int(path.name.split("-")[1]) >= 5]:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        victims = workers(process.pid)
        assert len(victims) == 2
        os.kill(victims[1], signal.SIGKILL)
        assert process.wait(400) == 0, log.read_text()
    finally:
        process.kill()
    assert "resumes from step" in log.read_text()
    one, two = (ModelFolder.open(tmp_path / name) for name in ("one", "two"))
    weights = [load_file(folder.file("model.safetensors")) for folder in (one, two)]
    for name, array in weights[0].items():
        np.testing.assert_allclose(array, weights[1][name], atol=1e-5, err_msg=name)
    figures = [{f["name"]: f["value"] for f in folder.manifest["metrics"]["figures"]} for folder in (one, two)]
    assert figures[0] == pytest.approx(figures[1])
    assert one.manifest["training"]["steps"] == two.manifest["training"]["steps"]
    ended = [json.loads((tmp_path / name / "training" / "run.json").read_text()) for name in ("one", "two")]
    assert ended[0]["data_sha256"] == ended[1]["data_sha256"]
    assert not (tmp_path / "two" / "training" / "refused.json").exists()


@pytest.mark.long
def test_a_worker_s_refusal_is_one_line(recipe: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    process = train(recipe, tmp_path / "run", "train.monitor=beauty", "train.devices=1", "--engine", "ray")
    assert process.wait(400) == 2
    said = (tmp_path / "run.log").read_text()
    assert "error: train.monitor: 'beauty' is not a validation metric" in said
    assert "Traceback" not in said


def workers(root: int) -> list[int]:
    """Process numbers of Ray Train's workers below `root`."""
    return [pid for pid, name in below(root).items() if "RayTrainWorker" in name]
