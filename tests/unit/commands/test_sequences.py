"""A model of two sequences, from the recipe to the command line: one does not stand for the other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medzoo.commands.predict import output_names
from medzoo.commands.train import train
from medzoo.errors import UserError
from medzoo.loading.load import load
from medzoo.types import Array

RECIPE = """
medzoo: 1
name: two
task: segment
labels: [background, lesion]
data:
  type: nifti-pairs
  root: {root}
  image: "{{patient}}/t1.nii.gz"
  channels: ["{{patient}}/flair.nii.gz"]
  label: "{{patient}}/lesion.nii.gz"
  split: {{group: patient, train: 5, val: 1, test: 2}}
preprocess: {{host: [{{op: orient, to: RAS}}, {{op: zscore}}]}}
model: {{type: patch-cnn, inputs: 2, slices: 3, kernel: 3, patch: 7, channels: [6, 6, 8], hidden: 8, dropout: 0}}
train: {{epochs: 1, steps_per_epoch: 150, batch: 128, lr: 1e-2}}
metrics: [dice]
"""


def block(seed: int) -> Array:
    i, j, k = np.random.default_rng(seed).integers(3, 11, 3)
    mask = np.zeros((24, 24, 16), np.uint8)
    mask[i : i + 9, j : j + 8, k // 2 : k // 2 + 7] = 1
    return mask


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright blocks in T1 that mean nothing, others in FLAIR that are the lesions."""
    root = tmp_path_factory.mktemp("two")
    for patient in range(8):
        draw = np.random.default_rng(patient)
        (root / f"p{patient}").mkdir()
        lesion = block(patient)
        for name, shown in (("t1", block(100 + patient)), ("flair", lesion)):
            tissue = gaussian_filter(draw.normal(0, 1, lesion.shape), 2)
            array = (draw.normal(100, 6, lesion.shape) + 15 * tissue / tissue.std() + 80 * shown).astype(np.float32)
            nib.save(nib.Nifti1Image(array, np.diag([1, 1, 2, 1.0])), root / f"p{patient}" / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(lesion, np.diag([1, 1, 2, 1.0])), root / f"p{patient}" / "lesion.nii.gz")
    (root / "two.yaml").write_text(RECIPE.format(root=root))
    return root


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return train(folder / "two.yaml", out=folder / "model").folder


def dice(mask: Array, truth: Array) -> float:
    return float(2 * ((mask == 1) & (truth == 1)).sum() / ((mask == 1).sum() + truth.sum()))


def test_two_sequences_are_predicted_as_they_were_learned(folder: Path, model: Path) -> None:
    said = json.loads((model / "manifest.json").read_text())["metrics"]
    scan = folder / "p7"
    predictor = load(model, device="cpu")
    mask = predictor.predict(f"{scan / 't1.nii.gz'},{scan / 'flair.nii.gz'}").mask
    assert dice(mask, block(7)) > 0.8
    assert dice(mask, block(107)) < 0.6
    assert next(figure["value"] for figure in said["figures"] if figure["name"] == "dice") > 0.8
    exchanged = predictor.predict(f"{scan / 'flair.nii.gz'},{scan / 't1.nii.gz'}").mask
    assert dice(exchanged, block(107)) > 0.7


def test_the_command_takes_them_as_one_input(folder: Path, model: Path, tmp_path: Path) -> None:
    scan = folder / "p6"
    joined = f"{scan / 't1.nii.gz'},{scan / 'flair.nii.gz'}"
    stacked = np.stack([np.asarray(nib.load(scan / f"{n}.nii.gz").dataobj) for n in ("t1", "flair")], axis=-1)
    nib.save(nib.Nifti1Image(stacked, np.diag([1, 1, 2, 1.0])), tmp_path / "both.nii.gz")
    inputs = [joined, str(tmp_path / "both.nii.gz"), str(scan / "flair.nii.gz")]
    command = [sys.executable, "-m", "medzoo", "predict", str(model), *inputs, "-o", str(tmp_path / "out"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    one, two, alone = json.loads(done.stdout)
    assert one["input"] == joined
    assert Path(one["mask"]).name == "t1_mask.nii.gz"
    masks = [np.asarray(nib.load(answer["mask"]).dataobj) for answer in (one, two)]
    assert masks[0].any()
    np.testing.assert_array_equal(*masks)
    assert alone["error"].startswith(f"{scan / 'flair.nii.gz'}: holds 1 sequence, but the model takes 2")
    assert "T1.nii.gz,FLAIR.nii.gz" in alone["error"]


def test_a_recipe_of_other_sequences_than_the_data_is_refused(folder: Path, tmp_path: Path) -> None:
    for inputs in (1, 3):
        with pytest.raises(UserError, match=rf"t1\.nii\.gz: holds 2 sequences, but the model takes {inputs}"):
            train(folder / "two.yaml", {"model.inputs": inputs}, out=tmp_path / "model")


def test_outputs_are_called_as_the_first_sequence(tmp_path: Path) -> None:
    names = output_names(["a/t1.nii.gz,a/flair.nii.gz", "b/t1.nii.gz,b/flair.nii.gz"])
    assert [str(name) for name in names] == ["a/t1", "b/t1"]
