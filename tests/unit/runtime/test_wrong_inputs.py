"""Inputs unlike those of a model's training are refused or noted, never predicted in silence."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

import medzoo
from medzoo.errors import UserError
from medzoo.report.summary import result_line
from medzoo.types import Array

PHANTOM = Path(__file__).resolve().parents[3] / "docs" / "images" / "phantom.png"
OF_EIGHT_BITS = ("breast-ultrasound-cnn", "lenet-mass", "breast-mass-svm", "breast-lesion-rcnn")


@pytest.fixture(scope="module")
def grey() -> Array:
    with Pillow.open(PHANTOM) as opened:
        return np.asarray(opened.convert("L"))


@pytest.mark.parametrize("name", OF_EIGHT_BITS)
def test_sixteen_bits_are_refused_by_what_learnt_eight(name: str, grey: Array, tmp_path: Path) -> None:
    Pillow.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")
    with pytest.raises(
        UserError, match=rf"deep\.png: the picture has 16 bits per pixel, but {name} was trained on 8-bit pictures"
    ):
        medzoo.load(name).predict(tmp_path / "deep.png")
    with pytest.raises(UserError, match=f"the picture has values up to 6.*, but {name} was trained"):
        medzoo.load(name).predict(grey.astype(np.float32) * 257)


def test_sixteen_bits_that_hold_eight_are_predicted_as_eight(grey: Array) -> None:
    model = medzoo.load("breast-ultrasound-cnn")
    assert model.predict(grey.astype(np.uint16)).probabilities == model.predict(grey).probabilities


def test_a_volume_is_refused_by_a_detector_of_pictures(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(np.ones((40, 40, 20), np.uint8), np.eye(4)), tmp_path / "scan.nii")
    with pytest.raises(UserError, match=r"scan\.nii: this is a volume; breast-lesion-rcnn takes 2D pictures"):
        medzoo.load("breast-lesion-rcnn").predict(tmp_path / "scan.nii")


def test_what_is_no_mask_is_refused_as_one(grey: Array, tmp_path: Path) -> None:
    model = medzoo.load("breast-mass-svm")
    mask = np.zeros(grey.shape, np.uint8)
    mask[110:190, 190:330] = 255
    Pillow.fromarray(mask).save(tmp_path / "mask.png")
    assert model.predict(PHANTOM, mask=tmp_path / "mask.png").outline == "given"
    Pillow.fromarray(mask).save(tmp_path / "mask.jpg", quality=60)
    for wrong, words in (
        (tmp_path / "mask.jpg", r"mask\.jpg: not a mask: it has \d+ different values .*PNG, not JPEG"),
        (PHANTOM, r"phantom\.png: not a mask: it has \d+ different values"),
        (np.ones(grey.shape, np.uint8), r"phantom\.png: not a mask: it covers the whole image"),
    ):
        with pytest.raises(UserError, match=words):
            model.predict(PHANTOM, mask=wrong)


def test_a_picture_of_an_outline_has_a_scale_that_is_assumed(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 12:28] = 1
    Pillow.fromarray(mask).save(tmp_path / "nodule.png")
    answer = medzoo.load("nodule-svm").predict(tmp_path / "nodule.png").to_dict()
    assert answer["assumed"] == "a picture has no scale: a pixel is taken as a millimetre"


def test_an_empty_picture_is_reported_as_such() -> None:
    answer = medzoo.load("breast-ultrasound-cnn").predict(np.zeros((90, 120), np.uint8))
    said = "the picture has one value throughout, there is nothing in it to see"
    assert said in answer.notes
    assert said not in medzoo.load("breast-ultrasound-cnn").predict(PHANTOM).notes


def test_a_line_says_why_the_label_is_not_the_likeliest() -> None:
    answer = {"input": "x.png", "label": "benign", "probabilities": {"benign": 0.48, "malignant": 0.52}}
    assert result_line(answer) == "x.png: benign (benign 0.48, malignant 0.52, by the model's operating threshold)"
    answer["label"] = "malignant"
    assert result_line(answer) == "x.png: malignant (benign 0.48, malignant 0.52)"
