"""The table of `medzoo list` fits the terminal, and never cuts a name or a number."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from medzoo.artifact.manifest import is_non_commercial
from medzoo.report.listing import models_table

MODELS = [
    {
        "name": "breast-ultrasound-alexnet",
        "task": "classify",
        "input": "breast ultrasound picture, alone or with an outline or box",
        "measured_on": "busi test, 126 items",
        "figure": {"name": "machine-outline/auc", "value": 0.861, "low": 0.777, "high": 0.928},
        "bytes": 27_600_000,
        "license": "BUSI (Al-Dhabyani et al., 2020); weights Apache-2.0",
    },
    {
        "name": "made",
        "task": "detect",
        "input": "picture",
        "measured_on": "made test, 3 items",
        "figure": None,
        "bytes": 1,
        "license": "MIT",
    },
]


def printed(width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(models_table(MODELS, width=width))
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [80, 120, 240])
def test_it_fits_and_cuts_nothing(width: int) -> None:
    lines = printed(width)
    assert max(map(len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    whole = ("breast-ultrasound-alexnet", "machine-outline/auc", "(0.777 to 0.928)", "busi test, 126 items", "27.6")
    for words in whole:
        assert words in text, words
    assert "…" not in text
    assert "BUSI" in text
    assert "Al-Dhabyani" not in text, "the card has the whole licence"


def test_a_wide_terminal_has_a_line_a_model() -> None:
    assert len(printed(240)) == 1 + len(MODELS)
    assert len(printed(80)) > 1 + 2 * len(MODELS) - 1


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("CC-BY-NC-SA-4.0 (trained on ACDC)", True),
        ("CC BY-NC 4.0", True),
        ("for non-commercial research", True),
        ("Noncommercial use", True),
        ("CC-BY-SA-4.0 (Task04)", False),
        ("Apache-2.0 (NCBI and INCA)", False),
        ("", False),
    ],
)
def test_licences_that_forbid_commerce_are_marked(licence: str, forbids: bool) -> None:
    assert is_non_commercial(licence) is forbids
    model = {**MODELS[1], "license": licence}
    console = Console(file=io.StringIO(), width=240)
    console.print(models_table([model], width=240))
    assert ("non-commercial" in console.file.getvalue().splitlines()[1].lower().replace(licence.lower(), "")) is forbids  # type: ignore[attr-defined]
