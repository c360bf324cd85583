"""Divide a dataset: by which groups, found in headers, tables or names, and whether given parts can be kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from medzoo.data.dataset import Item
from medzoo.data.split import grouped, make_split
from medzoo.errors import UserError
from medzoo.recipe.split import SplitSection

PERSONS = ("patient", "subject")
_VOLUMES = ("case", "series", "scan", "name", "image")
_PICTURES = ("slide", "look")
VAL, TEST = 0.15, 0.2
FEWEST = 5  # groups that a split needs, of which one each is for validation and test
# What a name may begin with and share with other images of one patient: P01_2.png, case-7-left.png, 0007-l.png.
_NAMES = (r"^(.+?)[-_ ][^-_ ]+?(?:\..*)?$", r"^([^-_ .]+)[-_ ]", r"^([A-Za-z]*[-_]?\d+)[-_ ]")


@dataclass(frozen=True)
class Chosen:
    """The split section of a recipe with its reason; `patient`: a pattern for the layout's own parameter."""

    section: dict[str, Any]
    reason: str
    patient: str | None = None


def choose_split(
    items: Sequence[Item], *, volumes: bool, takes_patient: bool, reopen: Callable[[str], Sequence[Item]]
) -> Chosen:
    """The groups that no side may share, and the shares.

    `takes_patient`: the layout has a parameter `patient`, and `reopen` gives its items with a pattern there. Raises
    UserError for data of too few groups.
    """
    shared = set.intersection(*(set(item.groups) for item in items))
    person = next((name for name in PERSONS if name in shared), None)
    pattern, words = None, ""
    if person is not None:
        count = len({item.groups[person] for item in items})
        words = f"{count} {person}s, as headers, tables or paths name them"
    elif takes_patient and (found := patient_pattern([_name(item) for item in items])):
        pattern, count = found
        items, person = reopen(pattern), "patient"
        example = _name(items[0])
        match = re.search(pattern, example)
        words = f"{count} groups of names such as {match[1] if match else ''!r} in {example}, taken for patients"
    group, more = _group(items, shared, person, volumes=volumes)
    words = "; ".join(filter(None, [words, more]))
    groups = _number(items, group)
    if groups < FEWEST:
        raise UserError(
            f"has {groups} groups ({words}); training, validation and test need {FEWEST}", "data.split.group"
        )
    given = _given(items, group)
    if given is not None:
        section, why = given
        return Chosen(section, f"{words}. {why}", pattern)
    parts = {item.part for item in items}
    why = "" if parts == {None} else " The given parts have no test part, or share groups: they are not used."
    section = {"group": group, "val": VAL, "test": TEST, "seed": 0}
    if groups < 12:
        section = {"group": group, "val": max(1, round(groups * VAL)), "test": max(1, round(groups * TEST)), "seed": 0}
    return Chosen(section, f"{words}: none is on two sides.{why}", pattern)


def _name(item: Item) -> str:
    """The name that a layout's `patient` is matched with: the picture's, or the case's."""
    return item.files["image"].name if "image" in item.files and "case" not in item.groups else item.id


def patient_pattern(names: Sequence[str]) -> tuple[str, int] | None:
    """A regular expression whose first group is the patient in image names, and the number of patients.

    None unless it divides them into many groups of which none is large, and several hold more than one image: a
    beginning that all names share, or that each has alone, tells nothing.
    """
    for pattern in _NAMES:
        compiled = re.compile(pattern)
        matches = [compiled.search(name) for name in names]
        if not all(matches):
            continue
        counts = Counter(match[1] for match in matches if match)
        largest = max(counts.values())
        several = sum(count > 1 for count in counts.values())
        if len(counts) >= 10 and largest <= max(3, 0.1 * len(names)) and several >= 0.2 * len(counts):
            return pattern, len(counts)
    return None


def _group(items: Sequence[Item], shared: set[str], person: str | None, *, volumes: bool) -> tuple[str, str]:
    if volumes:
        name = person or next((name for name in _VOLUMES if name in shared), sorted(shared)[0])
        return name, "" if person else f"each {name} is taken for a patient of its own: nothing says otherwise"
    if "near-duplicate" not in shared:
        name = person or next((name for name in (*_PICTURES, *_VOLUMES) if name in shared), sorted(shared)[0])
        return name, "" if person else f"each {name} is taken for a patient of its own"
    other = person or next((name for name in _PICTURES if name in shared), None)
    if other is None:
        return "near-duplicate", "nothing names patients: pictures that are copies or nearly so stay together"
    return f"{other}+near-duplicate", "" if person else f"pictures of one {other} stay together"


def _number(items: Sequence[Item], group: str) -> int:
    return len(grouped(items, group))


def _given(items: Sequence[Item], group: str) -> tuple[dict[str, Any], str] | None:
    """The parts that the data give, where there is a test part and they share no group."""
    parts = Counter(item.part for item in items)
    if None in parts or not {"train", "test"} <= set(parts):
        return None
    section: dict[str, Any] = {"group": group, "given": True}
    if "val" not in parts:
        section["val"] = VAL
    try:
        make_split(items, SplitSection(**section))
    except UserError:
        return None
    shown = ", ".join(f"{part} {count}" for part, count in parts.items())
    return section, f"The parts that the data give ({shown}) share no group, and are kept."
