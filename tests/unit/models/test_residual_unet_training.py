"""A recipe of a residual U-Net from scans to predictions: augmented patches, chosen components, windows in the file."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

import medzoo
from medzoo.artifact import ModelFolder
from medzoo.runtime.backends.onnx import OnnxBackend

RECIPE = """
medzoo: 1
name: cubes
task: segment
labels: [none, cube]
data:
  type: nifti-pairs
  root: {root}
  image: "{{patient}}/scan.nii.gz"
  label: "{{patient}}/label.nii.gz"
  allow_leaks: true
  split: {{group: patient, train: 4, val: 2, test: 2}}
preprocess: {{host: [{{op: zscore, where: all}}]}}
model: {{type: residual-unet, patch: [16, 16, 16], channels: [4, 8], mirror: [0], components: validation}}
train:
  epochs: 3
  steps_per_epoch: 20
  batch: 2
  lr: 1e-2
  schedule: poly
  choose: last
  augment: [{{op: affine, share: 0.5}}, {{op: mirror}}, {{op: noise}}, {{op: gamma, share: 0.3}}]
"""


def test_a_recipe_learns_and_its_file_tells_windows_and_components(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shapes = [(24, 20, 18), (12, 20, 20), (20, 16, 16), (30, 18, 20)]
    for number in range(8):
        shape = shapes[number % 4]
        label = np.zeros(shape, np.uint8)
        corner = [int(rng.integers(1, n - 8)) for n in shape]
        label[tuple(slice(c, c + 7) for c in corner)] = 1
        scan = 100 + 80 * label + rng.normal(0, 8, shape)
        folder = tmp_path / "data" / f"p{number}"
        folder.mkdir(parents=True)
        for name, array in (("scan", scan.astype(np.int16)), ("label", label)):
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 1.0, 1.0])), folder / f"{name}.nii.gz")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "data"))
    run = medzoo.train(recipe, out=tmp_path / "run")
    figure = next(f for f in run.manifest["metrics"]["figures"] if f["name"] == "dice")
    assert figure["value"] > 0.9
    assert run.manifest["calibration"]["components_items"] == 2
    metadata = OnnxBackend(ModelFolder.open(run.folder).file("model.onnx"), device="cpu").metadata
    assert metadata.geometry.window is not None
    assert metadata.geometry.window.size == (16, 16, 16)
    assert metadata.geometry.window.mirror == (0,)
    scan = tmp_path / "data" / "p0" / "scan.nii.gz"
    answers = [medzoo.load(run.folder, backend=backend).predict(scan).mask for backend in ("onnx", "torch")]
    assert answers[0].shape == (24, 20, 18)
    assert (answers[0] != answers[1]).mean() < 1e-3
