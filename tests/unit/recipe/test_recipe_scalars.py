"""Scalars follow YAML 1.2 core, not the 1.1 that PyYAML speaks."""

from __future__ import annotations

import pytest

from medzoo.recipe.scalars import check_scalar, reads_as_text, resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E3", 1000.0), (".5", 0.5), ("5.", 5.0), ("-1.5e+2", -150.0), ("3", 3), ("+3", 3),
        ("-3", -3), ("010", 10), ("0o17", 15), ("0x1F", 31), ("true", True), ("False", False), ("null", None),
        ("~", None), ("", None),
        # text in YAML 1.2, though something else in 1.1
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("1_000", "1_000"),
        ("12:30:45", "12:30:45"), ("2024-01-31", "2024-01-31"), ("0b11", "0b11"), ("0o8", "0o8"),
        ("tRUE", "tRUE"),
        ("1e", "1e"), ("-", "-"), (".", "."), ("--1", "--1"), ("\u0661", "\u0661"), ("=", "="), ("<<", "<<"),
    ],
)  # fmt: skip
def test_core_schema(text: str, value: object) -> None:
    got = resolve(text)
    assert got == value
    assert type(got) is type(value)
    assert reads_as_text(text) is isinstance(value, str)


@pytest.mark.parametrize("text", [".inf", "-.INF", ".nan", "1e999", "9" * 30, "9" * 5000, "0x" + "f" * 17])
def test_numbers_that_no_recipe_holds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="number"):
        resolve(text)
    assert not reads_as_text(text)


def test_text_with_control_characters_is_refused() -> None:
    assert check_scalar("a\tb\nc é 脑") == "a\tb\nc é 脑"
    for bad in ("a\0", "\x1b[31m", "\x85", "\ud800"):
        with pytest.raises(ValueError, match="control character"):
            check_scalar(bad)
