"""Guards refuse here, as they do for users."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDZOO_ANYWAY", raising=False)
