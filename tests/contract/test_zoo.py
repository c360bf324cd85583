"""What every released model must be, found by listing zoo/; and the README's table of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from medzoo.commands.verify import verify
from medzoo.report.card import figure_text

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted(path.parent for path in ROOT.glob("zoo/*/manifest.json"))


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_released_model_is_what_its_manifest_says(folder: Path) -> None:
    assert {check.name for check in verify(folder)} >= {"digests", "card"}
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["name"] == folder.name
    assert manifest["license"]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {*manifest["files"], "manifest.json", "manifest.sha256"}
    assert all(path.stat().st_size <= 25_000_000 for path in files)


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_the_readme_shows_the_models_own_figures(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    figures = {figure["name"]: figure_text(figure) for figure in manifest["metrics"]["figures"]}
    (row,) = [
        line for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines() if f"[{folder.name}]" in line
    ]
    shown = re.findall(r"([a-z0-9/-]+) (\d+\.\d+ \([^)]*\)|\d+\.\d+)", row.split("|")[-2])
    assert shown
    for name, words in shown:
        assert figures[name] == words, name
