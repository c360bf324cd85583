from __future__ import annotations

import itertools
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

import medzoo
from medzoo.errors import UserError
from medzoo.results import Classification, Segmentation
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor


@pytest.fixture(scope="module")
def scan(mni_t1: Path) -> nibabel.Nifti1Image:
    return nibabel.load(mni_t1).slicer[:, :, 88:94]


def test_a_path_an_array_and_a_nibabel_image_are_predicted_alike(
    tiny_model: Path, scan: nibabel.Nifti1Image, tmp_path: Path
) -> None:
    model = medzoo.load(tiny_model)
    path = tmp_path / "scan.nii"
    nibabel.save(scan, path)
    answers = [model.predict(source) for source in (path, str(path), scan, np.asarray(scan.dataobj))]
    for answer in answers:
        assert isinstance(answer, Segmentation)
        assert np.array_equal(answer.mask, answers[0].mask)
    assert answers[0].mask.shape == scan.shape
    assert answers[0].mask.any()
    assert answers[1].input == str(path)


def test_many_inputs_give_a_generator_in_order_that_reads_no_further_than_it_must(
    tiny_model: Path, scan: nibabel.Nifti1Image
) -> None:
    model = medzoo.load(tiny_model)
    taken = []

    def endless() -> object:
        for number in itertools.count():
            taken.append(number)
            yield scan.slicer[:, :, number % 3 : number % 3 + 2]

    answers = model.predict(endless())
    assert isinstance(answers, types.GeneratorType)
    first, second = next(answers), next(answers)
    assert first.image.affine[2, 3] + 1 == second.image.affine[2, 3]
    assert len(taken) <= 5


def test_a_bad_input_is_a_failure_in_its_place_and_the_others_are_predicted(
    tiny_model: Path, scan: nibabel.Nifti1Image
) -> None:
    model = medzoo.load(tiny_model)
    small = scan.slicer[:, :, :1]
    first, failure, last = model.predict([small, "missing.nii", small])
    assert (type(first), type(failure), type(last)) == (Segmentation, medzoo.Failure, Segmentation)
    assert first.error is last.error is None
    assert "missing.nii: no such file" in str(failure.error)
    for use in (lambda: failure.mask, lambda: failure.save("m.nii.gz"), lambda: failure.volumes_ml):
        with pytest.raises(UserError, match=r"missing\.nii: no such file"):
            use()
    assert not hasattr(failure, "nothing")


def test_torch_and_onnx_runtime_give_the_same_mask(tiny_model: Path, scan: nibabel.Nifti1Image) -> None:
    masks = [medzoo.load(tiny_model, backend=backend).predict(scan).mask for backend in ("onnx", "torch")]
    assert (masks[0] != masks[1]).mean() < 1e-5


def test_slices_predicted_inside_their_foreground_equal_whole_slices(
    tiny_model: Path, scan: nibabel.Nifti1Image
) -> None:
    model = medzoo.load(tiny_model)
    prepared = model.prepare(scan)
    slices = np.moveaxis(prepared.image.array, 3, 0)
    whole = model.backend.run({"image": np.ascontiguousarray(slices)}, ["labels"])["labels"]
    boxed = model.predict_prepared(prepared).mask
    assert np.array_equal(np.moveaxis(whole, 0, 2), boxed)


class SizeOfCrop:
    """Calls a picture malignant by how large it is; takes images alone, as a network does."""

    name, device = "onnx", "cpu"
    metadata = Metadata(name="size", task="classify", labels=("benign", "malignant"), host=({"op": "crop-mass"},))

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        image = inputs["image"]
        assert image.ndim == 4
        p = np.full(len(image), image.shape[2] / 100)
        return {"probabilities": np.stack([1 - p, p], 1)}


def test_a_network_on_the_crop_around_a_mass_says_where_the_mass_is() -> None:
    image = np.zeros((100, 120), np.uint8)
    image[20:60, 30:70] = 200
    result = Predictor(SizeOfCrop()).predict(image, box=(30, 20, 70, 60))
    assert isinstance(result, Classification)
    assert result.outline == "box"
    assert result.probabilities["malignant"] == pytest.approx(0.6)  # 40 px and a quarter of it on both sides
