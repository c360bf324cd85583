"""Overrides: checked exactly as the file is, and named in errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.recipe import Recipe, load_recipe, read_recipe_text


def test_values_are_yaml_scalars_and_flow(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        ["train.lr=1e-2", "labels=[a, b, no]", "train.max_steps=7", "train.max_steps=", "labels.0=none",
         "preprocess.host.0.to=LPS", "data.split={train: 3, val: 1}", "summary='a: b'",
         "model.head.hidden=4"],
    )  # fmt: skip
    assert recipe.train.lr == 0.01
    assert recipe.labels == ("none", "b", "no")
    assert recipe.train.max_steps is None
    assert recipe.host_steps[0] == {"to": "LPS"}
    assert (recipe.data.split.train, recipe.data.split.test) == (3, 4)  # mappings merge, as with extends
    assert recipe.summary == "a: b"
    assert recipe.model.fields["head"] == {"hidden": 4}
    assert read_recipe_text(recipe.resolved()) == recipe


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.epochz=3", "override 'train.epochz=3': train.epochz: unknown key (did you mean 'epochs'?)"),
        ("epochs=3", "override 'epochs=3': epochs: unknown key (did you mean 'train.epochs'?)"),
        (
            "train.epochs=three",
            "override 'train.epochs=three': train.epochs: must be a whole number, not 'three'",
        ),
        ("train.epochs", "override 'train.epochs': must be key=value, such as train.epochs=3"),
        ("=3", "override '=3': the key must be a dotted path, such as train.epochs"),
        ("a..b=3", "override 'a..b=3': the key must be a dotted path, such as train.epochs"),
        ("train.lr=[1", "override 'train.lr=[1': not valid YAML: a ',' or ']' is missing"),
        ("name=a: b", "override 'name=a: b': is no scalar, [list] or {mapping}"),
        (
            "labels.3=x",
            "override 'labels.3=x': labels.3: the list has 3 items; name one by its number, from 0",
        ),
        ("labels.x=x", "override 'labels.x=x': labels.x: the list has 3 items"),
        ("name.x=x", "override 'name.x=x': name: must be text, not a mapping"),
        ("data.root=!!python/name:os.system x", "the tag !!python/name:os.system is not allowed"),
        ("extends=other.yaml", "override 'extends=other.yaml': extends: unknown key"),
    ],
)
def test_faults_name_the_override(recipe_file: Path, override: str, fault: str) -> None:
    with pytest.raises(UserError) as caught:
        load_recipe(recipe_file, [override])
    assert fault in str(caught.value)


def test_a_single_text_is_one_override(recipe_file: Path) -> None:
    assert load_recipe(recipe_file, "train.epochs=3").train.epochs == 3


def test_python_values_keep_their_types(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file,
        {
            "train.epochs": np.int64(3),
            "train.lr": 1,
            "labels": ("a", "1"),
            "data.root": Path("x/y"),
            "summary": "1e-3",
        },
    )
    assert (recipe.train.epochs, recipe.train.lr, recipe.labels) == (3, 1.0, ("a", "1"))
    assert recipe.data.fields["root"] == "x/y"
    assert recipe.summary == "1e-3"
    assert read_recipe_text(recipe.resolved()) == recipe
    with pytest.raises(UserError) as caught:
        load_recipe(recipe_file, {"train.epochs": "3", "train.lr": object(), "train.clip": float("nan")})
    words = [str(f) for f in caught.value.faults]
    assert words[0] == "override 'train.epochs=3': train.epochs: must be a whole number, not '3'"
    assert "must be text, a number, true, false, null, a list or a mapping, not object" in words[1]
    assert "train.clip: must be a finite number" in words[2]


def test_a_list_inside_itself_is_refused(text: str) -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(UserError, match="nested more than 32 deep"):
        read_recipe_text(text, overrides={"labels": endless})


def test_overrides_change_the_digest_and_their_order_does_not(text: str) -> None:
    def read(*overrides: str) -> Recipe:
        return read_recipe_text(text, overrides=overrides)

    assert read().digest != read("train.seed=1").digest
    assert read("train.seed=1", "train.nodes=2") == read("train.nodes=2", "train.seed=1")
    assert read("train.seed=1", "train.nodes=2").digest == read("train.nodes=2", "train.seed=1").digest
