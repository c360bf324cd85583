"""Scans as they come, through the whole Predictor: the place of the result must not depend on how they are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.results import Segmentation
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array

HOST = ({"op": "orient", "to": "RAS"}, {"op": "spacing", "mm": 1.0}, {"op": "zscore", "where": "nonzero"})


class Bright:
    """A graph that finds what is far brighter than the mean: one label, so that its place is known."""

    name, device = "made", "cpu"
    metadata = Metadata(
        name="bright",
        task="segment",
        labels=("background", "bright"),
        host=HOST,
        geometry=Geometry(margin=0, foreground="nonzero"),
    )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        return {"labels": (inputs["image"][:, 0] > 1.9).astype(np.uint8)}


def block() -> Array:
    """A dim box with a bright one in a corner of it, int16."""
    array = np.zeros((20, 24, 18), np.int16)
    array[3:17, 4:20, 2:15] = 100
    array[10:15, 12:18, 8:13] = 400
    return array


def answer(source: object) -> Segmentation:
    result = Predictor(Bright()).predict(source)
    assert isinstance(result, Segmentation)
    return result


def bright(mask: Array) -> bool:
    return np.array_equal(mask, (block() == 400).astype(np.uint8))


def turned(degrees: float) -> Array:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0, 5], [s, c, 0, -3], [0, 0, 1, 9], [0, 0, 0, 1]])


@pytest.mark.parametrize("degrees", [7, 30, 118])
def test_oblique_scans_are_predicted_on_their_own_grid(tmp_path: Path, degrees: float) -> None:
    path = tmp_path / "scan.nii.gz"
    nib.save(nib.Nifti1Image(block(), turned(degrees)), path)
    result = answer(path)
    assert bright(result.mask)
    result.save(tmp_path / "mask.nii.gz")
    saved = nib.load(tmp_path / "mask.nii.gz")
    assert np.allclose(saved.affine, turned(degrees), atol=1e-5)
    assert result.volumes_ml["bright"] == pytest.approx((block() == 400).sum() / 1000)


def test_byte_order_scale_and_format_make_no_difference(tmp_path: Path) -> None:
    big = nib.Nifti1Image(block().astype(">i2"), np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(big, tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == (348).to_bytes(4, "big")
    scaled = nib.Nifti1Image(block(), np.eye(4))
    scaled.header.set_slope_inter(0.25, 0)
    nib.save(scaled, tmp_path / "scaled.nii.gz")
    unsigned = nib.Nifti1Image(block().astype(np.uint16) * 160, np.eye(4))
    nib.save(unsigned, tmp_path / "unsigned.nii.gz")
    nib.save(nib.MGHImage(block(), np.eye(4)), tmp_path / "scan.mgz")
    for name in ("big.nii", "scaled.nii.gz", "unsigned.nii.gz", "scan.mgz"):
        assert bright(answer(tmp_path / name).mask), name


def test_a_scan_without_orientation_is_predicted_with_a_note(tmp_path: Path) -> None:
    image = nib.Nifti1Image(block(), None)
    image.header.set_sform(None, 0)
    image.header.set_qform(None, 0)
    nib.save(image, tmp_path / "scan.nii.gz")
    result = answer(tmp_path / "scan.nii.gz")
    assert bright(result.mask)
    assert "no orientation" in result.image.meta["assumed"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_single_slice_is_predicted_whichever_way_it_lies(axis: int) -> None:
    plane = np.take(block(), [12], axis=axis)
    expected = np.take(block() == 400, [12], axis=axis)
    assert np.array_equal(answer(nib.Nifti1Image(plane, np.eye(4))).mask, expected)


def test_anisotropic_and_fine_scans_come_back_on_their_own_grid() -> None:
    for spacing in ((0.5, 0.5, 3.0), (2.0, 1.0, 1.0)):
        result = answer(nib.Nifti1Image(block(), np.diag([*spacing, 1.0])))
        truth = block() == 400
        overlap = 2 * (truth & (result.mask == 1)).sum() / (truth.sum() + (result.mask == 1).sum())
        assert result.mask.shape == truth.shape
        assert overlap > 0.85, spacing


def test_scans_that_cannot_be_predicted_end_in_one_line(tmp_path: Path) -> None:
    sheared = np.eye(4)
    sheared[0, 1] = 0.3
    for name, array, affine, words in (
        ("sheared", block(), sheared, "sheared"),
        ("empty", block() * 0, np.eye(4), "every voxel is zero"),
        ("flat", np.full((8, 8, 8), 7, np.int16), np.eye(4), "constant"),
    ):
        path = tmp_path / f"{name}.nii.gz"
        nib.save(nib.Nifti1Image(array, affine), path)
        with pytest.raises(UserError, match=words) as caught:
            answer(path)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.long
def test_a_volume_of_512_cubed_is_predicted(tmp_path: Path) -> None:
    array = np.zeros((512, 512, 512), np.uint8)
    array[200:220, 300:324, 100:118] = block() // 4
    result = answer(nib.Nifti1Image(array, np.eye(4)))
    assert np.array_equal(result.mask[200:220, 300:324, 100:118] == 1, block() == 400)
    assert result.mask.sum() == (block() == 400).sum()
