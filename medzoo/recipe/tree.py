"""A document as a tree in which every key and value knows its place. Knows nothing of YAML or the schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medzoo.recipe.scalars import Scalar

Path = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Place:
    """A place in a document: `source` at `line` and `column` (from 1), or an override, which has neither.

    `order` sorts the sources: the recipe itself, what it extends, then the overrides.
    """

    order: int
    line: int
    column: int
    source: str

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Leaf:
    """A scalar."""

    value: Scalar
    place: Place


@dataclass(frozen=True)
class Series:
    """A list."""

    items: Sequence[Node]
    place: Place


@dataclass(frozen=True)
class Table:
    """A mapping; `keys` holds the places of the keys of `values`."""

    values: Mapping[str, Node]
    keys: Mapping[str, Place]
    place: Place


Node = Leaf | Series | Table


def plain(node: Node) -> Any:
    """The tree as dicts, lists and scalars."""
    if isinstance(node, Leaf):
        return node.value
    if isinstance(node, Series):
        return [plain(item) for item in node.items]
    return {key: plain(value) for key, value in node.values.items()}


def child(node: Node | None, part: str | int) -> Node | None:
    """The child under `part` of a mapping or list, None if there is none."""
    if isinstance(node, Table):
        return node.values.get(str(part))
    if isinstance(node, Series) and isinstance(part, int) and 0 <= part < len(node.items):
        return node.items[part]
    return None


def place_of(root: Node, path: Path, *, key: bool = False) -> Place:
    """The place of the value at `path` (of its key if `key`), or of the deepest part of `path` there is."""
    node = root
    for index, part in enumerate(path):
        below = child(node, part)
        if below is None:
            return node.place
        if key and index == len(path) - 1 and isinstance(node, Table):
            return node.keys[str(part)]
        node = below
    return node.place


def merge(base: Node, over: Node) -> Node:
    """`base` with `over` laid on it: mappings merge deeply, all else is replaced.

    A mapping whose `type` changes is replaced too, as the fields of one type mean nothing to another.
    """
    if not isinstance(base, Table) or not isinstance(over, Table):
        return over
    before, after = base.values.get("type"), over.values.get("type")
    if isinstance(before, Leaf) and isinstance(after, Leaf) and before.value != after.value:
        return over
    merged = {
        key: merge(base.values[key], value) if key in base.values else value for key, value in over.values.items()
    }
    return Table({**base.values, **merged}, {**base.keys, **over.keys}, over.place)
