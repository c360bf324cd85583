"""Splits: groups stay whole, classes are balanced, and the same seed gives the same split everywhere."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medzoo.data.dataset import Item
from medzoo.data.split import Split, make_split
from medzoo.errors import UserError


@dataclass(frozen=True)
class Section:
    group: str = "patient"
    given: bool = False
    train: int | float | None = None
    val: int | float | None = 0.15
    test: int | float | None = 0.15
    seed: int = 0
    stratify: bool = True
    folds: int | None = None
    fold: int | None = None


def make_items(sizes: list[int], classes: list[str]) -> list[Item]:
    return [
        Item(f"p{p:03d}/{k}.png", {"image": Path(f"p{p:03d}/{k}.png")}, {"patient": f"p{p:03d}"}, classes[p])
        for p, size in enumerate(sizes)
        for k in range(size)
    ]


HUNDRED = make_items([1 + p % 4 for p in range(100)], ["malignant" if p % 3 == 0 else "benign" for p in range(100)])


def sides(items: list[Item], split: Split) -> dict[str, set[str]]:
    parts = split.parts()
    return {p: {i.groups["patient"] for i in items if parts.get(i.id) == p} for p in ("train", "val", "test")}


def test_fractions_keep_groups_whole_and_classes_balanced() -> None:
    split = make_split(HUNDRED, Section())
    by_side = sides(HUNDRED, split)
    assert not by_side["train"] & by_side["test"] | by_side["train"] & by_side["val"] | by_side["val"] & by_side["test"]
    assert len(split.train) + len(split.val) + len(split.test) == len(HUNDRED)
    assert len(split.test) == pytest.approx(0.15 * len(HUNDRED), abs=4)
    stratum = {i.id: i.stratum for i in HUNDRED}
    overall = Counter(stratum.values())["malignant"] / len(HUNDRED)
    for ids in (split.train, split.val, split.test):
        assert sum(stratum[i] == "malignant" for i in ids) / len(ids) == pytest.approx(overall, abs=0.06)


def test_counts_are_exact_counts_of_groups() -> None:
    items = make_items([3] * 18, ["a", "b"] * 9)
    by_side = sides(items, make_split(items, Section(train=12, val=2, test=4)))
    assert [len(by_side[p]) for p in ("train", "val", "test")] == [12, 2, 4]
    assert Counter(int(p[1:]) % 2 for p in by_side["test"]) == {0: 2, 1: 2}


def test_the_split_is_the_same_on_every_machine() -> None:
    split = make_split(HUNDRED, Section())
    assert split.digest == "6d798beda8286f232f15aa2b186c53498805175ae716d0e49d3d4a6547d362a6"
    assert make_split(HUNDRED[::-1], Section()).digest == split.digest
    assert make_split(HUNDRED, Section(seed=1)).digest != split.digest


def test_folds_share_the_test_part_and_measure_each_group_once() -> None:
    splits = [make_split(HUNDRED, Section(folds=5), fold=k) for k in range(5)]
    assert len({s.test for s in splits}) == 1
    assert splits[0].test
    measured = Counter(i for s in splits for i in s.val)
    assert set(measured.values()) == {1}
    assert set(measured) == {i.id for i in HUNDRED} - set(splits[0].test)
    assert not sides(HUNDRED, splits[2])["train"] & sides(HUNDRED, splits[2])["val"]


def test_folds_without_a_test_part_measure_on_the_fold() -> None:
    splits = [make_split(HUNDRED, Section(test=0, folds=4), fold=k) for k in range(4)]
    assert Counter(i for s in splits for i in s.test) == Counter(i.id for i in HUNDRED)
    assert all(s.val and s.train for s in splits)
    assert splits[0].val == splits[1].test


def test_given_parts_are_taken_and_val_is_carved_from_train() -> None:
    items = [replace(i, part="test" if i.groups["patient"] < "p030" else "train") for i in HUNDRED]
    split = make_split(items, Section(given=True, val=0.2))
    assert set(split.test) == {i.id for i in items if i.part == "test"}
    assert split.val
    assert not sides(items, split)["val"] & sides(items, split)["train"]
    assert make_split(items, Section(given=True, val=None)).val == ()


def test_given_parts_that_divide_a_group_are_refused() -> None:
    items = [replace(i, part="test" if n % 2 else "train") for n, i in enumerate(HUNDRED)]
    with pytest.raises(UserError, match="divide the group 'p001'"):
        make_split(items, Section(given=True))


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match=r"no group 'subject'.*patient, none"):
        make_split(HUNDRED, Section(group="subject"))
    with pytest.raises(UserError, match="120 groups were requested, but the data have 100"):
        make_split(HUNDRED, Section(train=100, val=10, test=10))
    with pytest.raises(UserError, match="would be empty"):
        make_split(make_items([50, 50], ["a", "b"]), Section())
    with pytest.raises(UserError, match=r"fold 7 is not between 0 and 4"):
        make_split(HUNDRED, Section(folds=5), fold=7)
    with pytest.raises(UserError, match=r"sum to 1.4"):
        make_split(HUNDRED, Section(val=0.7, test=0.7))
    with pytest.raises(UserError, match="assigns no part to"):
        make_split(HUNDRED, Section(given=True))


def test_none_splits_single_items() -> None:
    split = make_split(HUNDRED, Section(group="none", test=25, val=25))
    assert len(split.test) == len(split.val) == 25


def test_json_comes_back_and_changes_are_noticed() -> None:
    split = make_split(HUNDRED, Section())
    text = json.dumps(split.to_json())
    assert Split.from_json(text) == split
    document = split.to_json()
    document["test"], document["train"] = document["test"][1:], [*document["train"], document["test"][0]]
    with pytest.raises(UserError, match="digest"):
        Split.from_json(document, where="split.json")
    with pytest.raises(UserError, match="more than once"):
        Split.from_json(split.to_json() | {"val": list(split.test)})
    with pytest.raises(UserError, match="not a split file"):
        Split.from_json("[]")


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=12, max_size=60), seed=st.integers(0, 9))
def test_no_split_ever_divides_a_group(sizes: list[int], seed: int) -> None:
    items = make_items(sizes, ["abc"[k % 3] for k in range(len(sizes))])
    by_side = sides(items, make_split(items, Section(val=0.2, test=0.2, seed=seed)))
    assert sum(len(g) for g in by_side.values()) == len(sizes) == len(set.union(*by_side.values()))
