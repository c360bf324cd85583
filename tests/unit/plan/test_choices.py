"""Choices of a plan: groups, anchors, directions, patches, and the text of the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.data.dataset import Item
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.plan.draft import Draft
from medzoo.plan.fingerprint import Fingerprint
from medzoo.plan.pictures import cluster_ratios, cluster_sizes, names_a_side
from medzoo.plan.split import choose_split, patient_pattern
from medzoo.plan.volumes import plan_patch
from medzoo.recipe import read_recipe_text
from medzoo.recipe.split import SplitSection


def items(count: int, **groups: Any) -> list[Item]:
    found = []
    for k in range(count):
        named = {name: value(k) for name, value in groups.items()}
        found.append(Item(f"{k}.png", {"image": Path(f"{k}.png")}, named))
    return found


@pytest.mark.parametrize(
    ("names", "patients"),
    [
        ([f"P{k // 3:02d}_{k % 3}.png" for k in range(60)], 20),
        ([f"{k // 2:04d}-{'lr'[k % 2]}.png" for k in range(60)], 30),
        ([f"patient{k // 2:03d}_{('ed', 'es')[k % 2]}" for k in range(60)], 30),
        ([f"case_{k // 3}_{k % 3}.nii.gz" for k in range(60)], 20),
        ([f"img_{k:03d}.png" for k in range(60)], None),  # all share a beginning
        ([f"{k:03d}.png" for k in range(60)], None),
        ([f"{'train' if k % 2 else 'test'}_{k}.png" for k in range(60)], None),
    ],
)
def test_patients_are_read_from_names_only_where_names_tell(names: list[str], patients: int | None) -> None:
    found = patient_pattern(names)
    assert (found and found[1]) == patients


def test_joined_groups_are_never_divided() -> None:
    # Patients 0 and 1 share a near-duplicate, so all of their pictures stay together.
    rows = items(40, patient=lambda k: f"p{k // 4}", **{"near-duplicate": lambda k: "same" if k in (3, 4) else f"n{k}"})
    section = SplitSection(group="patient+near-duplicate", val=0.2, test=0.2)
    sides = make_split(rows, section.model_copy(update=section.amounts)).parts()
    assert len({sides[f"{k}.png"] for k in range(8)}) == 1
    for patient in range(2, 10):
        assert len({sides[f"{4 * patient + k}.png"] for k in range(4)}) == 1


def test_a_split_is_by_patient_and_by_near_duplicates() -> None:
    rows = items(40, patient=lambda k: f"p{k // 4}", **{"near-duplicate": lambda k: f"n{k}"})
    chosen = choose_split(rows, volumes=False, takes_patient=False, reopen=lambda pattern: rows)
    assert chosen.section["group"] == "patient+near-duplicate"
    assert "10 patients" in chosen.reason
    with pytest.raises(UserError, match="3 groups"):
        choose_split(rows[:12], volumes=False, takes_patient=False, reopen=lambda pattern: rows)


@pytest.mark.parametrize("leaks", [False, True])
def test_given_parts_are_kept_unless_they_leak(leaks: bool) -> None:
    parts = ["train", "val", "test"]
    rows = [
        Item(
            str(k),
            {"image": Path(str(k))},
            {"near-duplicate": "same" if leaks and k < 2 else str(k)},
            part=parts[k % 3],
        )
        for k in range(30)
    ]
    chosen = choose_split(rows, volumes=False, takes_patient=False, reopen=lambda pattern: rows)
    assert chosen.section.get("given", False) is not leaks


def test_anchors_are_the_clusters_of_the_boxes() -> None:
    rng = np.random.default_rng(0)
    sides = np.concatenate([rng.normal(size, size / 50, 200) for size in (10, 16, 30, 48, 90, 140)])
    found = np.array(cluster_sizes(sides, levels=3, each=2)).ravel()
    np.testing.assert_allclose(found, [10, 16, 30, 48, 90, 140], rtol=0.05)
    assert (np.diff(np.array(cluster_sizes(np.full(50, 20.0), levels=3, each=2)).ravel()) > 0).all()
    assert cluster_ratios(np.full(50, 1.0)) == [1.0]
    assert len(cluster_ratios(np.exp(rng.normal(0, 0.8, 500)))) == 3


def test_directions_follow_from_the_data() -> None:
    rng = np.random.default_rng(0)
    seen = Fingerprint(
        40, volumes=False, sides={0: rng.normal(0, 1, (40, 2)).tolist(), 1: rng.normal(2, 1, (40, 2)).tolist()}
    )
    assert [seen.has_direction(axis)[0] for axis in (0, 1)] == [False, True]
    seen.sides[0] = seen.sides[0][:5]
    assert seen.has_direction(0) == (True, "only 5 images were seen, too few to tell")


@pytest.mark.parametrize(("label", "sided"), [("left-lung", True), ("Right_Ventricle", True), ("lesion", False)])
def test_labels_that_name_a_side(label: str, sided: bool) -> None:
    assert (names_a_side([label]) is not None) is sided


@pytest.mark.parametrize(
    ("size", "spacing"), [((36, 50, 35), (1, 1, 1)), ((512, 512, 120), (0.7, 0.7, 2.5)), ((20, 256, 256), (5, 1, 1))]
)
def test_patches_fit_and_are_halved(size: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    patch = plan_patch(size, spacing)
    assert np.prod(patch) <= 90_000
    assert all(side % 8 == 0 and side >= 16 for side in patch)


def test_a_draft_is_yaml_with_its_reasons() -> None:
    draft = Draft()
    draft.set("medzoo", 1)
    draft.set("name", "drawn")
    draft.set("task", "detect", "boxes were seen")
    draft.set("labels", ["no", "on", "1e3", "a: b"])
    draft.set("data.type", "mask-boxes")
    draft.set("data.root", "somewhere/with a blank")
    draft.set("data.image", "{name}.png")
    draft.set("data.mask", "{name}_mask.png")
    draft.set("data.split.group", "name", "each for itself")
    draft.set("model.type", "region-cnn")
    draft.set("model.false_positives", None)
    draft.set("train.augment", [{"op": "flip", "axis": "x"}], "a long reason " * 20)
    draft.reasons["train.augment[0]"] = "left and right"
    text = draft.text(["planned"])
    recipe = read_recipe_text(text, "draft")
    assert recipe.labels == ("no", "on", "1e3", "a: b")
    assert recipe.model.fields["false_positives"] is None
    assert "# left and right" in text
    assert "# boxes were seen" in text
    assert max(map(len, text.splitlines())) <= 120
