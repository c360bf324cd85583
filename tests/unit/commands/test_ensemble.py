"""Folds of a segmenter as one model: the mean of their probabilities, in one file, with the folds' own figures."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medzoo
from medzoo.artifact import ModelFolder
from medzoo.commands.ensemble import ensemble
from medzoo.commands.verify import verify
from medzoo.errors import UserError
from medzoo.loading.backend import torch_backend
from medzoo.runtime.backends.onnx import OnnxBackend

RECIPE = """
medzoo: 1
name: cubes
license: made here
task: segment
labels: [none, cube]
data:
  type: nifti-pairs
  root: {root}
  image: "{{patient}}/scan.nii.gz"
  label: "{{patient}}/label.nii.gz"
  allow_leaks: true
  split: {{group: patient, folds: 3, fold: 0}}
model: {model}
train: {{epochs: 1, steps_per_epoch: 6, batch: 2, lr: 1e-2, choose: last}}
metrics: [dice]
"""
VOLUMES = "{type: residual-unet, patch: [16, 16, 16], channels: [4, 8], components: validation}"
SLICES = "{type: unet, channels: [4, 4, 8, 8, 8], crop: 32}"


def train_folds(tmp_path: Path, model: str, *overrides: str) -> Path:
    rng = np.random.default_rng(0)
    for number in range(6):
        label = np.zeros((20, 18, 16), np.uint8)
        corner = rng.integers(1, 8, 3)
        label[tuple(slice(c, c + 7) for c in corner)] = 1
        scan = 100 + 80 * label + rng.normal(0, 8, label.shape)
        folder = tmp_path / "data" / f"p{number}"
        folder.mkdir(parents=True)
        nib.save(nib.Nifti1Image(scan.astype(np.int16), np.eye(4)), folder / "scan.nii.gz")
        nib.save(nib.Nifti1Image(label, np.eye(4)), folder / "label.nii.gz")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "data", model=model), encoding="utf-8")
    for fold in (0, 1, 2):
        changes = [f"data.split.fold={fold}", "data.split.test=null", *(overrides if fold else ())]
        medzoo.train(recipe, changes, out=tmp_path / "folds" / f"fold-{fold}")
    return tmp_path / "folds"


@pytest.mark.long
@pytest.mark.parametrize("model", [VOLUMES, SLICES])
def test_folds_become_one_file_that_averages_them(tmp_path: Path, model: str) -> None:
    folds = train_folds(tmp_path, model)
    folder = ensemble(folds, out=tmp_path / "joined")
    assert {check.name for check in verify(folder.path)} >= {"digests", "card"}
    members = [ModelFolder.open(folds / f"fold-{fold}") for fold in (0, 1, 2)]
    one, *others = (OnnxBackend(f.file("model.onnx"), device="cpu") for f in (folder, *members))
    shape = (1, 1, 16, 16, 16) if "residual" in model else (1, 1, 24, 40)
    image = np.random.default_rng(1).normal(100, 40, shape).astype(np.float32)
    mean = np.mean([other.run({"image": image})["probabilities"] for other in others], axis=0)
    found = one.run({"image": image})
    assert np.allclose(found["probabilities"], mean, atol=1e-4)
    assert np.allclose(torch_backend(folder, device="cpu").run({"image": image})["probabilities"], mean, atol=1e-4)
    assert not np.allclose(mean, others[0].run({"image": image})["probabilities"], atol=1e-3)
    # Every item is scored by the member that had not seen it.
    assert folder.manifest["metrics"]["items"] == 6
    dice = folder.manifest["metrics"]["figures"][0]["value"]
    assert dice == pytest.approx(np.mean([f.manifest["metrics"]["figures"][0]["value"] for f in members]), abs=1e-6)
    assert "3 folds" in folder.file("README.md").read_text(encoding="utf-8")
    scan = tmp_path / "data" / "p0" / "scan.nii.gz"
    assert medzoo.load(folder.path).predict(scan).mask.shape == (20, 18, 16)


@pytest.mark.long
def test_folds_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folds = train_folds(tmp_path, VOLUMES, "train.seed=4")
    with pytest.raises(UserError, match="another recipe"):
        ensemble(folds, out=tmp_path / "joined")
    for fold in (1, 2):
        (folds / f"fold-{fold}").rename(tmp_path / f"elsewhere-{fold}")
    with pytest.raises(UserError, match="1 folds, an ensemble needs two"):
        ensemble(folds, out=tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
