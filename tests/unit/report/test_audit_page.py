"""The audit's page: pairs side by side, findings beside their images, everything in one file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from medzoo.cli import app
from medzoo.report.audit_page import DRAWN, images_to_draw, render_audit

RECIPE = """\
medzoo: 1
name: planted
task: classify
labels: [a, b]
data:
  type: image-folder
  root: {root}
  split: {{group: none, given: true}}
model: {{type: lenet}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A folder with a copy across the sides and one blank picture, and its recipe."""
    for k in range(20):
        draw = np.random.default_rng(k)
        picture = sum(gaussian_filter(draw.standard_normal((96, 96)), s) * s for s in (1.5, 4, 12))
        path = tmp_path / "data" / ("train" if k < 14 else "test") / ("a" if k % 2 else "b") / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(np.clip(90 + 12 * picture, 0, 255).astype(np.uint8)).save(path)
    shutil.copy(tmp_path / "data/train/b/0.png", tmp_path / "data/test/a/copy.png")
    Pillow.fromarray(np.full((96, 96), 9, np.uint8)).save(tmp_path / "data/train/b/2.png")
    path = tmp_path / "planted.yaml"
    path.write_text(RECIPE.format(root=tmp_path / "data"))
    return path


def test_the_page_shows_pairs_side_by_side(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["data", str(recipe), "-o", str(out)])
    assert done.exit_code == 0, done.output
    page = out.read_text()
    leak = re.search(r'<figure class="pair leak">(.*?)</figure>', page, re.DOTALL)
    assert leak
    assert leak[1].count("<img ") == 2
    assert "train/b/0.png" in leak[1]
    assert "test/a/copy.png" in leak[1]
    assert "train · b" in leak[1]
    assert "test · a" in leak[1]
    assert "every pixel is 9" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    browser = shutil.which("chromium")
    if browser:
        shot = tmp_path / "shot.png"
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--screenshot={shot}", str(out)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        assert len(np.unique(np.asarray(Pillow.open(shot).convert("L")))) > 50


def test_another_suffix_is_refused(recipe: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["data", str(recipe), "-o", str(tmp_path / "page.pdf")])
    assert done.exit_code != 0
    assert not (tmp_path / "page.pdf").exists()


def test_long_lists_are_cut_and_names_are_escaped() -> None:
    leaks = [
        {"kind": "near", "a": f"<{k}>", "b": f"b{k}", "splits": ["train", "test"], "labels": ["", ""]}
        for k in range(DRAWN + 5)
    ]
    document = {"images": 200, "splits": {"train": 100, "val": 0, "test": 100}, "leaks": leaks, "findings": []}
    assert len(images_to_draw(document)) == 2 * DRAWN
    page = render_audit("<set>", document, {}, version="1")
    assert page.count('class="pair leak"') == DRAWN
    assert "5 more" in page
    assert "<0>" not in page
    assert "&lt;0&gt;" in page
