"""ibsr, msd and nnunet on small folders made here in exactly their layouts."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo import registry
from medzoo.data.dataset import Dataset
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.recipe.split import SplitSection

TISSUES = ["background", "csf", "grey-matter", "white-matter"]
SHAPE = (8, 6, 7)


def save(path: Path, array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.5, 1.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


def data(kind: str, root: Path, labels: list[str], **options: object) -> Dataset:
    entry = registry.entry("data", kind)
    opened: Dataset = entry.open(entry.params(root=root, **options), "segment", labels)
    return opened


def scan(seed: int, *more: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 900, (*SHAPE, *more)).astype(np.int16)


def tissue_map(seed: int, highest: int = 3) -> np.ndarray:
    return np.random.default_rng(seed + 100).integers(0, highest + 1, SHAPE).astype(np.uint8)


@pytest.fixture
def ibsr(tmp_path: Path) -> Path:
    spacings = [(0.94, 1.5, 0.94), (1.0, 1.5, 1.0), (0.84, 1.5, 0.84)]
    for n in range(1, 10):
        name, spacing = f"IBSR_{n:02d}", spacings[n % 3]
        folder = tmp_path / name
        for role in ("ana", "ana_strip"):
            save(folder / f"{name}_{role}.nii.gz", scan(n)[..., None], spacing)
        save(folder / f"{name}_segTRI_ana.nii.gz", tissue_map(n)[..., None], spacing)
        save(folder / f"{name}_segTRI_fill_ana.nii.gz", np.maximum(tissue_map(n), 1)[..., None], spacing)
        save(folder / f"{name}_ana_brainmask.nii.gz", (tissue_map(n) > 0).astype(np.uint8)[..., None], spacing)
    return tmp_path


def test_ibsr_reads_scan_map_and_mask_without_the_trailing_axis(ibsr: Path) -> None:
    opened = data("ibsr", ibsr, TISSUES)
    items = opened.items()
    assert [item.id for item in items] == [f"IBSR_{n:02d}" for n in range(1, 10)]
    sample = opened.load(items[3])
    assert sample.image.array.shape == (1, *SHAPE)
    assert np.array_equal(sample.image.array[0], scan(4))
    assert np.array_equal(sample.target, tissue_map(4))
    assert np.array_equal(sample.mask, tissue_map(4) > 0)
    filled = data("ibsr", ibsr, TISSUES, label="segTRI_fill", image="ana")
    assert np.array_equal(filled.load(filled.items()[3]).target, np.maximum(tissue_map(4), 1))


def test_ibsr_folds_are_stratified_by_spacing(ibsr: Path) -> None:
    items = data("ibsr", ibsr, TISSUES).items()
    assert {item.stratum for item in items} == {"0.94x1.50x0.94", "1.00x1.50x1.00", "0.84x1.50x0.84"}
    by_id = {item.id: item for item in items}
    for fold in range(3):
        split = make_split(items, SplitSection(group="subject", folds=3, fold=fold))
        assert len({by_id[name].stratum for name in split.test}) == 3


def test_ibsr_says_which_file_is_missing(ibsr: Path) -> None:
    (ibsr / "IBSR_05" / "IBSR_05_segTRI_ana.nii.gz").unlink()
    with pytest.raises(UserError, match="IBSR_05_segTRI_ana"):
        data("ibsr", ibsr, TISSUES).items()
    with pytest.raises(UserError, match="IBSR_01"):
        data("ibsr", ibsr / "nothing", TISSUES).items()
    with pytest.raises(UserError, match="labels"):
        data("ibsr", ibsr, TISSUES[:3])


def decathlon(root: Path, *, modalities: int) -> Path:
    for n in (2, 1):
        more = (modalities,) if modalities > 1 else ()
        image = scan(n, *more)
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        for folder, array in (("imagesTr", image), ("labelsTr", tissue_map(n, 2))):
            (root / folder).mkdir(exist_ok=True)
            nib.save(nib.Nifti1Image(array, affine), root / folder / f"hippocampus_{n:03d}.nii.gz")
    description = {
        "name": "Made",
        "modality": {str(m): f"M{m}" for m in range(modalities)},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior Part"},
        "training": [
            {"image": f"./imagesTr/hippocampus_{n:03d}.nii.gz", "label": f"./labelsTr/hippocampus_{n:03d}.nii.gz"}
            for n in (2, 1)
        ],
        "test": ["./imagesTs/hippocampus_009.nii.gz"],
    }
    (root / "dataset.json").write_text(json.dumps(description))
    return root


@pytest.mark.parametrize("modalities", [1, 3])
def test_msd_reads_its_pairs_and_finds_labels_by_name(tmp_path: Path, modalities: int) -> None:
    opened = data("msd", decathlon(tmp_path, modalities=modalities), ["background", "posterior-part", "anterior"])
    items = opened.items()
    assert [item.id for item in items] == ["hippocampus_001", "hippocampus_002"]
    sample = opened.load(items[1])
    stored = scan(2, modalities) if modalities > 1 else scan(2)[..., None]
    assert np.array_equal(np.moveaxis(sample.image.array, 0, -1), stored)
    assert sample.image.spacing == (1.0, 1.0, 2.0)
    assert np.array_equal(sample.target, np.array([0, 2, 1])[tissue_map(2, 2)])


def test_msd_faults_name_the_file_and_the_label(tmp_path: Path) -> None:
    root = decathlon(tmp_path, modalities=1)
    with pytest.raises(UserError, match="did you mean 'anterior'"):
        data("msd", root, ["background", "anteroir"]).items()
    one = data("msd", root, ["background", "anterior"])
    with pytest.raises(UserError, match=r"the value 2 (is not a|belongs to no) label"):
        one.load(one.items()[0])
    both = data("msd", root, ["background", "hippocampus"], values={"hippocampus": (1, 2)})
    assert np.array_equal(both.load(both.items()[0]).target, (tissue_map(1, 2) > 0).astype(np.uint8))
    description = json.loads((root / "dataset.json").read_text())
    description["training"][0]["image"] = "../../etc/passwd"
    (root / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="outside the dataset"):
        data("msd", root, ["background", "anterior"]).items()
    (root / "dataset.json").write_text("{")
    with pytest.raises(UserError, match=r"dataset\.json"):
        data("msd", root, ["background", "anterior"]).items()


def nnunet(root: Path, *, version: int) -> Path:
    ending = ".nii.gz" if version == 1 else ".nii"
    for n in (1, 2):
        for channel in range(2):
            save(root / "imagesTr" / f"case_{n:02d}_{channel:04d}{ending}", scan(10 * n + channel))
        save(root / "labelsTr" / f"case_{n:02d}{ending}", tissue_map(n))
    named = {"background": 0, "CSF": 1, "grey matter": 2, "white_matter": 3}
    description = (
        {"modality": {"0": "T1", "1": "FLAIR"}, "labels": {str(v): k for k, v in named.items()}}
        if version == 1
        else {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": named, "file_ending": ending, "numTraining": 2}
    )
    (root / "dataset.json").write_text(json.dumps(description))
    return root


@pytest.mark.parametrize("version", [1, 2])
def test_nnunet_stacks_channels(tmp_path: Path, version: int) -> None:
    opened = data("nnunet", nnunet(tmp_path, version=version), TISSUES)
    items = opened.items()
    assert [item.id for item in items] == ["case_01", "case_02"]
    sample = opened.load(items[1])
    assert np.array_equal(sample.image.array, np.stack([scan(20), scan(21)]))
    assert np.array_equal(sample.target, tissue_map(2))


def test_nnunet_says_which_channel_is_missing_or_elsewhere(tmp_path: Path) -> None:
    root = nnunet(tmp_path, version=2)
    save(root / "imagesTr" / "case_02_0001.nii", scan(1), (1.0, 1.0, 1.0))
    opened = data("nnunet", root, TISSUES)
    with pytest.raises(UserError, match=r"case_02_0001.*different grid"):
        opened.load(opened.items()[1])
    (root / "imagesTr" / "case_01_0001.nii").unlink()
    with pytest.raises(UserError, match="case_01_0001"):
        data("nnunet", root, TISSUES).items()
