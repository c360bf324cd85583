"""Audit pages and exports are never written over what they are made from, by whatever link they are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.commands.audit import audit_page
from medzoo.commands.export import export
from medzoo.errors import UserError

ZOO = Path(__file__).resolve().parents[3] / "zoo"
OVER = "would be overwritten"
RECIPE = """
medzoo: 1
name: pets
task: classify
labels: [cat, dog]
data:
  type: image-folder
  root: ROOT
  split: {group: image, given: true}
model: {type: lenet, size: [32, 32]}
train: {epochs: 1, batch: 4}
"""


def write_pictures(folder: Path) -> Path:
    draw = np.random.default_rng(0)
    for part in ("train", "val", "test"):
        for label in ("cat", "dog"):
            (folder / "data" / part / label).mkdir(parents=True)
            picture = draw.integers(0, 255, (24, 24), dtype=np.uint8)
            Pillow.fromarray(picture).save(folder / "data" / part / label / "p.png")
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.replace("ROOT", str(folder / "data")))
    return recipe


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("name", ["recipe.yaml", "data/train/cat/p.png", "data/test/dog/p.png"])
def test_an_audit_page_does_not_overwrite_recipe_or_images(name: str, link: object, tmp_path: Path) -> None:
    recipe = write_pictures(tmp_path)
    before = (tmp_path / name).read_bytes()
    page = tmp_path / "page.html"
    link(page, tmp_path / name)  # type: ignore[operator]
    with pytest.raises(UserError, match=OVER):
        audit_page(recipe, page)
    assert (tmp_path / name).read_bytes() == before
    page.unlink()
    audit_page(recipe, page)
    assert page.read_text().startswith("<!")


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "recipe.yaml"])
def test_an_export_does_not_overwrite_the_model_folder(name: str, link: object, tmp_path: Path) -> None:
    folder = tmp_path / "lenet-mass"
    shutil.copytree(ZOO / "lenet-mass", folder)
    before = (folder / name).read_bytes()
    (tmp_path / "out").mkdir()
    link(tmp_path / "out" / "lenet-mass.onnx", folder / name)  # type: ignore[operator]
    with pytest.raises(UserError, match=OVER):
        export(folder, out=tmp_path / "out")
    assert (folder / name).read_bytes() == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lenet-mass.onnx"]
