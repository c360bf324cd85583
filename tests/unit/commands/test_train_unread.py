"""Images that cannot be read: named before a training begins, or left out of all that it does, as the recipe says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from rich.console import Console
from scipy.ndimage import gaussian_filter

from medzoo.commands.audit import audit
from medzoo.commands.evaluate import evaluate
from medzoo.commands.train import train
from medzoo.errors import UserError

RECIPE = """
medzoo: 1
name: torn
task: classify
labels: [cat, dog]
data:
  type: image-folder
  root: {root}
  split: {{group: near-duplicate, given: true}}
model: {{type: lenet, size: [32, 32]}}
train: {{epochs: 1, batch: 4, max_steps: 2}}
metrics: [accuracy]
"""
PARTS = ("train", "val", "test")


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """Twelve pictures, of which one in each part is cut off."""
    for k in range(12):
        part = PARTS[k // 4]
        path = tmp_path / "data" / part / ("cat" if k % 2 else "dog") / f"p{k:02d}[a].png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(k)
        picture = sum(gaussian_filter(draw.standard_normal((64, 64)), s) * s for s in (1.5, 4, 10))
        Pillow.fromarray(np.clip(100 + 14 * picture, 0, 255).astype(np.uint8)).save(path)
        if k % 4 == 0:
            path.write_bytes(path.read_bytes()[:900])
    path = tmp_path / "torn.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "data"))
    return path


def test_they_are_named_before_anything_is_fitted(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medzoo.nn.weights.build_net", lambda *_: pytest.fail("the training began"))
    with pytest.raises(UserError) as caught:
        train(recipe, out=tmp_path / "model", console=Console(quiet=True))
    lines = str(caught.value).splitlines()
    assert len(lines) == 3  # those of validation and test too, which a training comes to last
    for line, name in zip(lines, ("p00", "p04", "p08"), strict=True):
        assert f"{name}[a].png: " in line
        assert "train.on_bad_image=skip" in line
    assert [path.name for path in (tmp_path / "model").rglob("*") if path.is_file()] == ["lock"]


def test_they_are_left_out_of_all_that_follows(recipe: Path, tmp_path: Path) -> None:
    with (tmp_path / "said").open("w") as file:
        console = Console(file=file, width=200)
        run = train(recipe, {"train.on_bad_image": "skip"}, out=tmp_path / "model", console=console)
        again = evaluate(run.folder, console=console)
    told = [line for line in (tmp_path / "said").read_text().splitlines() if line.startswith("left out: ")]
    for name in ("p00", "p04", "p08"):
        assert sum(f"{name}[a].png: " in line for line in told) == 2  # once by each command
    assert run.manifest["metrics"]["items"] == again.items == 3
    assert run.manifest["audit"]["findings"]["unreadable"] == 3
    assert run.manifest["data"]["items"] == 9
    assert (run.manifest["split"]["train"], run.manifest["split"]["test"]) == (4, 4)


def test_a_part_without_readable_images_is_reported(recipe: Path, tmp_path: Path) -> None:
    for path in (tmp_path / "data" / "test").rglob("*.png"):
        path.write_bytes(b"nothing")
    with pytest.raises(UserError, match="no image of the test part can be read"):
        train(recipe, {"train.on_bad_image": "skip"}, out=tmp_path / "model", console=Console(quiet=True))


def test_the_audit_tells_of_them_in_a_set_that_is_split_by_content(recipe: Path) -> None:
    found = audit(recipe)
    assert sorted(Path(name).name for name in found.unread) == ["p00[a].png", "p04[a].png", "p08[a].png"]
    assert [finding.kind for finding in found.findings if finding.kind == "unreadable"] == ["unreadable"] * 3
