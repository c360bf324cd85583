"""Recipes that are right: their typed parts, and the resolved text that reads back to the same recipe."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recipe_toys import TEXT, Toys

from medzoo.errors import UserError
from medzoo.recipe import Recipe, load_recipe, read_recipe_text
from medzoo.recipe.document import read_document
from medzoo.recipe.faults import Faults
from medzoo.recipe.scalars import digest, to_yaml
from medzoo.recipe.tree import plain

FEW = settings(
    max_examples=150,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def holdable(text: str) -> bool:
    return all(c in "\n\t" or c.isprintable() or ord(c) > 0x9F for c in text)


# What plain text is most easily mistaken for.
TRAPS = [
    *("no", "y", "1e-3", "0o17", "0b1", "1_000", "1:30", "2024-01-31", "null", "~", "", "=", "<<", ".inf"),
    *(
        "-",
        "? x",
        "a: b",
        " x",
        "x\n",
        "\n",
        "#",
        "'",
        '"',
        "*a",
        "&a",
        "!a",
        "%a",
        "@",
        "`",
        "---",
        "...",
        "a #b",
    ),
    *("[", "{", "${A", "\ufeff", "\u2028", "\uffff", "\U0001f9e0"),
]
TEXTS = st.text(max_size=20).filter(holdable) | st.sampled_from(TRAPS)
SCALARS = TEXTS | st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | (
    st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXTS, v, max_size=4), max_leaves=12)


def read(text: str) -> Any:
    faults = Faults()
    tree = read_document(text, source="t", order=0, faults=faults)
    assert not faults, faults.error()
    assert tree is not None
    return plain(tree)


def test_typed_parts_with_a_catalog(text: str, catalog: object) -> None:
    recipe = read_recipe_text(text, catalog=catalog)
    assert recipe.model.params == Toys.kinds["model"]["patch-cnn"](channels=(64, 256, 768))
    assert recipe.data.params.root == Path("data/ibsr")
    assert [step.to for step in recipe.host_steps] == ["RAS"]
    assert [step.where for step in recipe.graph_steps] == ["nonzero"]
    step = recipe.preprocess.graph[0]
    assert (step.chosen, step.fields) == ("zscore", {"where": "nonzero"})
    assert recipe.data.split.amounts == {"train": 12, "val": 2, "test": 4}
    assert (recipe.train.lr, recipe.train.max_steps, recipe.train.checkpoint.keep) == (1e-3, None, 2)


def test_split_defaults(text: str) -> None:
    def amounts(split: str) -> dict[str, float | None]:
        given = text.replace("{group: subject, train: 12, val: 2, test: 4, seed: 0}", split)
        return read_recipe_text(given).data.split.amounts

    assert amounts("{group: none}") == {"train": None, "val": 0.1, "test": 0.2}
    assert amounts("{group: none, given: true}") == {"train": None, "val": None, "test": None}
    assert amounts("{group: none, folds: 5, fold: 4}") == {"train": None, "val": 0.1, "test": None}


def test_resolved_text_is_in_schema_order_and_reads_back(text: str, catalog: object) -> None:
    moved = "train: {batch: 2, epochs: 1}\n" + "".join(
        line + "\n" for line in text.splitlines() if not line.startswith("train")
    )
    recipe = read_recipe_text(moved, catalog=catalog)
    keys = [line.split(":")[0] for line in recipe.resolved().splitlines() if line[0].isalpha()]
    assert keys == [
        "medzoo",
        "name",
        "task",
        "labels",
        "data",
        "preprocess",
        "model",
        "train",
        "metrics",
        "export",
    ]
    assert "train: {epochs: 1, batch: 2}" in recipe.resolved()
    again = read_recipe_text(recipe.resolved(), catalog=catalog)
    assert again == recipe
    assert again.digest == recipe.digest
    assert again.resolved() == recipe.resolved()
    assert len(recipe.digest) == 64


def test_copies_and_pickles_keep_everything(text: str, catalog: object) -> None:
    recipe = read_recipe_text(text, "here", catalog=catalog)
    for other in (copy.deepcopy(recipe), pickle.loads(pickle.dumps(recipe))):  # noqa: S301 - of our own making
        assert other == recipe
        assert (other.digest, other.source, other.model.params) == (
            recipe.digest,
            "here",
            recipe.model.params,
        )


def test_recipes_are_frozen(text: str) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_recipe_text(text).train.epochs = 3


def test_a_pipeline_has_members_and_needs_no_model() -> None:
    head = "medzoo: 1\nname: breast-cascade\ntask: detect\nlabels: [lesion]\n"
    cascade = read_recipe_text(head + "members: {find: breast-lesion-rcnn, judge: breast-mass-svm}\n", "c.yaml")
    assert cascade.members == {"find": "breast-lesion-rcnn", "judge": "breast-mass-svm"}
    with pytest.raises(UserError, match=r"c.yaml: this recipe is a pipeline of members and has no model of its own"):
        _ = cascade.model
    assert read_recipe_text(cascade.resolved()) == cascade
    with pytest.raises(UserError) as caught:
        read_recipe_text(head, "c.yaml")
    assert str(caught.value) == "c.yaml:1:1: data: is missing\nc.yaml:1:1: model: is missing"
    assert read_recipe_text(cascade.resolved(), catalog=Toys()) == cascade
    with pytest.raises(UserError, match="only a recipe of task detect"):
        read_recipe_text((head + "members: {find: x}").replace("task: detect", "task: segment"))


@FEW
@given(st.dictionaries(TEXTS, VALUES, max_size=5))
@example({"a": "x" * 300 + " y" * 50, "1": [], "": {}, "b": [[], {}, [[1.0]]]})
def test_written_yaml_reads_back_exactly_in_both_versions(value: dict[str, Any]) -> None:
    text = to_yaml(value)
    got = read(text)
    assert got == value
    assert digest(got) == digest(value)  # tells 1 from 1.0 and from true, which == does not
    assert yaml.safe_load(text) == value  # a reader of YAML 1.1 sees the same


@FEW
@given(st.dictionaries(st.text("abcdefgh_", min_size=1, max_size=8), VALUES, max_size=4), TEXTS)
def test_resolved_recipes_read_back_equal(fields: dict[str, Any], summary: str) -> None:
    overrides = {f"model.x{key}": value for key, value in fields.items()} | {"summary": summary}
    try:
        recipe = read_recipe_text(TEXT, overrides=overrides)
    except UserError as error:
        assert "a variable is written" in str(error)  # noqa: PT017 - the one fault that such values can have
        return
    again = read_recipe_text(recipe.resolved())
    assert again == recipe
    assert again.digest == recipe.digest


LINES = st.sampled_from(
    [*TEXT.splitlines(), "extends: r.yaml", "a: &a [*a]", "b: *a", "  c: 1", "\t", "---", "? x", "'"]
)


@FEW
@given(st.binary(max_size=200) | st.lists(LINES, max_size=20).map(lambda lines: "\n".join(lines).encode()))
@example(b"\xff\xfea\x00")
@example(b'a: "\\ud800"')
@example(b"%YAML 3.0\n---\na: 1")
@example(b"a: " + b"{a: " * 300)
@example(b"- " * 5000)
@example(b"a: !<tag:yaml.org,2002:python/object/apply:os.system> [x]")
def test_any_bytes_give_a_recipe_or_a_user_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(data)
    try:
        assert isinstance(load_recipe(path, catalog=Toys()), Recipe)
    except UserError as error:
        assert all(str(fault).startswith(str(path)) for fault in error.faults)  # noqa: PT017


PATHS = st.sampled_from(
    [
        *("medzoo", "name", "task", "labels", "labels.0", "data", "data.split", "data.split.train", "model"),
        *("preprocess.host", "preprocess.host.0", "preprocess.host.0.op", "model.type", "model.head"),
        *("model.channels.1", "train", "train.augment", "train.checkpoint", "train.warmup", "metrics"),
        *("members", "export.precision", "zzz", "a.b.c"),
    ]
)


@FEW
@given(st.dictionaries(PATHS, VALUES, max_size=5))
def test_any_value_anywhere_gives_a_recipe_or_a_user_error(overrides: dict[str, Any]) -> None:
    try:
        recipe = read_recipe_text(TEXT, overrides=overrides, catalog=Toys())
    except UserError as error:
        assert error.faults  # noqa: PT017
    else:
        assert read_recipe_text(recipe.resolved(), catalog=Toys()) == recipe


@FEW
@given(st.lists(st.text(max_size=12) | st.builds("{}={}".format, PATHS, st.text(max_size=12)), max_size=4))
def test_any_override_text_gives_a_recipe_or_a_user_error(overrides: list[str]) -> None:
    try:
        assert isinstance(read_recipe_text(TEXT, overrides=overrides, catalog=Toys()), Recipe)
    except UserError as error:
        assert error.faults  # noqa: PT017
