"""${NAME} and ${NAME:-default}: filled in for use, kept as written in the resolved recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.errors import UserError
from medzoo.recipe import load_recipe, read_recipe_text
from medzoo.recipe.variables import expand_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}/x", "one/x"),
        ("${A:-two}", "one"),
        ("${B:-two}-${A}", "two-one"),
        ("${EMPTY:-two}", "two"),
        ("${EMPTY}", ""),
        ("${B:-}", ""),
        ("$${A} $A $ {A}", "${A} $A $ {A}"),
        ("${B:-a:-b}", "a:-b"),
        ("${DOLLAR}", "${A}"),  # what a variable holds is not expanded again
    ],
)
def test_expansion(text: str, value: str) -> None:
    assert expand_text(text, {"A": "one", "EMPTY": "", "DOLLAR": "${A}"}) == (value, [])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${B}", "the environment variable B is not set"),
        ("${A", "a variable is written"),
        ("${1x}", "a variable is written"),
        ("${B:-${A}}", "a variable is written"),
        ("${A:=x}", "a variable is written"),
        ("${BAD}", "control character U+001B"),
        ("${LONG}" * 9, "longer than 10,000 characters"),
    ],
)
def test_what_cannot_be_expanded(text: str, message: str) -> None:
    _, wrong = expand_text(text, {"A": "one", "BAD": "\x1b", "LONG": "x" * 2000})
    assert message in wrong[0][0]


def test_resolved_recipe_keeps_variables(recipe_file: Path, monkeypatch: pytest.MonkeyPatch, catalog: object) -> None:
    monkeypatch.setenv("MEDZOO_TEST_ROOT", "/somewhere")
    recipe = load_recipe(recipe_file, catalog=catalog)
    assert recipe.data.params.root == Path("/somewhere/ibsr")
    assert recipe.data.fields["root"] == "/somewhere/ibsr"
    assert "root: ${MEDZOO_TEST_ROOT:-data}/ibsr" in recipe.resolved()
    monkeypatch.delenv("MEDZOO_TEST_ROOT")
    again = read_recipe_text(recipe.resolved(), catalog=catalog)
    assert again.data.params.root == Path("data/ibsr")
    assert again.digest == recipe.digest


def test_unset_variable_is_a_fault_with_its_place(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text().replace(":-data", "_NOT"))
    with pytest.raises(UserError) as caught:
        load_recipe(recipe_file, ["train.batch=x"])
    assert str(caught.value.faults[0]) == (
        "brain.yaml:7:9: data.root: the environment variable MEDZOO_TEST_ROOT_NOT is not set "
        "(set it, or write ${MEDZOO_TEST_ROOT_NOT:-default})"
    )
    assert len(caught.value.faults) == 2


def test_a_variable_gives_text_and_no_number(text: str) -> None:
    with pytest.raises(UserError, match=r"train.batch: must be a whole number, not '8'"):
        read_recipe_text(text, overrides=["train.batch=${NO_SUCH_THING:-8}"])
