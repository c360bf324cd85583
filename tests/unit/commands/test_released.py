"""A folder that goes by a released model's name in the zoo is that model, byte by byte; one's own is one's own."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

import medzoo
from medzoo.artifact.index import released_index
from medzoo.artifact.locate import find_model
from medzoo.artifact.manifest import digest_line
from medzoo.commands import fetch as fetching
from medzoo.errors import UserError

ZOO = Path(__file__).parents[3] / "zoo"


def forged(folder: Path, source: str = "breast-mass-svm-classic", *, name: str | None = None) -> Path:
    """A copy of a released model with another card, which its own manifest vouches for."""
    shutil.copytree(ZOO / source, folder)
    (folder / "README.md").write_text("# forged\n")
    manifest = json.loads((folder / "manifest.json").read_bytes())
    raw = (folder / "README.md").read_bytes()
    manifest["files"]["README.md"] = {"sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)}
    if name is not None:
        manifest["name"] = name
    (folder / "manifest.json").write_bytes(json.dumps(manifest).encode())
    (folder / "manifest.sha256").write_bytes(digest_line((folder / "manifest.json").read_bytes()))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache's models; the checkout's own zoo is out of sight."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    models = tmp_path / "cache" / "medzoo" / "models"
    models.mkdir(parents=True)
    monkeypatch.setattr("medzoo.artifact.locate.zoo_folders", lambda: [models])
    return models


@pytest.mark.parametrize("source", ["breast-mass-svm-classic", "nodule-svm", "brain-tissue"])
def test_a_fetched_folder_by_a_released_name_is_the_released_one(cache: Path, source: str) -> None:
    shutil.copytree(ZOO / source, cache / source)
    assert medzoo.load(source, device="cpu").metadata.name == source
    shutil.rmtree(cache / source)
    forged(cache / source, source)
    for model in (source, cache / source):
        with pytest.raises(UserError, match=f"has the name of the released model '{source}'"):
            medzoo.load(model, device="cpu")


def test_a_fetched_folder_whose_manifest_claims_a_released_name(cache: Path) -> None:
    forged(cache / "other")
    with pytest.raises(UserError, match="has the name of the released model 'breast-mass-svm-classic'"):
        find_model("other")


def test_a_fetched_folder_of_a_released_name_whose_manifest_says_another(cache: Path) -> None:
    forged(cache / "breast-mass-svm", name="mine")
    with pytest.raises(UserError, match="has the name of the released model 'breast-mass-svm'"):
        find_model("breast-mass-svm")


def test_a_link_in_the_cache_is_no_way_around(cache: Path, tmp_path: Path) -> None:
    (cache / "breast-mass-svm-classic").symlink_to(forged(tmp_path / "elsewhere"))
    with pytest.raises(UserError, match="has the name of the released model"):
        find_model("breast-mass-svm-classic")


def test_ones_own_training_of_a_released_recipe_loads_and_says_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own = forged(tmp_path / "runs" / "breast-mass-svm-classic")
    assert medzoo.load(own, device="cpu").metadata.name == "breast-mass-svm-classic"
    assert "it is not the released model of that name" in caplog.text


def test_a_model_of_another_name_is_loaded_unchecked(
    cache: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    forged(cache / "mine", name="mine")
    medzoo.load("mine", device="cpu")
    medzoo.load(forged(tmp_path / "mine", name="mine"), device="cpu")
    assert caplog.text == ""


def test_an_installation_without_its_index_vouches_for_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ZOO / "nodule-svm", cache / "nodule-svm")
    monkeypatch.setattr("medzoo.artifact.index.__file__", str(tmp_path / "lib" / "medzoo" / "artifact" / "index.py"))
    released_index.cache_clear()
    try:
        with pytest.raises(UserError, match="the index of released models is missing"):
            find_model("nodule-svm")
    finally:
        monkeypatch.undo()
        released_index.cache_clear()


def test_another_index_s_model_of_a_released_name_is_put_apart(cache: Path, tmp_path: Path) -> None:
    zoo = tmp_path / "theirs"
    forged(zoo / "breast-mass-svm-classic")
    from medzoo.artifact.index import build_index

    raw = build_index(zoo)
    (zoo / "index.json").write_bytes(raw)
    digest = hashlib.sha256(raw).hexdigest()
    found = fetching.fetch(["breast-mass-svm-classic"], base=zoo, index_sha256=digest)["breast-mass-svm-classic"]
    assert cache not in found.parents
    assert medzoo.load(found, device="cpu").metadata.name == "breast-mass-svm-classic"
