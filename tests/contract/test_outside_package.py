"""An installed third-party package brings one type of every kind, by entry points alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

METADATA = """\
Metadata-Version: 2.1
Name: outside-medzoo
Version: 1.0
"""
ENTRY_POINTS = """\
[medzoo.models]
outside-net = outside_medzoo:NET

[medzoo.data]
outside-data = outside_medzoo:DATA

[medzoo.steps]
outside-halve = outside_medzoo:Halve

[medzoo.graph_steps]
outside-double = outside_medzoo:Double

[medzoo.augmentations]
outside-invert = outside_medzoo:Invert

[medzoo.tasks]
outside-grade = outside_medzoo:GRADE

[medzoo.formats]
outside-text = outside_medzoo:Text
"""
SOURCE = '''\
from typing import Literal

import numpy as np
import torch
from torch import nn

from medzoo.augment.augmentation import Augmentation
from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.inputs.images import ImageInput
from medzoo.io.atomic import atomic_write
from medzoo.nn.net import Entry, Geometry, Net, Params
from medzoo.nn.steps import GraphStep, build_steps
from medzoo.preprocess.step import HostStep
from medzoo.tasks.classify import Classify
from medzoo.types import Image
from medzoo.writer import Writer


class Grade(Classify):
    """Grades are classes in order; told apart by accuracy."""

    name = "outside-grade"
    primary_metric = "accuracy"


class Text(Writer):
    """A line of text for each result."""

    @classmethod
    def suffixes(cls, task):
        return (".txt",)

    def write(self, result, base):
        text = f"{result.task}: {result.label}".encode()
        atomic_write(base.with_name(base.name + ".txt"), lambda file: file.write(text))
        return result



class Halve(HostStep):
    """Half of every value."""

    op: Literal["outside-halve"] = "outside-halve"

    def apply(self, image, transform):
        return image.replace(array=image.array.astype(np.float32) / 2), transform


class Double(GraphStep):
    """Twice every value."""

    op: Literal["outside-double"] = "outside-double"

    def build(self):
        return _Double()


class _Double(nn.Module):
    def forward(self, image):
        return image * 2


class Invert(Augmentation):
    """255 less every value."""

    op: Literal["outside-invert"] = "outside-invert"

    def apply(self, image, rng):
        return 255 - image


class NetParams(Params):
    """None."""


class Brightness(Net):
    """Two classes, told by the mean."""

    outputs = ("probabilities",)

    def __init__(self, params, spec):
        super().__init__()
        self.training_input, self.geometry = ImageInput(size=(16, 16)), Geometry(dims=2, channels=1)
        self.steps = build_steps(spec.steps)
        self.head = nn.Linear(1, len(spec.labels))

    def forward(self, image):
        return {"probabilities": self.logits(image).softmax(1)}

    def logits(self, image):
        return self.head(self.steps(image).mean((1, 2, 3))[:, None] / 255)

    def loss(self, image, target):
        return {"cross_entropy": nn.functional.cross_entropy(self.logits(image), target)}


class Made:
    """Twelve grey squares, dark and bright."""

    def items(self):
        return [Item(f"i{n}", {}, stratum=("dark", "bright")[n % 2]) for n in range(12)]

    def load(self, item):
        n = int(item.id[1:])
        level = 40 + 120 * (n % 2) + n
        return Sample(item, Image(np.full((1, 16, 16), level, np.uint8), None, item.id), n % 2)


class MadeParams(DataParams):
    """None."""


GRADE = Grade()
NET = Entry(task="outside-grade", params=NetParams, learns="gradient", build=Brightness, tiny={})
DATA = DataEntry(MadeParams, ("outside-grade",), lambda params, task, labels: Made())
'''
RECIPE = """\
medzoo: 1
name: outside
task: outside-grade
labels: [dark, bright]
data: {type: outside-data, allow_leaks: true, split: {group: none, train: 6, val: 3, test: 3}}
preprocess:
  host: [{op: outside-halve}]
  graph: [{op: outside-double}]
model: {type: outside-net}
train: {epochs: 1, batch: 4, augment: [{op: outside-invert}]}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder on the path that looks as pip would have left it."""
    package = tmp_path / "site"
    info = package / "outside_medzoo-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(METADATA)
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    (package / "outside_medzoo.py").write_text(SOURCE)
    return package


def python(program: str, site: Path, *, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(site)!r})\n{program}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)


def test_a_recipe_of_outside_types_is_checked_trained_and_predicts(site: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text(RECIPE)
    program = """
import subprocess, sys, numpy as np, medzoo
from pathlib import Path
from PIL import Image
run = medzoo.train("outside.yaml", out="run", force=True)
model = medzoo.load(run.folder)
found = model.predict(np.full((16, 16), 200, np.uint8))
print(found.task, sorted(found.probabilities))
Image.fromarray(np.full((16, 16), 200, np.uint8)).save("bright.png")
from medzoo.commands.predict import predict_files
list(predict_files(model, ["bright.png"], out=Path("out"), pictures=False, form="outside-text"))
print(Path("out/bright.txt").read_text().strip() == f"outside-grade: {found.label}")
"""
    done = python(program, site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n") == ["outside-grade ['bright', 'dark']", "True", ""]


@pytest.mark.parametrize("op", ["outside-halve", "outside-double", "outside-invert", "outside-grade"])
def test_without_the_package_its_types_are_unknown(op: str, tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text(RECIPE)
    done = subprocess.run(
        [sys.executable, "-m", "medzoo", "validate", "outside.yaml"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert f"{op!r}" in done.stderr


def test_the_schema_for_editors_holds_outside_types(site: Path, tmp_path: Path) -> None:
    program = (
        "from medzoo.data.catalog import Catalog; from medzoo.recipe import json_schema\nprint(json_schema(Catalog()))"
    )
    done = python(program, site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("outside-net", "outside-data", "outside-halve", "outside-double", "outside-invert", "outside-grade"):
        assert name in done.stdout
