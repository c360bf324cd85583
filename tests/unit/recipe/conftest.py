"""Fixtures for the tests of this room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from recipe_toys import TEXT, Toys


@pytest.fixture
def catalog() -> Any:
    return Toys()


@pytest.fixture
def text() -> str:
    return TEXT


@pytest.fixture
def recipe_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recipe in brain.yaml, the folder of which is the working directory, so that places are short."""
    monkeypatch.chdir(tmp_path)
    Path("brain.yaml").write_text(TEXT)
    return Path("brain.yaml")
