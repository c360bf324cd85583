"""`dicom`: DICOM series with SEG or RTSTRUCT objects as labels, wherever they lie below a folder, paired by UIDs."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Note, Sample
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io.dicom.headers import Header, read_dataset
from medzoo.io.dicom.label_objects import is_label_object, read_label_object, referenced_uids, structure_names
from medzoo.io.dicom.read import all_headers, read_headers
from medzoo.io.formats import format_of
from medzoo.types import Array, Image

_NAMED = 5  # structures that an error or note names


class Params(DataParams):
    """Parameters of `dicom`: the folder, and what structures are called."""

    root: Path = Field(description="folder below which series and label objects lie, in any order")
    names: dict[str, tuple[str, ...]] = Field(
        default_factory=dict,
        description="further names of each label in the objects, such as {lesion: [GTV, tumour*]}; * is any text",
    )
    objects: str | None = Field(
        default=None, description="file names of the objects that count, such as *seg*.dcm, where a series has several"
    )
    order: tuple[str, ...] = Field(
        default=(),
        description="labels from the lowest to the highest where structures overlap; absent: the labels' order",
    )


@dataclass(frozen=True, eq=False)
class _Series:
    """A series with its label objects."""

    uid: str
    images: tuple[Header, ...]
    objects: tuple[Path, ...]


class Dicom:
    """Items are the series that a SEG or an RTSTRUCT refers to. Structures are found by name: case, blanks, hyphens and
    underscores make no difference, and `names` lists others. What fits no label is left out and noted.

    Ids and the groups "patient", "study" and "series" are digests of what headers say, which no model folder may hold.
    """

    def __init__(self, params: Params, task: str, labels: Sequence[str]) -> None:
        self.params, self.task, self.labels = params, task, tuple(labels)
        for label in (*params.names, *params.order):
            if label not in self.labels[1:]:
                raise UserError(f"{label!r} is not one of the labels after the background", "data.names")

    @cached_property
    def headers(self) -> list[Header]:
        """Headers of all DICOM files below the root."""
        return all_headers(self.params.root)

    @cached_property
    def objects(self) -> list[Header]:
        """The label objects that count."""
        found = [one for one in self.headers if is_label_object(one.head)]
        pattern = self.params.objects
        return [one for one in found if pattern is None or fnmatch(Path(one.name).name, pattern)]

    @cached_property
    def series(self) -> dict[str, _Series]:
        """The series with objects, by UID. Raises UserError where there is none."""
        images: dict[str, list[Header]] = defaultdict(list)
        of_image: dict[str, str] = {}
        for one in self.headers:
            if not is_label_object(one.head) and "Rows" in one.head:
                uid = str(one.head.get("SeriesInstanceUID", ""))
                images[uid].append(one)
                of_image[str(one.head.get("SOPInstanceUID", ""))] = uid
        objects: dict[str, list[Path]] = defaultdict(list)
        for one in self.objects:
            for uid in self._belongs(one, images, of_image):
                objects[uid].append(Path(one.name))
        if not objects:
            have = f"{len(images)} series and {len(self.objects)} SEG or RTSTRUCT"
            raise UserError(f"no label object belongs to a series here: there are {have}", str(self.params.root))
        return {uid: _Series(uid, tuple(images[uid]), tuple(sorted(paths))) for uid, paths in sorted(objects.items())}

    @staticmethod
    def _belongs(one: Header, images: Mapping[str, object], of_image: Mapping[str, str]) -> list[str]:
        head = read_dataset(Path(one.name), one.name, stop_before_pixels=True)
        named = referenced_uids(head)
        found = {uid for uid in named if uid in images} | {of_image[uid] for uid in named if uid in of_image}
        return sorted(found)

    def items(self) -> Sequence[Item]:
        """Every series with labels. Raises UserError for a label that no object has."""
        items, seen = [], set[str]()
        for one in self.series.values():
            head = one.images[0].head
            patient, study = (_digest(str(head.get(key, ""))) for key in ("PatientID", "StudyInstanceUID"))
            files = {"image": Path(one.images[0].name)}
            files |= {f"label-{number}": path for number, path in enumerate(one.objects)}
            groups = {"patient": patient, "study": study, "series": _digest(one.uid)}
            items.append(Item(_digest(one.uid), files, groups))
            seen |= {label for path in one.objects for name in self._structures(path) if (label := self._label(name))}
        missing = [label for label in self.labels[1:] if label not in seen]
        if missing:
            have = sorted({name for one in self.objects for name in structure_names(one.head)})
            shown = ", ".join(have[: 4 * _NAMED]) + (", ..." if len(have) > 4 * _NAMED else "")
            text = f"no structure is called {missing[0]!r}; they are called {shown}"
            raise UserError(text, str(self.params.root), f"set data.names: {{{missing[0]}: [NAME]}}")
        return items

    def notes(self) -> list[Note]:
        """Structures of no label, objects without their series, and series without an object."""
        paired = {path for one in self.series.values() for path in one.objects}
        alone = [Path(one.name).name for one in self.objects if Path(one.name) not in paired]
        others = sorted({n for one in self.objects for n in structure_names(one.head) if self._label(n) is None})
        bare = {str(h.head.get("SeriesInstanceUID", "")) for h in self.headers if not is_label_object(h.head)}
        bare -= set(self.series)
        notes = []
        if alone:
            notes.append(Note("unlisted", f"{len(alone)} label objects belong to no series here: {_some(alone)}"))
        if others:
            notes.append(Note("structures", f"structures of no label are left out: {_some(others)}"))
        if bare:
            notes.append(Note("unlisted", f"{len(bare)} series have no label object and are left out"))
        return notes

    def load(self, item: Item) -> Sample:
        """The series as a volume, and its label map. Raises UserError that names the object."""
        one = next(one for uid, one in self.series.items() if _digest(uid) == item.id)
        image = read_headers(list(one.images), str(Path(one.images[0].name).parent))
        masks: dict[str, Array] = {}
        for path in one.objects:
            for name, mask in read_label_object(path, image).items():
                label = self._label(name)
                if label is None:
                    continue
                if label in masks:
                    hint = "choose one file by data.objects, or take a name out of data.names"
                    raise UserError(f"a second structure is {label!r}: {name!r}", str(path), hint)
                masks[label] = mask
        return self._sample(item, image, masks)

    def _sample(self, item: Item, image: Image, masks: Mapping[str, Array]) -> Sample:
        target, covered = np.zeros(image.shape, np.uint8), 0
        for label in self.params.order or self.labels[1:]:
            if label in masks:
                covered += int((masks[label] & (target != 0)).sum())
                target[masks[label]] = self.labels.index(label)
        notes = []
        if covered:
            notes.append(
                Note("overlap", f"{covered} voxels lie in two structures; the later label has them (data.order)")
            )
        absent = [label for label in self.labels[1:] if label not in masks]
        if absent:
            notes.append(Note("structures", f"has no structure {_some(absent)}: it counts as none there"))
        return Sample(item, image, target, notes=tuple(notes))

    def _structures(self, path: Path) -> list[str]:
        return next(structure_names(one.head) for one in self.objects if Path(one.name) == path)

    def _label(self, name: str) -> str | None:
        """The label that a structure's name means."""
        plain = _plain(name)
        for label in self.labels[1:]:
            if any(fnmatch(plain, _plain(known)) for known in (label, *self.params.names.get(label, ()))):
                return label
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")


def recognise(listing: Listing) -> Sighting | None:
    """DICOM files with a SEG or an RTSTRUCT among them."""
    started = listing.sample([n for n in listing.files if format_of(n) in ("dicom", None)], 20)
    if not any(listing.path(n).open("rb").read(132)[128:] == b"DICM" for n in started):
        return None
    headers = all_headers(listing.root)
    objects = [one for one in headers if is_label_object(one.head)]
    if not objects:
        return None
    names = {name for one in objects for name in structure_names(one.head)}
    modality = next((str(one.head.get("Modality")) for one in headers if not is_label_object(one.head)), None)
    why = f"{len(headers) - len(objects)} DICOM images with {len(objects)} SEG or RTSTRUCT of {len(names)} structures"
    return Sighting(("segment",), tuple(sorted(names)), why, modality=modality)


ENTRY = DataEntry(Params, ("segment",), Dicom, image="scan", recognise=recognise)
