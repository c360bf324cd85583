"""Volumes that a network of volumes cannot take, at prediction and in a training: one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

import medzoo
from medzoo.errors import UserError
from medzoo.export.onnx_file import onnx_bytes
from medzoo.models.residual_unet import ResidualUNetParams, VolumeUNet
from medzoo.nn.net import Spec
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor

LABELS = ("none", "cube")
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
  split: {{group: patient, train: 2, val: 1, test: 1}}
model: {{type: residual-unet, patch: [16, 16, 16], channels: [4, 8]}}
train: {{epochs: 1, steps_per_epoch: 1, batch: 1}}
"""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    torch.manual_seed(0)
    params = ResidualUNetParams(patch=(16, 16, 16), channels=(4, 8))
    net = VolumeUNet(params, Spec("segment", LABELS)).eval()
    metadata = Metadata(
        name="cubes", task="segment", labels=LABELS, outputs=net.outputs, geometry=net.geometry,
        host=({"op": "spacing", "mm": 1.0},),
    )  # fmt: skip
    raw = onnx_bytes(net, metadata, example={"image": np.zeros((2, 1, 16, 16, 16), np.float32)})
    return Predictor(OnnxBackend(raw, where="cubes", device="cpu", threads=1))


def scan(path: Path, shape: tuple[int, ...], affine: Any = None) -> Path:
    array = np.random.default_rng(0).integers(1, 200, shape).astype(np.int16)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


@pytest.mark.parametrize("shape", [(5, 7, 9), (2, 40, 3), (16, 2, 17)])
def test_a_volume_smaller_than_a_patch_is_answered(
    predictor: Predictor, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    result = predictor.predict(scan(tmp_path / "small.nii.gz", shape))
    assert result.mask.shape == shape


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((20, 18, 1), "single slice"),
        ((1, 20, 18), "single slice"),
        ((12, 12, 12, 4), "4"),
        ((12, 12, 12, 2, 2), "axes|dimensions|shape"),
    ],
)
def test_one_slice_and_four_axes_are_refused(
    predictor: Predictor, tmp_path: Path, shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(UserError, match=words) as raised:
        predictor.predict(scan(tmp_path / "odd.nii.gz", shape))
    assert "\n" not in str(raised.value)
    assert "odd.nii.gz" in str(raised.value)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_spacing_of_zero_is_refused(predictor: Predictor, tmp_path: Path, axis: int) -> None:
    path = scan(tmp_path / "flat.nii", (12, 12, 12))
    raw = bytearray(path.read_bytes())
    raw[80 + 4 * axis : 84 + 4 * axis] = np.float32(0).tobytes()  # pixdim
    raw[252:256] = np.int16([0, 0]).tobytes()  # neither qform nor sform
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"spacing|pixdim|voxel") as raised:
        predictor.predict(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "no voxel of cube is in any of the 2 training scans"), (7, "the value 7 belongs to no label")],
)
def test_labels_that_are_nowhere_or_unknown_end_a_training_before_it_begins(
    tmp_path: Path, value: int, words: str
) -> None:
    for number in range(4):
        scan(tmp_path / "data" / f"p{number}" / "scan.nii.gz", (18, 17, 16))
        label = np.zeros((18, 17, 16), np.uint8)
        label[4:9, 4:9, 4:9] = value
        nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / "data" / f"p{number}" / "label.nii.gz")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(root=tmp_path / "data"), encoding="utf-8")
    with pytest.raises(UserError, match=words) as raised:
        medzoo.train(recipe, out=tmp_path / "run")
    lines = str(raised.value).splitlines()  # of label maps a line each
    assert len(lines) == (1 if value == 0 else 4)
    assert not list((tmp_path / "run").glob("model*"))
