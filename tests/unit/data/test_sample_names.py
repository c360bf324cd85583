"""Samples of one file name in several folders keep apart, and BIDS label maps are chosen by their entities."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo import registry
from medzoo.data.dataset import Dataset
from medzoo.data.file_names import distinct_names
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.io.formats import stem
from medzoo.recipe.split import SplitSection

TISSUES = ("background", "csf", "grey-matter", "white-matter")


def volume(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full((4, 5, 6), value, np.uint8), np.eye(4)), path)


def opened(kind: str, task: str, labels: tuple[str, ...], **params: Any) -> Dataset:
    entry = registry.entry("data", kind)
    data: Dataset = entry.open(entry.params.model_validate(params), task, labels)
    return data


def msd(root: Path, *names: tuple[str, str], **more: Any) -> Dataset:
    for pair in names:
        for name in pair:
            volume(root / name)
    document = {"labels": {"0": "background", "1": "lesion"}, "modality": {"0": "MR"}, **more}
    document["training"] = [{"image": image, "label": label} for image, label in names]
    (root / "dataset.json").write_text(json.dumps(document))
    return opened("msd", "segment", ("background", "lesion"), root=root)


@pytest.mark.parametrize(
    ("images", "ids"),
    [
        (["./imagesTr/h_1.nii.gz", "imagesTr/h_2.nii.gz"], ["h_1", "h_2"]),
        (["p0/t1.nii.gz", "./p1/t1.nii.gz", "p2/t1.nii.gz"], ["p0/t1", "p1/t1", "p2/t1"]),
        (["a/s1/t1.nii", "b/s1/t1.nii", "b/s2/t2.nii"], ["a/s1/t1", "b/s1/t1", "b/s2/t2"]),
        (["p/t1.nii", "p/t1.nii.gz"], ["p/t1.nii", "p/t1.nii.gz"]),
    ],
)
def test_decathlon_samples_of_one_name(tmp_path: Path, images: list[str], ids: list[str]) -> None:
    data = msd(tmp_path, *[(name, f"labels/{number}.nii.gz") for number, name in enumerate(images)])
    assert [item.id for item in data.items()] == ids
    assert [item.groups["case"] for item in data.items()] == ids
    split = make_split(data.items(), SplitSection(group="case", train=None, test=1))
    assert len(split.parts()) == len(ids)


def test_a_pair_that_is_listed_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lists t1.nii.gz more than once"):
        msd(tmp_path, ("p0/t1.nii.gz", "l/0.nii.gz"), ("./p0/t1.nii.gz", "l/1.nii.gz")).items()


def test_pairs_folders_and_tables_name_samples_by_path(tmp_path: Path) -> None:
    for case in ("a", "b"):
        volume(tmp_path / case / "t1.nii.gz")
        volume(tmp_path / case / "seg.nii.gz")
        for label in ("cat", "dog"):
            path = tmp_path / "pictures" / label / case / "1.png"
            path.parent.mkdir(parents=True)
            Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    labels = ("background", "lesion")
    patterns = {"image": "{case}/t1.nii.gz", "label": "{case}/seg.nii.gz"}
    pairs = opened("nifti-pairs", "segment", labels, root=tmp_path, **patterns)
    assert [item.id for item in pairs.items()] == ["a/t1.nii.gz", "b/t1.nii.gz"]
    pictures = opened("image-folder", "classify", ("cat", "dog"), root=tmp_path / "pictures")
    assert len({item.id for item in pictures.items()}) == 4
    (tmp_path / "t.csv").write_text("image,mask\na/t1.nii.gz,a/seg.nii.gz\nb/t1.nii.gz,b/seg.nii.gz\n")
    table = opened("csv-manifest", "segment", labels, root=tmp_path / "t.csv")
    assert [item.id for item in table.items()] == ["a/t1.nii.gz", "b/t1.nii.gz"]


@pytest.mark.parametrize("again", ["a/1.png", "./a/1.png", "a//1.png", "a/../a/1.png"])
def test_a_row_that_is_there_twice_is_named(tmp_path: Path, again: str) -> None:
    (tmp_path / "a").mkdir()
    Pillow.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a" / "1.png")
    (tmp_path / "t.csv").write_text(f"image,label\na/1.png,cat\n{again},cat\n")
    with pytest.raises(UserError, match=r"t.csv:3: lists .*, which line 2 lists as well"):
        opened("csv-manifest", "classify", ("cat",), root=tmp_path / "t.csv").items()


def test_label_maps_of_one_name(tmp_path: Path) -> None:
    for case in ("p1", "p2"):
        volume(tmp_path / case / "seg.nii.gz")
    data = opened("brain-generator", "segment", TISSUES, root=tmp_path, pattern="*/seg.nii.gz", variants=1)
    assert [(item.id, item.groups["subject"]) for item in data.items()] == [
        ("p1/seg/000", "p1/seg"),
        ("p2/seg/000", "p2/seg"),
    ]


def test_names_are_as_short_as_they_can_be() -> None:
    root = Path("/data")

    def names(*paths: str) -> list[str]:
        return distinct_names([root / path for path in paths], root, short=lambda path: stem(path))

    assert names("a/x.nii.gz", "b/y.nii.gz") == ["x", "y"]
    assert names("a/x.nii.gz", "b/x.nii.gz") == ["a/x", "b/x"]
    assert names("a/x.nii.gz", "a/x.nii") == ["a/x.nii.gz", "a/x.nii"]
    assert names("a/x.nii.gz", "a/x.nii.gz") == ["x", "x"]


MAPS = ["dseg", "desc-aseg_dseg", "desc-aparcaseg_dseg", "space-MNI_dseg", "space-MNI_res-2_dseg", "desc-a+b_dseg"]


def bids(root: Path, maps: list[str] | None = None, images: tuple[str, ...] = ("T1w",), **params: Any) -> Dataset:
    (root / "dataset_description.json").write_text("{}")
    for subject in ("sub-1", "sub-2"):
        for name in images:
            volume(root / subject / "anat" / f"{subject}_{name}.nii.gz")
        for number, name in enumerate(MAPS if maps is None else maps):
            volume(root / "derivatives" / "fmriprep" / subject / "anat" / f"{subject}_{name}.nii.gz", number)
    values = {"values": {"lesion": tuple(range(1, 9))}}
    return opened("bids", "segment", ("background", "lesion"), root=root, **values, **params)


@pytest.mark.parametrize(
    ("params", "name"),
    [
        ({"desc": "aseg"}, "desc-aseg_dseg"),
        ({"desc": "aparcaseg"}, "desc-aparcaseg_dseg"),
        ({"desc": "a+b"}, "desc-a+b_dseg"),
        ({"desc": "none", "space": "none"}, "dseg"),
        ({"space": "MNI", "label_entities": {"res": "2"}}, "space-MNI_res-2_dseg"),
        ({"space": "MNI", "label_entities": {"res": "none"}}, "space-MNI_dseg"),
    ],
)
def test_label_maps_are_chosen_by_desc_and_space(tmp_path: Path, params: dict[str, Any], name: str) -> None:
    assert [item.files["label"].name for item in bids(tmp_path, **params).items()] == [
        f"{subject}_{name}.nii.gz" for subject in ("sub-1", "sub-2")
    ]


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, r"has 6 images dseg: .*desc-aseg_dseg.nii.gz \(desc: aseg, .*choose one with data.desc, data.space"),
        ({"desc": "none"}, r"has 3 images dseg desc-none: .*space: MNI, res: 2"),
        ({"space": "MNI"}, r"has 2 images dseg space-MNI: .*res: none.*res: 2"),
        ({"desc": "other"}, r"has no image dseg desc-other; there are .*desc: aseg"),
    ],
)
def test_ambiguous_label_maps_are_refused_with_the_choices(tmp_path: Path, params: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        bids(tmp_path, **params).items()


def test_images_are_chosen_by_their_entities(tmp_path: Path) -> None:
    images = ("acq-mprage_T1w", "acq-space_run-1_T1w", "acq-space_run-2_T1w")
    with pytest.raises(UserError, match=r"has 3 images T1w: .*acq: mprage.*choose one with data.image_entities"):
        bids(tmp_path, ["dseg"], images).items()
    data = bids(tmp_path, ["dseg"], images, image_entities={"acq": "space", "run": "2"})
    assert data.items()[0].files["T1w"].name == "sub-1_acq-space_run-2_T1w.nii.gz"
