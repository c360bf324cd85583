"""Data layouts: known content is read as it is, and faults of a folder are reported."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.dataset import DataEntry, Dataset, Objects
from medzoo.data.layouts import image_folder, nifti_pairs, voc
from medzoo.data.objects import checked_objects, component_boxes
from medzoo.data.public import busi, lidc_contours, mni152
from medzoo.errors import UserError


def opened(entry: DataEntry, task: str, labels: list[str], **params: Any) -> Dataset:
    return entry.open(entry.params(**params), task, labels)


def write(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(array).save(path)
    return path


SPECKLE = np.random.default_rng(0).integers(0, 200, (40, 60), np.uint8)


@pytest.fixture
def small_busi(tmp_path: Path) -> Path:
    square, bar = np.zeros((2, 40, 60), np.uint8)
    square[10:20, 30:45] = 255
    square[0, 0] = 255
    bar[30:35, 2:9] = 255
    write(tmp_path / "benign" / "benign (1).png", SPECKLE)
    write(tmp_path / "benign" / "benign (1)_mask.png", square)
    write(tmp_path / "benign" / "benign (1)_mask_1.png", bar)
    write(tmp_path / "malignant" / "malignant (1).png", SPECKLE[::-1])
    write(tmp_path / "malignant" / "malignant (1)_mask.png", bar)
    write(tmp_path / "normal" / "normal (1).png", SPECKLE[:, ::-1])
    write(tmp_path / "normal" / "normal (1)_mask.png", bar * 0)
    return tmp_path


def test_busi_boxes_one_a_mask_file_and_none_for_normal(small_busi: Path) -> None:
    data = opened(busi.ENTRY, "detect", ["lesion"], root=small_busi)
    targets = {item.id: data.load(item).target for item in data.items()}
    first, none = targets["benign/benign (1).png"], targets["normal/normal (1).png"]
    assert isinstance(first, Objects)
    assert isinstance(none, Objects)
    assert first.boxes.tolist() == [[30, 10, 45, 20], [2, 30, 9, 35]]
    assert none.boxes.shape == (0, 4)


def test_busi_merges_masks_or_keeps_them_apart(small_busi: Path) -> None:
    labels = ["malignant", "benign"]
    merged = opened(busi.ENTRY, "classify", labels, root=small_busi)
    samples = [merged.load(item) for item in merged.items()]
    assert [s.target for s in samples] == [1, 0]
    assert samples[0].mask is not None
    assert samples[0].mask.sum() == 150 + 1 + 35
    apart = opened(busi.ENTRY, "classify", labels, root=small_busi, masks="apart")
    items = apart.items()
    assert [item.id[-12:] for item in items[:2]] == ["(1).png#mask", "1).png#mask_1"[-12:]]
    assert items[0].groups["image"] == items[1].groups["image"]
    mask = apart.load(items[1]).mask
    assert mask is not None
    assert mask.sum() == 35


def test_busi_segments_by_lesion_or_by_class(small_busi: Path) -> None:
    data = opened(busi.ENTRY, "segment", ["background", "malignant", "benign"], root=small_busi)
    assert [int(np.max(data.load(item).target)) for item in data.items()] == [2, 1, 0]


def test_busi_names_what_is_wrong(small_busi: Path) -> None:
    with pytest.raises(UserError, match="'cyst' is not a class of busi"):
        opened(busi.ENTRY, "classify", ["cyst"], root=small_busi)
    write(small_busi / "malignant" / "malignant (1)_mask.png", SPECKLE[:20])
    data = opened(busi.ENTRY, "segment", ["background", "lesion"], root=small_busi)
    with pytest.raises(UserError, match=r"malignant \(1\)_mask.png"):
        data.load(data.items()[1])
    write(small_busi / "benign" / "scan.png", SPECKLE)
    with pytest.raises(UserError, match=r"scan.png: does not have a BUSI file name"):
        opened(busi.ENTRY, "detect", ["lesion"], root=small_busi).items()
    with pytest.raises(UserError, match="has no BUSI images"):
        opened(busi.ENTRY, "detect", ["lesion"], root=small_busi / "empty").items()


def test_shared_busi_has_its_counts(shared_data: Path) -> None:
    data = opened(busi.ENTRY, "classify", ["benign", "malignant", "normal"], root=shared_data / "busi")
    items = data.items()
    assert Counter(item.stratum for item in items) == {"benign": 350, "malignant": 168, "normal": 106}
    sample = data.load(items[0])
    assert sample.mask is not None
    assert sample.mask.shape == sample.image.shape


def test_mni152_has_the_known_volumes_and_slabs_in_their_place() -> None:
    data = opened(mni152.ENTRY, "segment", list(mni152.LABELS))
    assert isinstance(data, mni152.Mni152)
    image, labels = data.volume
    assert np.bincount(labels.ravel())[1:] / 1000 == pytest.approx([160, 1091, 636], abs=1)
    items = data.items()
    assert {item.part for item in items} == {"train", "val", "test"}
    for item, following in pairwise(items):
        apart = following.facts["start"] - item.facts["stop"]
        assert apart == (0 if item.part == following.part else 5)
    slab = data.load(items[4])
    start = items[4].facts["start"]
    assert slab.image.affine is not None
    assert image.affine is not None
    assert slab.image.affine @ [3, 5, 2, 1] == pytest.approx(image.affine @ [3, 5, 2 + start, 1])
    assert np.array_equal(slab.image.array[0, ..., 2], image.array[0, ..., 2 + start])
    assert np.array_equal(slab.target[..., 2], labels[..., 2 + start])


def test_lidc_has_the_known_nodules() -> None:
    data = opened(lidc_contours.ENTRY, "classify", ["benign", "malignant"])
    items = data.items()
    assert len(items) == 877
    assert Counter(item.stratum for item in items) == {"malignant": 427, "benign": 450}
    assert len({item.groups["patient"] for item in items}) == 531
    sides = {part: {i.groups["patient"] for i in items if i.part == part} for part in ("train", "test")}
    assert not sides["train"] & sides["test"]
    assert min(item.facts["readers"] for item in items) >= 3
    sample = data.load(items[100])
    contour, spacing = sample.image.meta["contour_mm"], sample.image.meta["spacing"]
    assert sample.mask is not None
    area = sample.mask.sum() * spacing[0] * spacing[1]
    x, y = contour.T
    shoelace = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert 0.6 * shoelace < area < 1.1 * shoelace
    assert sample.target == ("benign", "malignant").index(items[100].stratum)
    one = lidc_contours.LidcContours(lidc_contours.Params(reader="one"), lidc_contours.LABELS)
    one.nodules = data.nodules  # type: ignore[attr-defined]
    for item in one.items()[:50]:
        (mine,) = one.readings(item)
        nodule = one.nodules[item.groups["nodule"]]
        others = [r.malignancy for r in nodule.readings if r is not mine]
        assert item.stratum == ("malignant" if np.median(others) > 3 else "benign")


def test_bccd_boxes_and_sets(shared_data: Path) -> None:
    data = opened(voc.ENTRY, "detect", ["RBC", "WBC", "Platelets"], root=shared_data / "bccd")
    items = data.items()
    assert Counter(item.part for item in items) == {"train": 205, "val": 87}
    target = data.load(next(i for i in items if i.id == "BloodImage_00000")).target
    assert isinstance(target, Objects)
    assert target.boxes[0].tolist() == [259, 176, 491, 376]
    assert target.labels[:2].tolist() == [1, 0]


VOC = "<annotation><object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object></annotation>"  # noqa: E501


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (VOC.format("RBC", 1, 1, 62, 40), "beyond the image of 60 x 40"),
        (VOC.format("RBC", 20, 1, 10, 40), "is inverted"),
        (VOC.format("RBC", 10, 5, 9, 40), "is empty"),
        (VOC.format("cell", 1, 1, 5, 5), "'cell' is not one of RBC"),
        (VOC.format("RBC", 1, 1, 5, "five"), "is not a VOC annotation"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "document type"),
        ("<annotation>", "is not a VOC annotation"),
    ],
)
def test_bad_annotations_are_named(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path / "JPEGImages" / "a.png", SPECKLE)
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "a.xml").write_text(text)
    data = opened(voc.ENTRY, "detect", ["RBC"], root=tmp_path)
    with pytest.raises(UserError, match=f"a.xml: .*{said}"):
        data.load(data.items()[0])


def test_image_folders_give_classes_patients_and_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for k, label in enumerate(("cat", "dog")):
            write(tmp_path / part / label / f"p{k}_{part}.png", SPECKLE)
    data = opened(image_folder.ENTRY, "classify", ["dog", "cat"], root=tmp_path, patient="^([^_]+)_")
    items = data.items()
    assert [(i.id, i.stratum, i.part, i.groups["patient"]) for i in items][:2] == [
        ("train/dog/p1_train.png", "dog", "train", "p1"),
        ("train/cat/p0_train.png", "cat", "train", "p0"),
    ]
    assert [data.load(i).target for i in items] == [0, 1, 0, 1]
    with pytest.raises(UserError, match=r"dog: does not belong to any label"):
        opened(image_folder.ENTRY, "classify", ["cat"], root=tmp_path).items()
    with pytest.raises(UserError, match="the class 'cow' has no images"):
        opened(image_folder.ENTRY, "classify", ["cat", "dog", "cow"], root=tmp_path).items()
    (tmp_path / "train" / "dog" / "p1_train.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(UserError, match=r"p1_train.png"):
        data.load(items[0])


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    volume = np.random.default_rng(0).normal(100, 10, (20, 22, 24)).astype(np.float32)
    labels = np.zeros(volume.shape, np.uint8)
    labels[2:5, 3:7, 4:9] = 7
    labels[10:12, 10:12, 10:12] = 7
    labels[15, 15, 15] = 7
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        nib.save(nib.Nifti1Image(volume, np.diag([1, 1, 2, 1.0])), tmp_path / name / "flair.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.diag([1, 1, 2, 1.0])), tmp_path / name / "lesions.nii.gz")
    return tmp_path


PATTERNS = {"image": "{patient}/flair.nii.gz", "label": "{patient}/lesions.nii.gz"}


def test_nifti_pairs_give_boxes_and_label_maps(pairs: Path) -> None:
    data = opened(nifti_pairs.ENTRY, "detect", ["lesion"], root=pairs, smallest_mm3=4.0, **PATTERNS)
    items = data.items()
    assert [i.groups["patient"] for i in items] == ["a", "b"]
    target = data.load(items[0]).target
    assert isinstance(target, Objects)
    assert target.boxes.tolist() == [[2, 3, 4, 5, 7, 9], [10, 10, 10, 12, 12, 12]]
    labels = ["background", "lesion"]
    data = opened(nifti_pairs.ENTRY, "segment", labels, root=pairs, values={"lesion": (7,)}, **PATTERNS)
    assert np.bincount(np.ravel(data.load(data.items()[0]).target)).tolist()[1] == 60 + 8 + 1
    two = opened(nifti_pairs.ENTRY, "detect", ["lesion"], root=pairs, channels=("{patient}/flair.nii.gz",), **PATTERNS)
    assert two.load(two.items()[0]).image.array.shape == (2, 20, 22, 24)


def test_nifti_pairs_name_what_is_wrong(pairs: Path) -> None:
    data = opened(nifti_pairs.ENTRY, "segment", ["background", "lesion"], root=pairs, **PATTERNS)
    with pytest.raises(UserError, match=r"lesions.nii.gz: the value 7 (is not a|belongs to no) label"):
        data.load(data.items()[0])
    shifted = np.diag([1, 1, 2, 1.0])
    shifted[0, 3] = 3
    nib.save(nib.Nifti1Image(np.zeros((20, 22, 24), np.uint8), shifted), pairs / "b" / "lesions.nii.gz")
    with pytest.raises(UserError, match=r"b/lesions.nii.gz: is 3.00 mm off"):
        data.load(data.items()[1])
    (pairs / "b" / "lesions.nii.gz").unlink()
    with pytest.raises(UserError, match=r"b/lesions.nii.gz: no such file"):
        data.items()
    with pytest.raises(UserError, match=r"\{visit\} is not in data.image"):
        opened(nifti_pairs.ENTRY, "detect", ["lesion"], root=pairs, image="{patient}/flair.nii.gz", label="{visit}.nii")


def test_boxes_of_components_and_their_checks() -> None:
    mask = np.zeros((10, 12), np.uint8)
    mask[1:3, 4:9] = 1
    mask[3, 9] = 1  # touches at a corner
    mask[8, 0] = 1
    assert component_boxes(mask).tolist() == [[4, 1, 10, 4], [0, 8, 1, 9]]
    assert component_boxes(mask, smallest=2).tolist() == [[4, 1, 10, 4]]
    with pytest.raises(UserError, match="is not finite"):
        checked_objects([[0, 0, np.nan, 1]], [0], (10, 12), "x")
    assert checked_objects([], [], (10, 12), "x").boxes.shape == (0, 4)
