"""csv-manifest, bids and medmnist: what they find, and the line or file that they name when something is wrong."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.layouts import bids, csv_manifest
from medzoo.data.public import medmnist
from medzoo.errors import UserError


def table(root: Path, text: str) -> csv_manifest.CsvManifest:
    for n in range(4):
        Pillow.fromarray(np.full((8, 9), 10 * n, np.uint8)).save(root / f"{n}.png")
        Pillow.fromarray(np.eye(8, 9, dtype=np.uint8)).save(root / f"{n}_mask.png")
    (root / "data.csv").write_text(text)
    params = csv_manifest.Params(root=root / "data.csv")
    task = "segment" if "mask" in text else "classify"
    return csv_manifest.ENTRY.open(params, task, ["cat", "dog"])


def test_a_table_of_classes_with_patients_and_parts(tmp_path: Path) -> None:
    data = table(tmp_path, "image, label,patient,split\n0.png,cat,a,train\n1.png,dog,a,train\n2.png,dog,b,test\n")
    items = data.items()
    assert [(i.id, i.stratum, i.groups["patient"], i.part) for i in items] == [
        ("0.png", "cat", "a", "train"), ("1.png", "dog", "a", "train"), ("2.png", "dog", "b", "test")
    ]  # fmt: skip
    assert data.load(items[2]).target == 1
    assert data.load(items[2]).image.array.max() == 20


def test_a_table_of_masks(tmp_path: Path) -> None:
    data = table(tmp_path, "image,mask\n0.png,0_mask.png\n")
    np.testing.assert_array_equal(data.load(data.items()[0]).target, np.eye(8, 9))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,patient\n0.png,a\n", r"data.csv:1: has no column 'label'"),
        ("image,label\n0.png,cat\n9.png,cat\n", r"data.csv:3: lists '9.png', which does not exist"),
        ("image,label\n0.png,cow\n", r"data.csv:2: the label 'cow' is not one of cat, dog"),
        ("image,label,patient\n0.png,cat,\n", r"data.csv:2: the column 'patient' is empty"),
        ("image,label,split\n0.png,cat,dev\n", r"data.csv:2: the split 'dev'"),
        ("image,label\n0.png,cat,more\n", r"data.csv:2: does not have as many columns"),
        ("image,label\n", r"has no rows"),
    ],
)
def test_a_table_is_refused_by_its_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        table(tmp_path, text).items()


def scans(root: Path) -> Path:
    (root / "dataset_description.json").write_text("{}")
    for place in ("sub-01", "sub-02/ses-a", "sub-02/ses-b"):
        name = place.replace("/", "_")
        values = np.arange(60, dtype=np.int16).reshape(3, 4, 5) + 1
        for folder, suffix, array in (("", "T1w", values), ("", "FLAIR", values * 2),
                                      ("derivatives/manual/", "dseg", (values % 3).astype(np.uint8))):  # fmt: skip
            path = root / f"{folder}{place}/anat/{name}_{suffix}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    return root


def opened(root: Path, **params: object) -> bids.Bids:
    labels = ["background", "csf", "lesion"]
    return bids.ENTRY.open(bids.Params(root=root, values={"csf": (1,), "lesion": (2,)}, **params), "segment", labels)


def test_bids_by_its_rules(tmp_path: Path) -> None:
    data = opened(scans(tmp_path), images=("T1w", "FLAIR"))
    items = data.items()
    assert [(i.id, i.groups["subject"]) for i in items] == [
        ("sub-01", "sub-01"), ("sub-02/ses-a", "sub-02"), ("sub-02/ses-b", "sub-02")
    ]  # fmt: skip
    sample = data.load(items[1])
    assert sample.image.array.shape == (2, 3, 4, 5)
    np.testing.assert_array_equal(sample.image.array[1], 2 * sample.image.array[0])
    np.testing.assert_array_equal(sample.target, sample.image.array[0] % 3)


def test_bids_names_what_is_missing_or_twice(tmp_path: Path) -> None:
    root = scans(tmp_path)
    twice = root / "sub-01/anat/sub-01_run-2_T1w.nii.gz"
    twice.write_bytes((root / "sub-01/anat/sub-01_T1w.nii.gz").read_bytes())
    with pytest.raises(UserError, match=r"anat: has 2 images T1w sub-01_T1w.nii.gz, sub-01_run-2_T1w|has 2 images"):
        opened(root).items()
    twice.unlink()
    (root / "derivatives/other").mkdir()
    with pytest.raises(UserError, match=r"has the derivatives manual, other \(set data.derivative\)"):
        opened(root).items()
    assert len(opened(root, derivative="manual").items()) == 3
    (root / "dataset_description.json").unlink()
    with pytest.raises(UserError, match="is not a BIDS dataset"):
        opened(root).items()


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (28, 28, 28)])
def test_medmnist_in_its_own_parts(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    counts = {"train": 5, "val": 2, "test": 3}
    arrays = {f"{p}_images": rng.integers(1, 255, (n, *shape), np.uint8) for p, n in counts.items()}
    arrays |= {f"{p}_labels": rng.integers(0, 2, (n, 1), np.uint8) for p, n in counts.items()}
    np.savez(tmp_path / "set.npz", **arrays)
    params = medmnist.Params(root=tmp_path / "set.npz")
    data = medmnist.ENTRY.open(params, "classify", ["a", "b"])
    items = data.items()
    assert [i.part for i in items] == ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    sample = data.load(items[6])
    expected = arrays["val_images"][1]
    expected = expected.transpose(2, 0, 1) if shape == (28, 28, 3) else expected[None]
    np.testing.assert_array_equal(sample.image.array, expected)
    assert sample.target == arrays["val_labels"][1, 0]
    arrays["test_labels"][0] = 7
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(UserError, match="has 8 classes, but the recipe has 2 labels"):
        medmnist.ENTRY.open(params, "classify", ["a", "b"]).items()
