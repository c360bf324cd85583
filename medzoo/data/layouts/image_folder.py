"""`image-folder`: one folder a class, CLASS/*.png, or with given parts train/CLASS/*.png, val/..., test/..."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import get_args

from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataEntry, DataParams, Item, Part, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.sighting import IMAGE_FOLDERS, MASK_FOLDERS, Listing, Sighting, pair_masks
from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.formats import is_image_file


class Params(DataParams):
    """`root`: the folder of class folders. `patient`: a regular expression on the path below the class whose
    first group is the patient, as in "^([^_]+)_"."""

    root: Path
    patient: str | None = None


class ImageFolder:
    """Classified images by folder. Groups: "image", "near-duplicate", and "patient" if `patient` is given."""

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.root, self.labels = params.root, tuple(labels)
        try:
            self.patient = re.compile(params.patient) if params.patient else None
        except re.error as error:
            raise UserError(f"is not a regular expression: {error}", "data.patient") from None
        if self.patient is not None and not self.patient.groups:
            raise UserError("has no capture group", "data.patient", "put parentheses around the patient: ^([^_]+)_")

    @cached_property
    def images(self) -> dict[str, tuple[Path, str, Part | None]]:
        """Path, label and given part by id, the path below the root."""
        if not self.root.is_dir():
            raise UserError("no such folder", str(self.root))
        parts = [part for part in get_args(Part) if (self.root / part).is_dir()]
        found: dict[str, tuple[Path, str, Part | None]] = {}
        for part in parts or [None]:
            top = self.root / part if part else self.root
            classes = sorted(p.name for p in top.iterdir() if p.is_dir() and not is_hidden(p.name))
            others = [name for name in classes if name not in self.labels]
            if others:
                raise UserError(
                    "does not belong to any label", str(top / others[0]), f"labels: {', '.join(self.labels)}"
                )
            for label in self.labels:
                paths = sorted(p for p in (top / label).rglob("*") if is_image_file(p))
                images = [path for path in paths if not is_hidden(path, root=top)]
                if not images and part in (None, "train"):
                    raise UserError(f"the class {label!r} has no images", str(top / label))
                found |= {p.relative_to(self.root).as_posix(): (p, label, part) for p in images}
        return found

    @cached_property
    def near_duplicates(self) -> dict[str, str]:
        """The near-duplicate group of every image."""
        return near_duplicate_groups({name: path for name, (path, _, _) in self.images.items()})

    def items(self) -> Sequence[Item]:
        """All images, by part, label and path."""
        items = []
        for name, (path, label, part) in self.images.items():
            known = {"image": name}
            if self.patient is not None:
                below = path.relative_to(self.root / (part or "") / label).as_posix()
                match = self.patient.search(below)
                if match is None or not match[1]:
                    raise UserError(f"does not match {self.patient.pattern!r}", str(path), "check data.patient")
                known["patient"] = match[1]
            items.append(
                Item(name, {"image": path}, NearGroups(known, name, lambda: self.near_duplicates), label, part)
            )
        return items

    def load(self, item: Item) -> Sample:
        """The image and its class."""
        return Sample(item, read_image(item.files["image"]), self.labels.index(item.stratum))


def _open(params: Params, task: str, labels: Sequence[str]) -> ImageFolder:
    return ImageFolder(params, labels)


def recognise(listing: Listing) -> Sighting | None:
    """Folders of pictures, one a class, and no masks among them."""
    tops = [PurePosixPath(name).parts for name in listing.pictures]
    given = {parts[0] for parts in tops if len(parts) > 2} & set(get_args(Part))
    depth = 1 if given else 0
    if given and {parts[0] for parts in tops} != given:
        return None
    if any(len(parts) < depth + 2 for parts in tops) or len(listing.pictures) < 0.8 * len(listing.files):
        return None
    classes = Counter(parts[depth] for parts in tops)
    roles = {name.lower() for name in classes} & {
        *MASK_FOLDERS,
        *IMAGE_FOLDERS,
        "train",
        "val",
        "valid",
        "validation",
        "test",
    }
    if len(classes) < 2 or roles or pair_masks(listing.pictures) is not None:
        return None
    shown = ", ".join(f"{name} {count}" for name, count in sorted(classes.items())[:6])
    return Sighting(("classify",), tuple(sorted(classes)), f"a folder a class: {shown}")


ENTRY = DataEntry(Params, ("classify",), _open, image="picture", recognise=recognise)
