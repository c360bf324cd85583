"""YAML text to a tree: places, and everything that a recipe's YAML may not be."""

from __future__ import annotations

import tracemalloc

import pytest

from medzoo.recipe.document import LONGEST, decode, read_document
from medzoo.recipe.faults import Faults
from medzoo.recipe.tree import Table, place_of, plain


def read(text: str) -> tuple[Table | None, list[str]]:
    faults = Faults()
    tree = read_document(text, source="r.yaml", order=0, faults=faults)
    return tree, [str(f) for f in faults.error().faults] if faults else []


def test_every_key_and_value_knows_its_place() -> None:
    tree, wrong = read("a: 1\nb:\n  c: [x, {d: 2}]\r\n  # no\n  e: |\n    text\n")
    assert not wrong
    assert tree is not None
    assert plain(tree) == {"a": 1, "b": {"c": ["x", {"d": 2}], "e": "text\n"}}
    assert str(place_of(tree, ("b", "c", 1, "d"))) == "r.yaml:3:14"
    assert str(place_of(tree, ("b", "c", 1, "d"), key=True)) == "r.yaml:3:11"
    assert str(place_of(tree, ("b", "missing"))) == "r.yaml:3:3"


def test_quoted_scalars_are_text_and_keys_are_text_as_written() -> None:
    tree, wrong = read("a: '1'\nb: \"true\"\n1: x\nno: y\nnull: z\n")
    assert not wrong
    assert tree is not None
    assert plain(tree) == {"a": "1", "b": "true", "1": "x", "no": "y", "null": "z"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "r.yaml:1:1: is empty"),
        ("# nothing\n", "r.yaml:2:1: is empty"),
        ("[1]", "r.yaml:1:1: a recipe is a mapping of keys to values"),
        ("a: 1\na: 2\nb: {c: 1, c: 2}", "r.yaml:2:1: a: the key is written twice (first in line 1)"),
        ("a: 1\n---\nb: 1\n", "r.yaml:2:1: a second document starts here; a recipe is one"),
        ("a: !!python/object/apply:os.system [x]", "1:4: a: the tag !!python/object/apply:os.system is not"),
        ("a: !mine 3", "r.yaml:1:4: a: the tag !mine is not allowed"),
        ("a: !!str 3", "r.yaml:1:4: a: the tag !!str is not allowed"),
        ("a:\n\tb: 1", "r.yaml:2:1: not valid YAML: a tab stands where YAML wants spaces"),
        ("a: [1, 2\nb: 3\n", "r.yaml:2:2: not valid YAML: a ',' or ']' is missing"),
        ("a: b: c", "r.yaml:1:5: not valid YAML: a ':' is not allowed here"),
        ("a: 'x\n", "r.yaml:2:1: not valid YAML: a quote is never closed"),
        ("a: 1\n b: 2", "r.yaml:2:3: not valid YAML: a ':' is not allowed here"),
        ("a: {r: ${X:-1}/y}", "(inside { } or [ ], quote text that holds ${...})"),
        ('a: "\\UFFFFFFFF"', "not valid YAML: an escape names no character"),
        ('a: "\\0"', "r.yaml:1:4: a: holds the control character U+0000"),
        ("a: 1\nb: \x07", "r.yaml:2:4: holds the control character U+0007"),
        ("? [a]\n: 1", "r.yaml:1:3: a key must be plain text"),
        ("a: .nan", "r.yaml:1:4: a: must be a finite number"),
        ("a: &x [*x]", "r.yaml:1:8: the alias *x stands inside its own anchor"),
        ("a: *x", "r.yaml:1:4: no anchor &x stands before this alias"),
        ("a: " + "[" * 40, "r.yaml:1:36: nested more than 32 deep"),
        ("a: [" + "1, " * 20_000 + "]", "more than 10,000 values"),
        ("a: " + "x" * LONGEST, "is longer than 200,000 characters"),
    ],
)  # fmt: skip
def test_text_that_is_no_recipe_is_reported_with_its_place(text: str, fault: str) -> None:
    assert fault in "\n".join(read(text)[1])


def test_all_double_keys_and_tags_come_at_once() -> None:
    _, wrong = read("a: !x 1\na: 2\nb: {c: 1, c: !y 2}\n")
    assert len(wrong) == 4


def test_aliases_share_their_value_and_its_place() -> None:
    tree, wrong = read("a: &x {b: [1, 2]}\nc: *x\n")
    assert not wrong
    assert tree is not None
    assert plain(tree)["c"] == {"b": [1, 2]}
    assert str(place_of(tree, ("c", "b", 1))) == "r.yaml:1:15"


@pytest.mark.parametrize("seed", ["[lol, lol, lol]", "'" + "lol" * 20_000 + "'"])
def test_aliases_cannot_blow_up_memory(seed: str) -> None:
    lines = [f"a0: &a0 {seed}"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 25)]
    tracemalloc.start()
    tree, wrong = read("\n".join(lines))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert tree is None
    assert "more than 10,000 values, aliases expanded" in wrong[0]
    assert peak < 20e6


def test_depth_counts_through_aliases() -> None:
    _, wrong = read("a: &a " + "[" * 20 + "]" * 20 + "\nb: " + "[" * 20 + "*a" + "]" * 20)
    assert "nested more than 32 deep" in wrong[0]


def test_only_utf8_is_text() -> None:
    faults = Faults()
    assert decode("\ufeffa: é".encode(), source="r.yaml", order=0, faults=faults) == "a: é"
    assert decode(b"a: 1\nb: \xe9", source="r.yaml", order=0, faults=faults) is None
    assert str(faults.error()) == "r.yaml:2:4: is not UTF-8 text (save it as UTF-8)"
