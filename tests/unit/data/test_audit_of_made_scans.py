"""The audit of generated scans compares their label maps, here real ones at a lower resolution."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import affine_transform

from medzoo import registry
from medzoo.data.audit.audit import audit
from medzoo.data.dataset import Dataset
from medzoo.data.layouts.brain_generator import LABELS
from medzoo.data.split import Split
from medzoo.types import Array


def small(maps: Path, number: int) -> nib.Nifti1Image:
    """Every second voxel of a label map."""
    whole = nib.load(maps / f"training_seg_{number:02}.nii.gz")
    affine = whole.affine @ np.diag([2, 2, 2, 1])
    return nib.Nifti1Image(np.asarray(whole.dataobj)[::2, ::2, ::2].astype(np.int16), affine)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    for number in (1, 2, 3):
        small(shared_data / "brain-labels", number).to_filename(folder / f"person_{number}.nii.gz")
    return folder


def opened(folder: Path, variants: int = 2) -> Dataset:
    entry = registry.entry("data", "brain-generator")
    return entry.open(entry.params.model_validate({"root": folder, "variants": variants}), "segment", LABELS)


def split(data: Dataset, side: Callable[[str], bool]) -> Split:
    names = [item.id for item in data.items()]
    test = tuple(name for name in names if side(name))
    return Split(tuple(n for n in names if n not in test), (), test, digest="", group="subject")


def test_the_scans_made_from_one_map_are_no_copies_of_each_other(people: Path) -> None:
    data = opened(people)
    report = audit(data, split(data, lambda name: name.startswith("person_3")))
    assert report.images == 6
    assert not report.leaks
    assert not report.findings


def turned(labels: Array) -> Array:
    """About the third axis, by two degrees."""
    c, s = np.cos(0.035), np.sin(0.035)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    middle = (np.array(labels.shape) - 1) / 2
    made: Array = affine_transform(labels, turn, middle - turn @ middle, order=0)
    return made


@pytest.mark.parametrize(
    ("kind", "change"),
    [("identical", lambda labels: labels), ("identical", lambda labels: np.roll(labels, 1, axis=1)), ("near", turned)],
    ids=["as it is", "moved", "turned"],
)
def test_a_map_under_another_name_on_the_other_side_is_a_leak(
    people: Path, shared_data: Path, tmp_path: Path, kind: str, change: Callable[[Array], Array]
) -> None:
    for file in people.iterdir():
        (tmp_path / file.name).symlink_to(file)
    again = small(shared_data / "brain-labels", 1)
    array = change(np.asarray(again.dataobj).astype(np.int16))
    nib.Nifti1Image(array, again.affine).to_filename(tmp_path / "zz.nii.gz")
    data = opened(tmp_path, variants=1)
    report = audit(data, split(data, lambda name: name.startswith("zz")))
    assert [(leak.kind, leak.a, leak.b) for leak in report.leaks] == [(kind, "person_1/000", "zz/000")]
