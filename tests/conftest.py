"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import nibabel
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what tests decode in a folder of their own, not in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        # Most pictures here are drawn, which the guards of the zoo's models see.
        patch.setenv("MEDZOO_ANYWAY", "1")
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (see docs); tests on it are skipped, with this reason, where it is absent."""
    folder = Path(os.environ.get("MEDZOO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the shared data are not at {folder}; set MEDZOO_DATA")
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a patch CNN that was trained for a few seconds on the MNI152 average brain."""
    from medzoo.commands.train import train

    folder = tmp_path_factory.mktemp("models") / "tiny"
    overrides = {
        "train.epochs": 1,
        "train.steps_per_epoch": 40,
        "train.batch": 256,
        "model.channels": [4, 6, 8],
        "model.hidden": 8,
    }
    train(ROOT / "recipes" / "brain-tissue-mni.yaml", overrides, out=folder)
    return folder


@pytest.fixture(scope="session")
def mni_t1() -> Path:
    """The MNI152 average brain's T1, in the package nilearn."""
    from importlib.util import find_spec

    spec = find_spec("nilearn")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "datasets" / "data"
    return folder / "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


@pytest.fixture(scope="session")
def small_scan(mni_t1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve axial slices of a real brain, stored left to right reversed, with a code in the header."""
    image = nibabel.load(mni_t1).slicer[::-1, :, 84:96]
    image.header.set_sform(image.affine, code=4)
    path = tmp_path_factory.mktemp("scan") / "brain.nii.gz"
    nibabel.save(image, path)
    return path
