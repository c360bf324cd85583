"""Contour files in their forms, and what is wrong with others, by file and line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.io.contours import read_contours, read_outline

T = np.linspace(0, 2 * np.pi, 40, endpoint=False)
CIRCLE = np.column_stack([30 + 8 * np.cos(T), 20 + 8 * np.sin(T)])


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    text = "x,y\n" + "\n".join(f"{x},{y}" for x, y in CIRCLE.tolist())
    (tmp_path / "a.csv").write_text(text)
    (tmp_path / "a.json").write_text(json.dumps(CIRCLE.tolist()))
    one, two = read_contours(tmp_path / "a.csv"), read_contours(tmp_path / "a.json")
    for image in (one, two):
        ((z, points),) = image.meta["outlines_mm"][0]
        assert z == 0
        assert np.allclose(points, CIRCLE)
    assert np.array_equal(one.array, two.array)
    pixel = one.meta["spacing"][0]
    assert (one.array > 0).sum() * pixel**2 == pytest.approx(np.pi * 64, rel=0.02)


def test_several_slices_in_csv_and_in_json(tmp_path: Path) -> None:
    rows = [(z, x, y) for z in (5.0, 2.5) for x, y in CIRCLE.tolist()]
    (tmp_path / "a.csv").write_text("z, X, Y\n" + "\n".join(",".join(map(str, row)) for row in rows))
    parts = [{"z": z, "points": CIRCLE.tolist()} for z in (5.0, 2.5)]
    (tmp_path / "a.json").write_text(json.dumps({"contours": parts}))
    for name in ("a.csv", "a.json"):
        image = read_outline(str(tmp_path / name))
        assert [z for z, _ in image.meta["outlines_mm"][0]] == [2.5, 5.0]
        assert image.source == str(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "a,b\n1,2\n", "has no columns x and y"),
        ("a.csv", "x,y\n1,2\n1,zwei\n", r"a\.csv:3: '1,zwei' is not a point"),
        ("a.csv", "x,y\n0,0\n1,0\n1,1\n", "3 points is too short"),
        ("a.csv", "", "has no columns"),
        ("a.json", "{", r"a\.json:1:2: is not JSON"),
        ("a.json", '{"points": 3}', "no list of contours"),
        ("a.json", "[[1, 2], [3]]", "not numbers|not a list of points"),
        ("a.json", json.dumps([[1.0, float("nan")]] * 9), "not finite"),
        ("a.json", "[]", "not a list of points|0 points"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        read_contours(tmp_path / name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.csv: no such file"):
        read_contours(tmp_path / "none.csv")
