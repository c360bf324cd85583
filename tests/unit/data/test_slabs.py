"""A volume cut into slabs: every slice with signal once at most, gaps between, each in its own place."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from medzoo.data.layouts.nifti_pairs import ENTRY
from medzoo.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "p1"
    folder.mkdir()
    array = np.zeros((20, 24, 40), np.float32)
    array[2:18, 2:22, 4:36] = 100
    lesions = np.zeros(array.shape, np.uint8)
    lesions[5:8, 6:10, 10:13] = 1
    lesions[10:12, 12:15, 30:32] = 1
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = 5, -7, 11
    nibabel.save(nibabel.Nifti1Image(array, affine), folder / "flair.nii.gz")
    nibabel.save(nibabel.Nifti1Image(lesions, affine), folder / "lesions.nii.gz")
    return tmp_path


def opened(root: Path, **changes: object):  # type: ignore[no-untyped-def]
    params = {"root": root, "image": "{patient}/flair.nii.gz", "label": "{patient}/lesions.nii.gz", **changes}
    return ENTRY.open(ENTRY.params.model_validate(params), "detect", ("lesion",))


def test_slabs_cover_the_signal_once_with_gaps_and_keep_their_place(root: Path) -> None:
    data = opened(root, slabs=4, gap=2)
    items = data.items()
    assert [(item.facts["start"], item.facts["stop"]) for item in items] == [(4, 10), (12, 18), (20, 26), (28, 36)]
    assert len({item.groups["slab"] for item in items}) == 4
    assert all("patient" not in item.groups for item in items)
    samples = [data.load(item) for item in items]
    assert [len(sample.target.boxes) for sample in samples] == [0, 1, 0, 1]
    last = samples[3]
    assert last.target.boxes.tolist() == [[10, 12, 2, 12, 15, 4]]
    # The same lesion in millimetres as in the whole volume.
    assert last.image.affine is not None
    np.testing.assert_allclose(last.image.affine @ [10, 12, 2, 1], [5 - 10, -7 + 24, 11 + 90, 1])


def test_one_slab_is_the_whole_volume(root: Path) -> None:
    (item,) = opened(root).items()
    assert item.groups["patient"] == "p1"
    assert len(opened(root).load(item).target.boxes) == 2


def test_more_slabs_than_slices_is_an_error(root: Path) -> None:
    with pytest.raises(UserError, match="too few slices"):
        opened(root, slabs=20, gap=3).items()
