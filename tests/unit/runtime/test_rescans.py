"""One head stored in several ways, through the released models: the same prediction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo import load
from medzoo.data.generator.scan import Look, synthesise
from medzoo.data.layouts.brain_generator import label_map
from medzoo.results import Segmentation
from medzoo.types import Array

EASY = Look(deformation=0.5, bias=0.6, gamma=0.5, noise=0.02, thick=0)


@pytest.fixture(scope="module")
def head(shared_data: Path) -> nib.Nifti1Image:
    """A synthetic scan of a label map that was left out of training, 8 slices of it."""
    labels, affine = label_map(shared_data / "brain-labels" / "training_seg_05.nii.gz")
    scan, _ = synthesise(labels, np.random.default_rng(5), EASY)
    return nib.Nifti1Image(np.ascontiguousarray(scan[:, :, 76:84]), affine)


def answer(name: str, image: nib.Nifti1Image) -> Array:
    result = load(Path("zoo") / name, device="cpu").predict(image)
    assert isinstance(result, Segmentation)
    return result.mask


def dice(one: Array, other: Array) -> Sequence[float]:
    return [2 * ((one == n) & (other == n)).sum() / ((one == n).sum() + (other == n).sum()) for n in (1, 2, 3)]


def test_flips_and_permutations_of_the_stored_axes_change_no_voxel(head: nib.Nifti1Image) -> None:
    expected = answer("brain-tissue", head)
    assert len(np.unique(expected)) == 4
    for axes in ("LPS", "IRA"):
        turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(head.affine), nib.orientations.axcodes2ornt(axes)
        )
        stored = head.as_reoriented(turn)
        assert nib.aff2axcodes(stored.affine) == tuple(axes)
        back = nib.Nifti1Image(answer("brain-tissue", stored), stored.affine)
        again = back.as_reoriented(
            nib.orientations.ornt_transform(
                nib.orientations.io_orientation(stored.affine), nib.orientations.io_orientation(head.affine)
            )
        )
        assert np.array_equal(np.asarray(again.dataobj), expected), axes


@pytest.mark.parametrize("name", ["brain-tissue", "brain-tissue-unet"])
def test_other_units_of_intensity_change_next_to_nothing(head: nib.Nifti1Image, name: str) -> None:
    stored = np.rint(np.asarray(head.dataobj) * 37.5).astype(np.uint16)
    other = answer(name, nib.Nifti1Image(stored, head.affine))
    assert min(dice(answer(name, head), other)) > 0.99
