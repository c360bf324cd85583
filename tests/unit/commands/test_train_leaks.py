"""Training stops on a split that leaks, unless the recipe allows it: then card and manifest say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter

from medzoo.commands.evaluate import evaluate
from medzoo.commands.train import train
from medzoo.data.audit import training
from medzoo.data.audit.training import checked_audit
from medzoo.data.catalog import Catalog
from medzoo.data.opened import open_data
from medzoo.data.split import Split
from medzoo.errors import UserError
from medzoo.recipe import load_recipe

RECIPE = """
medzoo: 1
name: leaky
task: classify
labels: [cat, dog]
data:
  type: image-folder
  root: {root}
  split: {{group: image, given: true}}
model: {{type: lenet, size: [32, 32]}}
train: {{epochs: 1, batch: 4, max_steps: 2}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    for k in range(18):
        part = "train" if k < 10 else "val" if k < 14 else "test"
        path = tmp_path / "data" / part / ("cat" if k % 2 else "dog") / f"p{k:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(k)
        picture = sum(gaussian_filter(draw.standard_normal((64, 64)), s) * s for s in (1.5, 4, 10))
        Pillow.fromarray(np.clip(100 + 14 * picture, 0, 255).astype(np.uint8)).save(path)
    path = tmp_path / "leaky.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "data"))
    return path


def leak(recipe: Path) -> None:
    shutil.copy(recipe.parent / "data/train/dog/p00.png", recipe.parent / "data/test/dog/p90.png")


def test_a_leaking_split_is_refused_before_anything_is_fitted(recipe: Path, tmp_path: Path) -> None:
    leak(recipe)
    with pytest.raises(UserError, match=r"the split leaks: .*p00.png in train and .* are identical \(") as caught:
        train(recipe, out=tmp_path / "model")
    assert "data.allow_leaks=true" in str(caught.value)
    assert "\n" not in str(caught.value)
    left = [path.name for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert left == ["lock"]  # which the next run into this folder takes


def test_allowed_leaks_are_on_the_card(recipe: Path, tmp_path: Path) -> None:
    leak(recipe)
    run = train(recipe, {"data.allow_leaks": True}, out=tmp_path / "model")
    assert run.manifest["audit"]["leaks"] == {"patient": 0, "identical": 1, "near": 0}
    assert run.manifest["audit"]["allow_leaks"] is True
    assert "The split leaks, and the recipe allowed it" in (run.folder / "README.md").read_text()


def test_the_folder_carries_the_split_and_evaluate_holds_the_data_to_it(recipe: Path, tmp_path: Path) -> None:
    run = train(recipe, out=tmp_path / "model")
    assert "none, and no near-duplicate of one, in two parts" in (run.folder / "README.md").read_text()
    split = Split.read(run.folder / "split.json")
    assert split.digest == run.manifest["split"]["digest"]
    assert len(split.train) == 10
    assert evaluate(run.folder).items == 4
    (recipe.parent / "data/train/dog/p02.png").rename(recipe.parent / "data/test/dog/p02.png")
    (recipe.parent / "data/val/dog/p10.png").unlink()
    with pytest.raises(
        UserError, match=r"split.json: .* 2 items are gone .* 1 items are new|1 items are new .* 2 items"
    ):
        evaluate(run.folder)


def test_a_split_file_changed_by_hand_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    lists = {"train": ["a", "b"], "val": [], "test": ["c"]}
    split = Split.from_json({**lists, "group": "none", "given": True, "fold": None, "digest": digest(lists)})
    path.write_bytes(split.to_bytes())
    assert Split.read(path) == split
    document = json.loads(path.read_text())
    document["train"], document["test"] = ["a"], ["b", "c"]
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match="digest does not match the lists"):
        Split.read(path)


def digest(lists: dict) -> str:
    from medzoo.data.split import split_digest

    return split_digest(lists)


def test_the_audit_of_known_data_is_kept_and_that_of_changed_data_is_not(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_recipe(recipe, ["data.allow_leaks=true"], catalog=Catalog())
    shutil.copy(recipe.parent / "data/train/dog/p00.png", recipe.parent / "data/train/dog/p80.png")
    first = checked_audit(loaded, open_data(loaded))
    assert first.findings
    whole, calls = training.audit, []
    monkeypatch.setattr(training, "audit", lambda *a, **k: calls.append(1) or whole(*a, **k))
    assert checked_audit(loaded, open_data(loaded)) == first
    assert not calls
    leak(recipe)
    assert [pair.kind for pair in checked_audit(loaded, open_data(loaded)).leaks] == ["identical"] * 2
    assert calls
