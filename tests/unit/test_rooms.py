"""The rooms that CONTRIBUTING.md and docs/design.md tell of are those that import-linter holds, in its order."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def layers() -> list[str]:
    """From what knows least to what knows most; rooms that may not know each other stand side by side."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    return [room.strip() for layer in reversed(contract["layers"]) for room in layer.split("|")][:-1]


def test_every_room_has_a_row_in_contributing() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    _, start, rest = text.partition("| room |")
    assert start
    table = rest.split("\n\n", 1)[0]
    rows = re.findall(r"^\| ((?:`[\w/.]+`(?:, )?)+) \|", table, re.MULTILINE)
    named = [name.rstrip("/").removesuffix(".py") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert named == layers()


def test_the_design_page_names_them_in_the_same_order() -> None:
    text = " ".join((ROOT / "docs" / "design.md").read_text(encoding="utf-8").split())
    said = re.search(r"only from those before it: ([^.]+)\.", text)
    assert said is not None
    assert re.split(r", | and ", said[1]) == layers()
