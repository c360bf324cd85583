"""Requirements of every released model in zoo/, and the README's table of them."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import pytest

from medzoo.artifact.manifest import is_non_commercial
from medzoo.commands.verify import verify
from medzoo.data.catalog import catalog
from medzoo.data.split import Split
from medzoo.recipe import load_recipe

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(path.parent for path in ROOT.glob("zoo/*/manifest.json"))
PROMISED = {
    "brain-tissue", "brain-tissue-unet", "breast-mass-svm", "breast-mass-svm-classic", "nodule-svm",
    "breast-ultrasound-cnn", "breast-ultrasound-alexnet", "breast-lesion-rcnn", "breast-lesion-rcnn-classic",
    "blood-cell-rcnn", "ms-lesion-rcnn", "breast-cascade", "hippocampus-unet3d", "heart-cine-unet",
}  # fmt: skip


def test_the_zoo_holds_what_was_promised_and_no_more_than_260_mb() -> None:
    assert {folder.name for folder in MODELS} >= PROMISED
    files = [path for folder in MODELS for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 260_000_000


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_released_model_is_what_its_manifest_says(folder: Path) -> None:
    assert {check.name for check in verify(folder)} >= {"digests", "card"}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["name"] == folder.name
    assert manifest["license"]
    files = [path for path in folder.rglob("*") if path.is_file()]
    names = {path.relative_to(folder).as_posix() for path in files}
    assert names == {*manifest["files"], "manifest.json", "manifest.sha256"}
    assert all(path.stat().st_size <= 25_000_000 for path in files)
    # Trained by the recipe of its name, as that stands now.
    recipe = load_recipe(ROOT / "recipes" / f"{folder.name}.yaml", catalog=catalog())
    assert recipe.digest == manifest["recipe_digest"], f"train {folder.name} again, or put its recipe back"
    # Which items it learned from, and what it answered to those that it had not seen.
    assert names >= {"split.json", "evaluation.json"}
    assert Split.read(folder / "split.json").digest == manifest["split"]["digest"]


def test_the_pages_show_the_models_own_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    zoo, claim = import_module("zoo"), import_module("claim")
    assert zoo.readme() == (ROOT / "README.md").read_text(encoding="utf-8"), "run: make zoo-index"
    assert all(f"[{folder.name}](zoo/{folder.name}/README.md)" in zoo.readme() for folder in MODELS)
    assert claim.page(fresh=False) == (ROOT / "docs" / "claim.md").read_text(encoding="utf-8"), "run: make zoo-index"


def test_models_for_non_commercial_use_stay_out_of_wheel_and_source_package(monkeypatch: pytest.MonkeyPatch) -> None:
    setuptools = import_module("setuptools")
    monkeypatch.setattr(setuptools, "setup", lambda **options: None)
    monkeypatch.syspath_prepend(str(ROOT))
    carried = {folder.name for folder in import_module("setup").carried()}
    pruned = (ROOT / "MANIFEST.in").read_text(encoding="utf-8")
    for folder in MODELS:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        if is_non_commercial(manifest["license"]):
            assert folder.name not in carried
            assert f"prune zoo/{folder.name}\n" in pruned
            assert "non-commercial" in (folder / "README.md").read_text(encoding="utf-8")
    assert carried
