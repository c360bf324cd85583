"""The contract of a dataset: items that can be split by group, and samples on demand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from medzoo.types import Array, Image

Part = Literal["train", "val", "test"]
DERIVED = "made"  # key of Image.meta: which of the images derived from one file this stands for


class DataParams(BaseModel):
    """Base of every data type's parameters (the fields of a recipe's `data:` beside type and split)."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Item:
    """One scan or picture with its label, not yet read.

    `id`: unique and stable in the dataset (a path relative to its root). `groups`: what a split may not
    divide, by name ("patient", "near-duplicate", ...); `split.group` of a recipe picks one.
    `stratum`: what stratified splits balance (a class name). `part`: the side that the dataset itself gives.
    """

    id: str
    files: Mapping[str, Path]
    groups: Mapping[str, str] = field(default_factory=dict)
    stratum: str = ""
    part: Part | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class IgnoredObjects:
    """Objects that count neither as found nor as missed and are left out of training: boxes (M, 2n), labels (M,).

    `crowd`: each stands for a group (COCO's iscrowd), in which a detection need only lie.
    """

    boxes: Array
    labels: Array
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class Objects:
    """Boxes (N, 2n) float32 in the image's own pixels (see medzoo.types) and labels (N,) int64, as indices
    into the recipe's labels.

    `ignored`: further objects, of which detections count neither as hits nor as false positives. `clipped`: how many
    boxes were cut to the image; `dropped`: how many were left out because nothing of them lies in it. `masks`: reads
    the outlines of the objects as layers (L, *spatial) (medzoo.data.instances); None of data that have none.
    """

    boxes: Array
    labels: Array
    ignored: IgnoredObjects | None = None
    clipped: int = 0
    dropped: int = 0
    masks: Callable[[], Array] | None = None

    def ignoring(self, ignored: IgnoredObjects) -> Objects:
        """Return these objects with `ignored` beside them."""
        return replace(self, ignored=ignored)


@dataclass(frozen=True)
class Note:
    """A note on labels for the audit: its kind, a sentence, and the file ("": the whole dataset)."""

    kind: str
    text: str
    place: str = ""


@dataclass(frozen=True, eq=False)
class Sample:
    """A read item: the image as stored, and its target by task: classify an index into the labels, segment a
    label array on the image's grid (uint8), detect `Objects`; `mask`: an outline that came with it; `notes`: notes for
    the audit."""

    item: Item
    image: Image
    target: int | Array | Objects
    mask: Array | None = None
    notes: tuple[Note, ...] = ()


class Dataset(Protocol):
    """A dataset opened for one task."""

    def items(self) -> Sequence[Item]:
        """All items, in a stable order. Raises UserError if the layout on disk is not what it must be."""

    def load(self, item: Item) -> Sample:
        """Read one item. Raises UserError that names the file."""


@runtime_checkable
class EpochDataset(Protocol):
    """A dataset whose images differ from epoch to epoch."""

    def items_at_epoch(self, items: Sequence[Item], epoch: int) -> list[Item]:
        """Return `items` as they are in `epoch`: some are made anew."""


@runtime_checkable
class DerivedDataset(Protocol):
    """A dataset whose images are derived from others; the audit examines the sources."""

    def source(self, item: Item) -> Sample:
        """Return the sample that `item` is derived from; its image.meta has the key DERIVED."""


@runtime_checkable
class NotedDataset(Protocol):
    """A dataset with notes on its files as a whole, such as images that no set lists."""

    def notes(self) -> Sequence[Note]:
        """Notes for the audit, before any item is read. Raises UserError as `items` does."""


@dataclass(frozen=True)
class DataEntry:
    """One data type: its parameters, the tasks it serves, and how it is opened for a task and labels.

    `image`: what its images are, in words, for tables; `scored`: what the labels are and where they are scored,
    for the card.
    """

    params: type[DataParams]
    tasks: tuple[str, ...]
    open: Callable[[Any, str, Sequence[str]], Dataset]
    packages: tuple[str, ...] = ()
    scored: str = ""
    image: str = ""
    recognise: Callable[[Any], Any] | None = None
    """Looks at a Listing of a folder, and returns a Sighting of this layout or None (medzoo.data.sighting)."""
