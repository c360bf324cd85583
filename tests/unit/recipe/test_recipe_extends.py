"""A recipe that extends another: merged deeply, lists replaced, every place in its own file."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.errors import UserError
from medzoo.recipe import load_recipe, read_recipe_text


def test_mappings_merge_and_lists_are_replaced(recipe_file: Path, catalog: object) -> None:
    Path("sub").mkdir()
    Path("sub/mine.yaml").write_text(
        "extends: ../brain.yaml\nname: mine\ntrain: {lr: 0.1}\nmetrics: [dice]\nmodel: {dropout: 0.5}\n"
    )
    base, mine = load_recipe(recipe_file, catalog=catalog), load_recipe("sub/mine.yaml", catalog=catalog)
    assert (mine.name, mine.train.lr, mine.train.epochs, mine.metrics) == ("mine", 0.1, 20, ("dice",))
    assert mine.model.params.channels == (64, 256, 768)
    assert mine.model.params.dropout == 0.5
    assert "extends" not in mine.resolved()
    assert read_recipe_text(mine.resolved(), catalog=catalog) == mine != base
    assert mine.source == "sub/mine.yaml"


def test_another_model_type_drops_the_fields_of_the_first(recipe_file: Path, catalog: object) -> None:
    Path("svm.yaml").write_text(
        "extends: brain.yaml\ntask: classify\nmetrics: []\nmodel: {type: svm, features: glcm}\n"
        "preprocess: {host: [], graph: []}\n"
    )
    with pytest.raises(UserError) as caught:
        load_recipe("svm.yaml", catalog=catalog)
    # The parent's epochs are objected to where they stand.
    assert str(caught.value) == "brain.yaml:13:17: train.epochs: an svm takes no epochs (leave it out)"
    with pytest.raises(UserError, match=r"brain.yaml:12:8: model.features: is missing"):
        load_recipe(recipe_file, ["model.type=svm"], catalog=catalog)
    # The order of overrides does not matter for what a changed type drops.
    svm = load_recipe(recipe_file, ["model.c=2.0", "model.type=svm"])
    assert (svm.model.chosen, svm.model.fields) == ("svm", {"c": 2.0})


def test_places_point_into_the_file_in_which_a_value_stands(recipe_file: Path) -> None:
    recipe_file.write_text(recipe_file.read_text().replace("batch: 1024", "batch: many"))
    Path("b.yaml").write_text("extends: brain.yaml\ntrain:\n  lr: high\n  epoch: 3\n")
    with pytest.raises(UserError) as caught:
        load_recipe("b.yaml", ["train.seed=-1"])
    assert [str(f) for f in caught.value.faults] == [
        "b.yaml:3:7: train.lr: must be a number, not 'high'",
        "b.yaml:4:3: train.epoch: unknown key (did you mean 'epochs'?)",
        "brain.yaml:13:45: train.batch: must be a whole number, not 'many'",
        "override 'train.seed=-1': train.seed: must be at least 0, not -1",
    ]


def test_circles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("extends: b.yaml\n")
    Path("b.yaml").write_text("extends: ./a.yaml\n")
    with pytest.raises(UserError) as caught:
        load_recipe("a.yaml")
    assert str(caught.value) == "b.yaml:1:10: extends: is circular: a.yaml -> b.yaml -> ./a.yaml"
    for i in range(20):
        Path(f"c{i}.yaml").write_text(f"extends: c{i + 1}.yaml\n")
    with pytest.raises(UserError, match="more than 16 files extend each other"):
        load_recipe("c0.yaml")


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("no.yaml", "a.yaml:1:10: extends: there is no such recipe file: no.yaml"),
        ("sub", "a.yaml:1:10: extends: is a folder, not a recipe file: sub"),
        ("[x, y]", "a.yaml:1:10: extends: must be the path of one other recipe file"),
        ("${NO_SUCH_THING}", "a.yaml:1:10: extends: the environment variable NO_SUCH_THING is not set"),
        ("bad.yaml", "bad.yaml:1:5: not valid YAML"),
    ],
)
def test_what_cannot_be_extended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, fault: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sub").mkdir()
    Path("bad.yaml").write_text("a: b: c")
    Path("a.yaml").write_text(f"extends: {value}\n")
    with pytest.raises(UserError) as caught:
        load_recipe("a.yaml")
    assert len(caught.value.faults) == 1
    assert str(caught.value).startswith(fault)


def test_a_text_extends_nothing() -> None:
    with pytest.raises(UserError, match="t:1:1: extends: a recipe given as text cannot extend a file"):
        read_recipe_text("extends: a.yaml", "t")
