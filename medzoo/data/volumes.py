"""Scans of several files, label maps with named values, and slabs of volumes, shared by the layouts of volumes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from medzoo.data.annotation_files import patient_of, patient_pattern
from medzoo.data.dataset import DataParams, Item, Note, Sample
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io.read import read_labels
from medzoo.types import IGNORED, Array, Image

Values = Mapping[str, tuple[int, ...]]


class DatasetJsonParams(DataParams):
    """Parameters of a folder with a dataset.json: the folder, and the label values."""

    root: Path = Field(description="folder that holds dataset.json, imagesTr and labelsTr")
    values: Values | None = Field(
        None, description="values of the label maps by label of the recipe; else they are found by name"
    )
    patient: str | None = Field(
        None, description='regular expression on the case whose first group is the patient, such as "^(.+?)_"'
    )
    ignore: tuple[int, ...] = Field(
        (), description="values of voxels that count in no loss and no metric; a label called ignore is one"
    )


class DatasetJson:
    """Base of the layouts whose dataset.json names the labels."""

    def __init__(self, params: DatasetJsonParams, task: str, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        self.where = str(params.root / "dataset.json")

    @cached_property
    def document(self) -> Any:
        """The dataset.json. Raises UserError."""
        return read_description(self.params.root / "dataset.json")

    @cached_property
    def table(self) -> Values:
        """The label map's values by label. Raises UserError for a label that is not there."""
        if self.params.values is not None:
            return check_values(self.labels, self.params.values)
        return label_table(self.labels, values_by_label(self.document, self.where), where=self.where)

    def groups(self, case: str) -> dict[str, str]:
        """The groups of a case: itself, and the patient that its name tells. Raises UserError where it does not."""
        pattern = patient_pattern(self.params.patient)
        return {"case": case} if pattern is None else {"case": case, "patient": patient_of(pattern, case, self.where)}

    def labelled(self, item: Item, image: Image) -> Sample:
        """The image with the item's label map on its grid, as indices of the labels, IGNORED where it says so.

        Raises UserError.
        """
        stored, where = read_labels(item.files["label"], like=image).array[0], str(item.files["label"])
        return Sample(item, image, index_labels(stored, self.labels, self.table, where=where, ignore=self.ignored))

    @cached_property
    def ignored(self) -> Sequence[int]:
        """Values that are not scored: those of the recipe, and that of a label called "ignore" (nnU-Net 2)."""
        own = ignored_value(self.document)
        return (*self.params.ignore, *([] if own is None else [own]))

    def notes(self) -> Sequence[Note]:
        """The outcome for regions of a dataset.json that overlap."""
        parted = [(name, region, own) for name, region, own in regions(self.document, self.where) if own != region]
        return [
            Note("regions", f"{name} stands for the values {own} alone of {region}: later regions have the others")
            for name, region, own in parted
        ]


def label_table(labels: Sequence[str], named: Mapping[str, Sequence[int]], *, where: str) -> Values:
    """Values of the label map by label of the recipe, found by name in what the dataset calls them.

    Case, blanks, hyphens and underscores make no difference. Label 0 is the background whatever its name.
    Raises UserError for a label that the dataset does not have.
    """
    known = {_plain(name): tuple(values) for name, values in named.items()}
    table: dict[str, tuple[int, ...]] = {labels[0]: (0,)}
    for label in labels[1:]:
        if _plain(label) not in known:
            near = difflib.get_close_matches(_plain(label), known, n=1)
            names = ", ".join(named)
            raise UserError(
                f"the dataset has no label {label!r}; its labels are {names}",
                where,
                f"did you mean {near[0]!r}?" if near else "set data.values",
            )
        table[label] = known[_plain(label)]
    return table


def index_labels(
    stored: Array, labels: Sequence[str], table: Values, *, where: str, ignore: Sequence[int] = ()
) -> Array:
    """`stored` values as uint8 indices into `labels`, those of `ignore` as IGNORED. Raises UserError for a value of no
    label."""
    indices = {value: labels.index(label) for label, values in table.items() for value in values}
    indices |= dict.fromkeys(ignore, IGNORED)
    result = np.zeros(stored.shape, np.uint8)
    for value in np.unique(stored):
        if int(value) not in indices and value != 0:
            raise UserError(
                f"the value {value} belongs to no label of the recipe", where, "check labels and data.values"
            )
        result[stored == value] = indices.get(int(value), 0)
    return result


def check_values(labels: Sequence[str], values: Values) -> Values:
    """`data.values` of a recipe. Raises UserError for a name that is not one of the labels."""
    unknown = [label for label in values if label not in labels]
    if unknown:
        raise UserError(f"{unknown[0]!r} is not one of the labels", "data.values")
    return {labels[0]: (0,), **values}


def read_description(path: Path) -> Mapping[str, Any]:
    """A dataset.json. Raises UserError that names it."""
    if not path.is_file():
        raise UserError("no such file", str(path), "data.root must be the folder that holds dataset.json")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"is not JSON: {error}", str(path)) from error
    if not isinstance(document, dict):
        raise UserError("is not a JSON object", str(path))
    return document


def described(listing: Listing, mine: Callable[[Mapping[str, Any]], bool]) -> Sighting | None:
    """The content of the dataset.json of a folder, or of the one folder in it, if it is `mine`."""
    places = [name for name in listing.matching("*dataset.json") if name.count("/") < 2]
    found = [(name, document) for name in places if isinstance(document := listing.json(name), dict) and mine(document)]
    if not found:
        return None
    if len(found) > 1:
        raise UserError(f"holds several sets: {', '.join(n for n, _ in found)}", str(listing.root), "name one folder")
    ((name, document),) = found
    root = listing.path(name).parent
    values = values_by_label(document, name)
    ignored = ignored_value(document)
    labels = tuple(label for label, own in values.items() if own != [0] and own != [ignored])
    channels = document.get("channel_names") or document.get("modality") or {}
    sorts = ", ".join(map(str, channels.values())) if isinstance(channels, dict) else ""
    why = f"{name} describes {len(labels)} labels and the channels {sorts or '(one)'}"
    return Sighting(("segment",), labels, why, {}, root, modality=sorts or None)


def values_by_label(document: Mapping[str, Any], where: str) -> dict[str, list[int]]:
    """The values by label of a dataset.json: {"1": "name"} as in the Decathlon, {"name": 1} as in nnU-Net 2.

    Of nnU-Net's regions ({"whole": [1, 2, 3], "core": [2, 3]}), each has the values that no later one has: they are
    painted over each other in this order. The label "ignore" is none. Raises UserError for what is no value.
    """
    raw = document.get("labels")
    if not isinstance(raw, dict) or not raw:
        raise UserError("has no labels", where)
    named: dict[str, list[int]] = {name: own for name, _, own in regions(document, where)}
    for key, value in raw.items():
        if key in named or key == "ignore":
            continue
        name, number = (key, value) if isinstance(value, int) else (value, key)
        if not isinstance(name, str) or not str(number).isdigit():
            raise UserError(f"the label {key!r}: {value!r} is not a pair of name and number", where)
        named.setdefault(name, []).append(int(number))
    return named


def regions(document: Mapping[str, Any], where: str) -> list[tuple[str, list[int], list[int]]]:
    """nnU-Net's regions in their order: name, all values, and those that no later region has. Raises UserError."""
    raw = document.get("labels")
    several = (
        {str(key): value for key, value in raw.items() if isinstance(value, list)} if isinstance(raw, dict) else {}
    )
    if not several or not isinstance(raw, dict):
        return []
    # A region may be one value; the order of all but the background and ignore is that of regions_class_order.
    every = {str(k): v if isinstance(v, list) else [v] for k, v in raw.items() if v not in (0, [0]) and k != "ignore"}
    if not all(isinstance(v, int) and not isinstance(v, bool) for values in every.values() for v in values):
        raise UserError("a region is no list of values", where, '{"whole": [1, 2, 3]}')
    found, later = [], set[int]()
    for name, values in reversed(every.items()):
        own = [v for v in values if v not in later]
        if not own:
            hint = "list regions from the largest to the smallest, or set data.values"
            raise UserError(f"the region {name!r} has no value that later regions have not", where, hint)
        found.append((name, values, own))
        later |= set(values)
    return found[::-1]


def ignored_value(document: Mapping[str, Any]) -> int | None:
    """The value of nnU-Net's label "ignore"; None where there is none."""
    raw = document.get("labels")
    value = raw.get("ignore") if isinstance(raw, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def file_inside(root: Path, name: str, where: str) -> Path:
    """A file that a dataset names below its own folder. Raises UserError if it is elsewhere, or not there."""
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise UserError(f"lists a file outside the dataset: {name}", where)
    if not path.is_file():
        raise UserError("no such file", str(path), f"named in {where}")
    return path


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")


def slab_slices(item: Item) -> tuple[slice, ...]:
    """The slab's place in the stored volume, by `axis`, `start` and `stop` of the item's facts; of others all of it."""
    places = [slice(None)] * 3
    if "start" in item.facts:
        places[item.facts["axis"]] = slice(item.facts["start"], item.facts["stop"])
    return tuple(places)


def whole_volume_item(item: Item) -> Item:
    """The item of the whole volume that `item` is a slab of; others as they are."""
    return replace(item, facts={}) if "start" in item.facts else item


def slab_mask(item: Item, shape: tuple[int, ...]) -> Array:
    """A mask uint8 of `shape`, that of the stored volume: 1 in the item's slab."""
    mask = np.zeros(shape, np.uint8)
    mask[slab_slices(item)] = 1
    return mask
