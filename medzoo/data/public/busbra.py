"""`busbra`: BUS-BRA, breast ultrasound pictures of Gomez-Flores et al., Medical Physics 51:3110 (2024), as published:
Images/bus_ID.png, Masks/mask_ID.png and bus_data.csv."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataEntry, DataParams, Item, Objects, Sample
from medzoo.data.instances import stack_layers
from medzoo.data.objects import checked_objects, component_parts, mask_box
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import EmptyMaskError, UserError
from medzoo.io import read_image, read_labels
from medzoo.types import Array

CLASSES = ("benign", "malignant")
TABLE = "bus_data.csv"
_COLUMNS = ("ID", "Case", "Pathology", "Histology", "BIRADS", "Device", "Side")


class Params(DataParams):
    """`root`: the folder that holds Images/, Masks/ and bus_data.csv."""

    root: Path


class BusBra:
    """BUS-BRA for one task. The groups are "patient" (the table's Case), "device" (the scanner), "image" and
    "near-duplicate"; the facts are device, birads, histology and side.

    classify: labels are benign and malignant. segment: labels are background and then `lesion`, or the classes.
    detect: labels are `lesion`, or the classes; each picture has one lesion, the largest connected part of its mask.
    """

    def __init__(self, params: Params, task: str, labels: Sequence[str]) -> None:
        self.params, self.task = params, task
        self.wanted = tuple(labels[1:] if task == "segment" else labels)
        self.merged_class = task != "classify" and self.wanted == ("lesion",)
        unknown = [label for label in self.wanted if label not in CLASSES]
        if (unknown and not self.merged_class) or not self.wanted:
            choice = " or lesion" if task != "classify" else ""
            raise UserError(
                f"{unknown[0] if unknown else 'none'!r} is not a class of busbra",
                "labels",
                f"{', '.join(CLASSES)}{choice}",
            )

    @cached_property
    def rows(self) -> dict[str, dict[str, str]]:
        """The table's rows by item id. Raises UserError that names the row."""
        path = self.params.root / TABLE
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                table = csv.DictReader(file)
                missing = [name for name in _COLUMNS if name not in (table.fieldnames or ())]
                if missing:
                    raise UserError(f"has no column {missing[0]!r}", str(path))
                rows = list(table)
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", str(path)) from error
        except UnicodeDecodeError:
            raise UserError("is not UTF-8 text", str(path)) from None
        found: dict[str, dict[str, str]] = {}
        for number, row in enumerate(rows, 2):
            if row["Pathology"] not in CLASSES:
                raise UserError(f"{row['Pathology']!r} is not a pathology", f"{path}:{number}", " or ".join(CLASSES))
            if not row["Case"]:
                raise UserError("names no patient", f"{path}:{number}", "Case tells whose picture it is")
            if found.setdefault(f"{row['ID']}.png", row) is not row:
                raise UserError(f"the ID {row['ID']!r} occurs twice", f"{path}:{number}")
        if not found:
            raise UserError("lists no pictures", str(path))
        return found

    @cached_property
    def near_duplicates(self) -> Mapping[str, str]:
        """The near-duplicate group of every picture of the set."""
        return near_duplicate_groups({name: self._image(name) for name in self.rows})

    def items(self) -> Sequence[Item]:
        """All pictures in the table's order. Raises UserError for one without a file or a mask."""
        items = []
        for name, row in self.rows.items():
            mask = self.params.root / "Masks" / name.replace("bus_", "mask_", 1)
            for path in (self._image(name), mask):
                if not path.is_file():
                    raise UserError(f"is listed in {TABLE}, and is not there", str(path))
            if self.task == "classify" and row["Pathology"] not in self.wanted:
                continue
            known = {"patient": row["Case"], "device": row["Device"], "image": name}
            facts = {key.lower(): row[key] for key in ("Device", "BIRADS", "Histology", "Side")}
            files = {"image": self._image(name), "mask": mask}
            groups = NearGroups(known, name, lambda: self.near_duplicates)
            items.append(Item(name, files, groups, row["Pathology"], facts=facts))
        return items

    def load(self, item: Item) -> Sample:
        """The picture, its target, and its mask as `Sample.mask` (H, W) uint8."""
        image = read_image(item.files["image"], kind="picture")
        mask = (read_labels(item.files["mask"], like=image).array[0] > 0).astype(np.uint8)
        if not mask.any():
            raise EmptyMaskError("is an empty mask", str(item.files["mask"]))
        if self.task == "classify":
            return Sample(item, image, self.wanted.index(item.stratum), mask)
        number = 0 if self.merged_class else self._index(item.stratum)
        if self.task == "segment":
            return Sample(item, image, mask * np.uint8(0 if number is None else number + 1), mask)
        return Sample(item, image, _lesion(mask, number, str(item.files["mask"])), mask)

    def _index(self, label: str) -> int | None:
        return self.wanted.index(label) if label in self.wanted else None

    def _image(self, name: str) -> Path:
        return self.params.root / "Images" / name


def _lesion(mask: Array, number: int | None, where: str) -> Objects:
    """The lesion of a picture with its mask; none of a class that is not wanted."""
    box = mask_box(mask)
    boxes = [] if number is None or box is None else [box.tolist()]

    def layers(kept: Array) -> Array:
        return stack_layers(((n, *component_parts(mask)[0]) for n, _ in enumerate(kept)), mask.shape)

    return checked_objects(boxes, [number or 0] * len(boxes), mask.shape, where, masks=layers)


def _open(params: Params, task: str, labels: Sequence[str]) -> BusBra:
    return BusBra(params, task, labels)


def recognise(listing: Listing) -> Sighting | None:
    """The set's own bus_data.csv."""
    if "bus_data.csv" not in listing.file_set:
        return None
    return Sighting(
        ("classify", "segment", "detect"), ("benign", "malignant"), "the BUS-BRA set: bus_data.csv", objects=("lesion",)
    )


ENTRY = DataEntry(
    Params, ("classify", "segment", "detect"), _open, image="breast ultrasound picture", recognise=recognise
)
