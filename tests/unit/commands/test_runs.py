"""Runs that are held, resumed, repeated, folded and compared, on a folder of small pictures."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image as Pillow
from rich.console import Console
from safetensors.torch import save_file

from medzoo.artifact import ModelFolder
from medzoo.cli import main
from medzoo.commands.compare import compare
from medzoo.commands.reproduce import differences, reproduce
from medzoo.commands.train import train
from medzoo.commands.train_folds import cross_validate
from medzoo.errors import UserError
from medzoo.recipe import load_recipe
from medzoo.report.card import update_folder
from medzoo.training.fit import FitReport
from medzoo.training.processes import REQUEUE
from medzoo.training.run_folder import lock_run

QUIET = Console(quiet=True)
RECIPE = """medzoo: 1
name: toy
task: classify
labels: [dark, bright]
data: {type: image-folder, root: ROOT, split: {group: none, val: 0.2, test: 0.3, seed: 0}}
model: {type: lenet, variant: full, dropout: 0.2}
train: {epochs: 2, batch: 4, lr: 3e-3, ema: 0.9, checkpoint: {every_steps: 1}}
metrics: [auc, accuracy]
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe on 40 pictures of noise, whose brightness tells the class."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for k in range(40):
        kind = ("dark", "bright")[k % 2]
        (root / kind).mkdir(exist_ok=True)
        Pillow.fromarray((rng.random((36, 40)) * 120 + 80 * (k % 2)).astype(np.uint8)).save(root / kind / f"{k}.png")
    path = root.parent / f"{root.name}.yaml"
    path.write_text(RECIPE.replace("ROOT", str(root)))
    return path


@pytest.fixture(scope="module")
def trained(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(recipe, out=tmp_path_factory.mktemp("runs") / "toy", console=QUIET).folder


def test_a_second_run_into_a_folder_is_refused_while_the_first_goes_on(recipe: Path, tmp_path: Path) -> None:
    with lock_run(tmp_path), pytest.raises(UserError, match=rf"another training is writing .*process {os.getpid()}"):
        train(recipe, out=tmp_path, console=QUIET)
    with lock_run(tmp_path):  # let go of, as the system does when a process ends
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["train.lr=1e-2"], r"another recipe: 'lr: 0\.003', now 'lr: 0\.01'"),
        (["data.split.seed=1"], "another split of the data"),
    ],
)
def test_resume_is_refused_where_the_run_was_begun_with_something_else(
    recipe: Path, trained: Path, change: list[str], words: str
) -> None:
    before = (trained / "manifest.json").read_bytes()
    with pytest.raises(UserError, match=words) as caught:
        train(recipe, change, out=trained, resume=True, console=QUIET)
    assert "--force" in str(caught.value)
    assert (trained / "manifest.json").read_bytes() == before


def test_resume_is_refused_with_other_data_or_another_version_unless_forced(recipe: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(recipe, out=folder, console=QUIET)
    path = folder / "training" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_sha256": "0" * 64, "medzoo": "0.0.1"}))
    with pytest.raises(UserError) as caught:
        train(recipe, out=folder, resume=True, console=QUIET)
    assert "other data" in str(caught.value)
    assert "another version of medzoo: 0.0.1" in str(caught.value)
    train(recipe, out=folder, resume=True, force=True, console=QUIET)


def test_what_is_found_stands_in_the_recipe_and_a_resumed_run_does_not_look_again(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ["train.find=[batch, lr]", "train.steps_per_epoch=15"]
    folder = train(recipe, ask, out=tmp_path / "run", console=QUIET).folder
    found = load_recipe(folder / "recipe.yaml").train
    assert found.batch == 15 * 4 // 10  # such small pictures all fit: a tenth of an epoch
    assert 1e-6 < found.lr <= 1e-1
    assert found.find == ()
    monkeypatch.setattr("medzoo.training.batch_size.largest_batch", lambda *_, **__: pytest.fail("looks again"))
    train(recipe, ask, out=folder, resume=True, console=QUIET)
    assert load_recipe(folder / "recipe.yaml").train == found


@pytest.mark.parametrize("change", ["train.devices=2", "train.nodes=2"])
def test_finding_is_refused_where_processes_might_disagree(recipe: Path, tmp_path: Path, change: str) -> None:
    with pytest.raises(UserError, match=r"train\.find: .*cannot be searched in several processes"):
        train(recipe, ["train.find=[lr]", change], out=tmp_path / "run", console=QUIET)


def test_a_model_trained_again_is_the_same_and_what_differs_is_named(trained: Path, tmp_path: Path) -> None:
    found = reproduce(trained, out=tmp_path / "again", console=QUIET)
    assert found.weights_identical
    assert not found.differences
    assert found.lines()[0] == "recipe, data, split, versions and hardware are unchanged"
    assert "every metric is the same" in found.lines()
    with pytest.raises(UserError, match="is the folder of the model itself"):
        reproduce(trained, out=trained)


def test_what_differs_is_named_before_the_training_and_after(trained: Path, tmp_path: Path) -> None:
    old = ModelFolder.open(shutil.copytree(trained, tmp_path / "old"))
    made = {**old.manifest["environment"], "processor": "an abacus"}
    made["packages"] = {**made["packages"], "torch": "0.1"}
    update_folder(old, environment=made, data={**old.manifest["data"], "sha256": "0" * 64})
    with (tmp_path / "said").open("w") as file:
        found = reproduce(old.path, out=tmp_path / "again", console=Console(file=file, width=200))
    assert found.weights_identical
    assert set(found.differences) == {"processor", "package torch", "data"}
    told = (tmp_path / "said").read_text().splitlines()
    assert told.index(f"package torch: 0.1, now {torch.__version__.split('+')[0]}") < told.index(
        "toy: reading image-folder"
    )
    assert any(line.startswith("processor: an abacus, now ") for line in told)
    assert f"data: {'0' * 64}, now {ModelFolder.open(trained).manifest['data']['sha256']}" in found.lines()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"recipe_digest": "1"}, "recipe"),
        ({"split": {"digest": "1"}}, "split"),
        ({"seed": 7}, "seed"),
        ({"model": {"started_from": {"name": "w", "sha256": "1"}}}, "weights started from"),
        ({"environment": {"gpus": ["NVIDIA H100"], "packages": {}}}, "gpus"),
        ({"environment": {"gpus": [], "packages": {"timm": "1"}}}, "package timm"),
    ],
)
def test_each_thing_that_differs_has_its_name(change: dict[str, Any], name: str) -> None:
    one: dict[str, Any] = {
        "recipe_digest": "0",
        "data": {"sha256": "0"},
        "split": {"digest": "0"},
        "seed": 0,
        "model": {"started_from": {"name": "w", "sha256": "0"}},
        "environment": {"gpus": [], "packages": {}},
    }
    assert set(differences(one, {**one, **change})) == {name}
    assert not differences({**one, "model": {}}, {**one, "model": {}})


def test_a_pipeline_is_no_training() -> None:
    with pytest.raises(UserError, match=r"has no training of its own .*reproduce its members: breast-lesion-rcnn, "):
        reproduce("breast-cascade")


def test_the_weights_that_a_training_starts_from_are_known_by_their_digest(recipe: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    model = {"type": "timm", "network": "test_efficientnet", "weights": str(start), "size": [32, 32], "channels": 3}
    change = [f"model={json.dumps(model)}", "train.max_steps=1"]
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_file(timm.create_model("test_efficientnet", pretrained=False).state_dict(), start)
        if not seed:
            run = train(recipe, change, out=tmp_path / "run", console=QUIET)
            digest = hashlib.sha256(start.read_bytes()).hexdigest()
            assert run.manifest["model"]["started_from"] == {"name": str(start), "sha256": digest}
            assert (
                f"Initialised with the weights `{start}` (SHA-256 `{digest[:16]}`)"
                in (run.folder / "README.md").read_text()
            )
    with pytest.raises(UserError, match=f"other weights to start from: {digest[:12]}, now "):
        train(recipe, change, out=run.folder, resume=True, console=QUIET)


def test_models_are_compared_on_the_same_items(recipe: Path, trained: Path, tmp_path: Path) -> None:
    other = train(recipe, ["train.epochs=1", "train.lr=1e-5", "name=weak"], out=tmp_path / "weak", console=QUIET).folder
    found = compare([trained, other]).to_dict()
    assert found["models"] == ["toy", "weak"]
    assert found["recipes"]["train.lr"] == {"toy": 0.003, "weak": 1e-5}
    assert "train.batch" not in found["recipes"]
    difference = {f["name"]: f for f in found["differences"]["weak"]}["auc"]
    by_name = {m: {f["name"]: f["value"] for f in found["figures"][m]} for m in found["models"]}
    assert difference["value"] == pytest.approx(by_name["weak"]["auc"] - by_name["toy"]["auc"])
    assert difference["low"] <= difference["value"] <= difference["high"]
    again = compare([trained, trained]).to_dict()
    assert again["models"] == ["toy-1", "toy-2"]
    assert {f["value"] for f in again["differences"]["toy-2"]} == {0}
    with pytest.raises(UserError, match="at least two models"):
        compare([trained])
    split = train(recipe, ["data.split.seed=3", "name=else"], out=tmp_path / "else", console=QUIET).folder
    with pytest.raises(UserError, match="not scored on the same items"):
        compare([trained, split])


def test_folds_test_every_item_once_and_a_finished_fold_is_kept(recipe: Path, tmp_path: Path) -> None:
    found = cross_validate(recipe, ["train.epochs=1"], folds=2, out=tmp_path, console=QUIET, jobs=2)
    figure = next(f for f in found.metrics if f["name"] == "accuracy")
    assert figure["n"] == 40
    folds = [ModelFolder.open(tmp_path / f"fold-{k}") for k in range(2)]
    right = [
        f["value"] * f["n"] for fold in folds for f in fold.manifest["metrics"]["figures"] if f["name"] == "accuracy"
    ]
    assert figure["value"] == pytest.approx(sum(right) / 40)
    assert json.loads((tmp_path / "cross-validation.json").read_text())["folds"] == 2
    kept = (tmp_path / "fold-0" / "manifest.json").stat().st_mtime_ns
    cross_validate(recipe, ["train.epochs=1"], folds=2, out=tmp_path, console=QUIET, resume=True)
    assert (tmp_path / "fold-0" / "manifest.json").stat().st_mtime_ns == kept


@pytest.mark.long
def test_a_killed_command_that_is_resumed_leaves_the_same_weights(recipe: Path, trained: Path, tmp_path: Path) -> None:
    def command(*options: str) -> list[str]:
        return [sys.executable, "-m", "medzoo", "train", str(recipe), "-o", str(tmp_path / "cut"), *options]

    # Sums fall otherwise with another number of threads.
    environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    whole = ModelFolder.open(trained).manifest["files"]["model.safetensors"]["sha256"]
    first = subprocess.Popen(command(), env=environment, stderr=subprocess.DEVNULL)
    states = tmp_path / "cut" / "training" / "checkpoints"
    while len(list(states.glob("step-*.ckpt"))) < 2:
        assert first.poll() is None
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = subprocess.run(command("--resume"), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resumes from step" in done.stderr
    assert ModelFolder.open(tmp_path / "cut").manifest["files"]["model.safetensors"]["sha256"] == whole


def test_the_command_line_tells_the_differences(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(trained), str(trained)])
    assert not ended.value.code
    assert "toy-2 minus toy-1" in capsys.readouterr().out


def test_only_the_first_of_several_processes_writes(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they trained nothing together, as for a model that is solved."""
    monkeypatch.setattr("medzoo.training.fit.fit_gradient", lambda *_, **__: FitReport(1, 0.0))
    monkeypatch.setenv("SLURM_PROCID", "1")
    with pytest.raises(SystemExit) as ended:
        train(recipe, out=tmp_path / "run", console=QUIET)
    assert ended.value.code == 0
    with pytest.raises(SystemExit):
        train("breast-cascade", out=tmp_path / "run", console=QUIET)
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]


@pytest.mark.long
def test_sigterm_reaches_the_folds_which_go_on_later(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "folds"
    command = [sys.executable, "-m", "medzoo", "train", str(recipe), "-o", str(out), "--folds", "2", "--jobs", "2"]
    with (tmp_path / "said").open("wb") as log:
        first = subprocess.Popen([*command, "train.epochs=60"], stderr=log)
        states = [out / f"fold-{k}" / "training" / "checkpoints" for k in range(2)]
        while not all(list(place.glob("step-*.ckpt")) for place in states):
            assert first.poll() is None, (tmp_path / "said").read_text()
        first.send_signal(signal.SIGTERM)
        assert first.wait(120) == REQUEUE
    told = (tmp_path / "said").read_text()
    assert told.count("was stopped") == 2
    assert "go on with --resume" in told
    for k in range(2):
        assert "SIGTERM: the state is saved" in (out / f"fold-{k}" / "training" / "log.txt").read_text()
        with lock_run(out / f"fold-{k}"):  # nothing goes on by itself
            pass
    done = subprocess.run([*command, "train.epochs=60", "--resume"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all("resumes from step" in (out / f"fold-{k}" / "training" / "log.txt").read_text() for k in range(2))
