"""Voxels that are not scored: by data.ignore in every layout of label maps, and nnU-Net's label "ignore"."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medzoo import registry
from medzoo.data.dataset import Dataset
from medzoo.errors import UserError
from medzoo.types import IGNORED

LABELS = ("none", "some")


def write(path: Path, array: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.eye(4)), path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One case whose label map has the values 0, 1 and 9, as nifti-pairs, msd and nnunet read it."""
    label = np.zeros((6, 5, 4), np.uint8)
    label[1:3], label[4:] = 1, 9
    write(tmp_path / "imagesTr" / "a_0000.nii.gz", np.random.default_rng(0).integers(1, 99, label.shape, np.uint8))
    write(tmp_path / "labelsTr" / "a.nii.gz", label)
    return tmp_path


def opened(root: Path, kind: str, document: dict[str, Any] | None = None, **params: Any) -> Dataset:
    if document is not None:
        (root / "dataset.json").write_text(json.dumps(document), encoding="utf-8")
    entry = registry.entry("data", kind)
    return entry.open(entry.params(root=root, **params), "segment", LABELS)


PAIRS = {"image": "imagesTr/{case}_0000.nii.gz", "label": "labelsTr/{case}.nii.gz"}
MSD = {
    "modality": {"0": "MR"},
    "labels": {"0": "none", "1": "some"},
    "training": [{"image": "imagesTr/a_0000.nii.gz", "label": "labelsTr/a.nii.gz"}],
}
NNUNET = {"channel_names": {"0": "MR"}, "labels": {"none": 0, "some": 1}, "file_ending": ".nii.gz"}


@pytest.mark.parametrize(
    ("kind", "document", "params"),
    [
        ("nifti-pairs", None, {**PAIRS, "ignore": (9,)}),
        ("msd", MSD, {"ignore": (9,)}),
        ("nnunet", NNUNET, {"ignore": (9,)}),
        ("nnunet", {**NNUNET, "labels": {"none": 0, "some": 1, "ignore": 9}}, {}),
    ],
)
def test_ignored_values_become_the_label_that_nothing_scores(
    root: Path, kind: str, document: dict[str, Any] | None, params: dict[str, Any]
) -> None:
    data = opened(root, kind, document, **params)
    (item,) = data.items()
    target = np.asarray(data.load(item).target)
    assert (target[4:] == IGNORED).all()
    assert (target[1:3] == 1).all()
    assert np.unique(target).tolist() == [0, 1, IGNORED]


@pytest.mark.parametrize(
    ("kind", "document", "params"), [("nifti-pairs", None, PAIRS), ("msd", MSD, {}), ("nnunet", NNUNET, {})]
)
def test_values_that_the_recipe_does_not_name_are_refused_in_one_line(
    root: Path, kind: str, document: dict[str, Any] | None, params: dict[str, Any]
) -> None:
    data = opened(root, kind, document, **params)
    with pytest.raises(UserError, match=r"a\.nii\.gz: the value 9 belongs to no label") as raised:
        data.load(data.items()[0])
    assert "\n" not in str(raised.value)
