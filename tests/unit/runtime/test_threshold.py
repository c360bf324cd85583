"""A threshold is a number from 0 to 1, wherever it is given."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import medzoo
from medzoo.cli import app
from medzoo.errors import UserError
from medzoo.runtime.cascade import Cascade
from medzoo.runtime.predictor import Predictor
from tests.unit.runtime.toy_backends import MeanValue

NUMBERS = [50, -1, -1e-9, 1.0001, float("nan"), float("inf"), 1j]
WRONG = [*NUMBERS, "0.5", True, False, np.True_, [0.5], np.array([0.5, 0.6])]
PHANTOM = Path(__file__).resolve().parents[3] / "docs" / "images" / "phantom.png"


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_what_is_no_threshold_is_refused_everywhere(wrong: Any) -> None:
    words = r"^threshold: .* is not a number from 0 to 1 \(as in threshold=0.5\)$"
    for model in ("breast-ultrasound-cnn", "breast-cascade", "http://127.0.0.1:9/none"):
        with pytest.raises(UserError, match=words):
            medzoo.load(model, threshold=wrong)
    predictor = Predictor(MeanValue(), threshold=0.5)
    with pytest.raises(UserError, match=words):
        Predictor(MeanValue(), threshold=wrong)
    with pytest.raises(UserError, match=words):
        predictor.threshold = wrong
    assert predictor.threshold == 0.5


@pytest.mark.parametrize("right", [0, 1, 0.25, np.float32(0.25), np.int64(1), Fraction(1, 4)])
def test_numbers_from_0_to_1_are_taken(right: Any) -> None:
    assert Predictor(MeanValue(), threshold=right).threshold == float(right)


def test_a_cascade_checks_it_too() -> None:
    finder = medzoo.load("breast-lesion-rcnn")
    judge = medzoo.load("breast-ultrasound-cnn")
    with pytest.raises(UserError, match=r"^threshold: 2 is"):
        Cascade.from_members("two", {"find": finder, "judge": judge}, threshold=2)


@pytest.mark.parametrize("text", ["nan", "50", "-1", "inf", "half"])
def test_the_command_line_exits_2(text: str, tmp_path: Path) -> None:
    ran = CliRunner().invoke(
        app, ["predict", "breast-ultrasound-cnn", str(PHANTOM), "--threshold", text, "-o", str(tmp_path / "out")]
    )
    assert ran.exit_code == 2
    assert "threshold" in ran.output.lower()
    assert not (tmp_path / "out").exists()
