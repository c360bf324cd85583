"""The gate notices what was done to a released detector's graph; `python -m tests.damage` counts over a hundred."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from medzoo.artifact import ModelFolder
from tests.damage import Gate, damages

ZOO = Path(__file__).parents[2] / "zoo"


@pytest.mark.long
def test_damage_to_a_released_detector_is_noticed(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_DATA", str(shared_data))
    gate = Gate(ModelFolder.open(ZOO / "breast-lesion-rcnn"))
    passed = [one for one in islice(damages(gate.raw, seed=3), 30) if not gate.caught(one)]
    assert [one.words for one in passed if gate.harmful(one)] == []
    assert len(passed) < 5, "most damage must be noticed, not be harmless"
