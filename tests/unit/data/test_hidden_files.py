"""Hidden copies beside data are samples in no layout; where a list names one, it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo import registry
from medzoo.data.dataset import Dataset
from medzoo.data.file_names import is_hidden
from medzoo.errors import UserError

LEFT = ["._{}", ".ipynb_checkpoints/{}", "__MACOSX/{}", "@eaDir/{}"]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((16, 20), 9, np.uint8)).save(path)


def volume(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6), np.uint8), np.eye(4)), path)


def described(root: Path, **more: Any) -> None:
    labels = {"background": 0, "lesion": 1}
    (root / "dataset.json").write_text(json.dumps({"channel_names": {"0": "MR"}, "labels": labels, **more}))


def opened(kind: str, task: str, labels: tuple[str, ...], **params: Any) -> Dataset:
    entry = registry.entry("data", kind)
    data: Dataset = entry.open(entry.params.model_validate(params), task, labels)
    return data


def image_folder(root: Path) -> tuple[list[Path], Dataset]:
    files = [root / "cat" / "a.png", root / "dog" / "b.png"]
    for path in files:
        picture(path)
    return files, opened("image-folder", "classify", ("cat", "dog"), root=root)


def nifti_pairs(root: Path) -> tuple[list[Path], Dataset]:
    files = [root / case / name for case in ("p1", "p2") for name in ("t1.nii.gz", "seg.nii.gz")]
    for path in files:
        volume(path)
    patterns = {"image": "{case}/t1.nii.gz", "label": "{case}/seg.nii.gz"}
    return files[::2], opened("nifti-pairs", "segment", ("background", "lesion"), root=root, **patterns)


def mask_boxes(root: Path) -> tuple[list[Path], Dataset]:
    files = [root / "images" / "a.png", root / "masks" / "a.png"]
    for path in files:
        picture(path)
    patterns = {"image": "images/{name}.png", "mask": "masks/{name}.png"}
    return files[:1], opened("mask-boxes", "detect", ("lesion",), root=root, **patterns)


def nnunet(root: Path) -> tuple[list[Path], Dataset]:
    files = [root / "labelsTr" / "c1.nii.gz", root / "imagesTr" / "c1_0000.nii.gz"]
    for path in files:
        volume(path)
    described(root)
    return files, opened("nnunet", "segment", ("background", "lesion"), root=root)


def busi(root: Path) -> tuple[list[Path], Dataset]:
    files = [root / "benign" / "benign (1).png", root / "malignant" / "malignant (1).png"]
    for path in files:
        picture(path)
    return files, opened("busi", "classify", ("benign", "malignant"), root=root)


def voc(root: Path) -> tuple[list[Path], Dataset]:
    picture(root / "JPEGImages" / "a.png")
    (root / "Annotations").mkdir(exist_ok=True)
    (root / "Annotations" / "a.xml").write_text("<annotation/>")
    files = [root / "JPEGImages" / "a.png", root / "Annotations" / "a.xml"]
    return files, opened("voc", "detect", ("cell",), root=root)


def bids(root: Path) -> tuple[list[Path], Dataset]:
    place = Path("sub-1/anat")
    files = [root / place / "sub-1_T1w.nii.gz", root / "derivatives/manual" / place / "sub-1_dseg.nii.gz"]
    for path in files:
        volume(path)
    (root / "dataset_description.json").write_text("{}")
    return files, opened("bids", "segment", ("background", "lesion"), root=root, values={"lesion": (1,)})


def brain_generator(root: Path) -> tuple[list[Path], Dataset]:
    files = [root / "seg_01.nii.gz", root / "seg_02.nii.gz"]
    for path in files:
        volume(path)
    labels = ("background", "csf", "grey-matter", "white-matter")
    return files, opened("brain-generator", "segment", labels, root=root)


LAYOUTS = [image_folder, nifti_pairs, mask_boxes, nnunet, busi, voc, bids, brain_generator]


@pytest.mark.parametrize("left", LEFT)
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_hidden_copies_are_no_samples(
    tmp_path: Path, layout: Callable[[Path], tuple[list[Path], Dataset]], left: str
) -> None:
    root = tmp_path / ".cache" / "set"  # what lies above the data set marks nothing
    root.mkdir(parents=True)
    files, data = layout(root)
    before = [item.id for item in data.items()]
    assert before
    for path in files:
        copy = path.parent / left.format(path.name)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(path, copy)
    for folder in {path.parent for path in files}:
        (folder / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (folder / "Thumbs.db").write_bytes(b"\xd0\xcf")
    if left.startswith("__MACOSX"):
        (root / "__MACOSX" / "cat").mkdir(parents=True, exist_ok=True)
    assert [item.id for item in layout(root)[1].items()] == before


@pytest.mark.parametrize("name", ["._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png"])
def test_a_table_that_lists_one_is_refused(tmp_path: Path, name: str) -> None:
    picture(tmp_path / name)
    (tmp_path / "table.csv").write_text(f"image,label\n{name},cat\n")
    with pytest.raises(UserError, match=r"table.csv:2: lists .* which is a hidden file"):
        opened("csv-manifest", "classify", ("cat",), root=tmp_path / "table.csv").items()


@pytest.mark.parametrize("name", ["./imagesTr/._c.nii.gz", ".ipynb_checkpoints/c.nii.gz", "__MACOSX/imagesTr/c.nii.gz"])
def test_a_description_that_lists_one_is_refused(tmp_path: Path, name: str) -> None:
    volume(tmp_path / name)
    described(tmp_path, modality={"0": "MR"}, training=[{"image": name, "label": name}])
    with pytest.raises(UserError, match=r"dataset.json: lists .* which is a hidden file"):
        opened("msd", "segment", ("background", "lesion"), root=tmp_path).items()


def test_which_names_are_hidden() -> None:
    assert is_hidden("a/._b.png")
    assert is_hidden("THUMBS.DB")
    assert is_hidden(Path("/x/.y/z/.git/a"), root=Path("/x/.y"))
    assert not is_hidden(Path("/x/.y/a.png"), root=Path("/x/.y"))
    assert not is_hidden("./a/../b_.png")
