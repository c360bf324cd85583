"""The examples in the docstrings of the functions that users call most run as they stand."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

import medzoo
from medzoo.artifact import ModelFolder
from medzoo.commands.compare import compare
from medzoo.io import read_image
from medzoo.recipe import load_recipe
from medzoo.registry import entry
from medzoo.results import Classification, Detections, Result, Segmentation
from medzoo.runtime.predictor import Predictor

ROOT = Path(__file__).resolve().parents[2]
# In the order in which they run: evaluate scores the model that train leaves.
SHOWN = (
    medzoo.load,
    Predictor.predict,
    Classification.to_dict,
    Segmentation.to_dict,
    Segmentation.save,
    Detections.to_dict,
    Result.save,
    read_image,
    entry,
    load_recipe,
    ModelFolder.open,
    compare,
    medzoo.train,
    medzoo.evaluate,
)
RECIPE = """\
medzoo: 1
name: toy
task: classify
labels: [dark, bright]
data: {type: image-folder, root: pictures, split: {group: image, train: 8, val: 4, test: 4}, allow_leaks: true}
model: {type: lenet}
train: {epochs: 1, batch: 4}
metrics: [auc]
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that examples run in: a phantom, a head, pictures with a recipe, and the zoo."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "phantom.png").symlink_to(ROOT / "docs" / "images" / "phantom.png")
    (folder / "zoo").symlink_to(ROOT / "zoo")
    (folder / "recipe.yaml").write_text(RECIPE)
    random = np.random.default_rng(0)
    for label, level in (("dark", 60), ("bright", 160)):
        (folder / "pictures" / label).mkdir(parents=True)
        for number in range(8):
            noise = random.normal(level, 20, (40, 40)).clip(0, 255).astype(np.uint8)
            Pillow.fromarray(noise).save(folder / "pictures" / label / f"{number}.png")
    i, j, k = np.indices((24, 24, 16)) - np.array([12, 12, 8]).reshape(3, 1, 1, 1)
    radius = np.sqrt(i**2 + j**2 + k**2)
    head = np.select([radius < 4, radius < 6, radius < 8], [120.0, 80.0, 30.0]) + random.normal(0, 2, radius.shape)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    nibabel.save(nibabel.Nifti1Image((head * (radius < 8)).astype(np.float32), affine), folder / "head.nii.gz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: shown.__qualname__)
def test_an_example_runs_as_it_stands(shown: Any, here: Path) -> None:
    scope = {"medzoo": medzoo, shown.__name__: shown, "ModelFolder": ModelFolder}
    (example,) = doctest.DocTestFinder(recurse=False).find(shown, shown.__name__, globs=scope)
    assert example.examples
    said: list[str] = []
    failed = doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed
    assert not failed, "".join(said)
