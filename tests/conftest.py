"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (see docs); tests on it are skipped, with this reason, where it is absent."""
    folder = Path(os.environ.get("MEDZOO_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the shared data are not at {folder}; set MEDZOO_DATA")
    return folder
