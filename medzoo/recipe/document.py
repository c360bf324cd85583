"""YAML text to a tree with places. Knows YAML 1.2 and nothing of recipes.

PyYAML's safe loader parses the text into events; the tree is composed of them here, so that scalars follow
YAML 1.2, every key has a place, and no tag can ever construct anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from medzoo.recipe.faults import Faults
from medzoo.recipe.scalars import Scalar, hold, resolve
from medzoo.recipe.tree import Leaf, Node, Path, Place, Series, Table

LONGEST = 200_000  # characters of a document
DEEPEST = 32  # mappings and lists inside each other
LARGEST = 10_000  # values after aliases are expanded; long text counts as several
_TEXT_UNIT = 100  # characters that count as one value

# PyYAML's commonest words, in plainer ones.
_PLAINER = (
    ("found character '\\t'", "a tab stands where YAML wants spaces"),
    ("mapping values are not allowed", "a ':' is not allowed here; is a quote or a line break missing?"),
    ("could not find expected ':'", "a key without ':'"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("found unexpected end of stream", "a quote is never closed"),
    ("expected ',' or ']'", "a ',' or ']' is missing"),
    ("expected ',' or '}'", "a ',' or '}' is missing"),
)


class _UnreadableError(Exception):
    """The document cannot be read any further; its fault is already said."""


def read_document(text: str, *, source: str, order: int, faults: Faults) -> Table | None:
    """The mapping that `text` holds, or None after a fault that leaves nothing to look at."""
    node = _read(text, source=source, order=order, faults=faults, flow_only=False)
    if node is None or isinstance(node, Table):
        return node
    faults.add(node.place, (), "a recipe is a mapping of keys to values")
    return None


def read_value(text: str, *, place: Place, faults: Faults) -> Node | None:
    """The scalar, or the list or mapping in brackets, that `text` holds; all of it at `place`."""
    return _read(text, source=place.source, order=place.order, faults=faults, flow_only=True)


def decode(data: bytes, *, source: str, order: int, faults: Faults) -> str | None:
    """UTF-8 text of `data`, with or without byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8", "replace")
        faults.add(_place_at(good, len(good), source, order), (), "is not UTF-8 text", "save it as UTF-8")
        return None


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!", 1)


def _place_at(text: str, index: int, source: str, order: int) -> Place:
    lines = text[:index].split("\n")
    return Place(order, len(lines), len(lines[-1]) + 1, source)


def _read(text: str, *, source: str, order: int, faults: Faults, flow_only: bool) -> Node | None:
    if len(text) > LONGEST:
        place = Place(order, 0, 0, source)
        faults.add(place, (), f"is longer than {LONGEST:,} characters; this is no recipe")
        return None
    try:
        return _Composer(text, source, order, faults, flow_only).document()
    except yaml.reader.ReaderError as error:
        place = Place(order, 0, 0, source) if flow_only else _place_at(text, error.position, source, order)
        character = error.character if isinstance(error.character, int) else ord(error.character[:1])
        faults.add(place, (), f"holds the control character U+{character:04X}")
    except _UnreadableError:
        pass
    return None


@dataclass(frozen=True)
class _Composed:
    """A node, how many values it counts for with aliases expanded, and how deep it is."""

    node: Node
    size: int
    height: int


class _Composer:
    def __init__(self, text: str, source: str, order: int, faults: Faults, flow_only: bool) -> None:
        self.source, self.order, self.faults, self.flow_only = source, order, faults, flow_only
        self.lines = text.split("\n")
        self.loader = yaml.SafeLoader(text)
        self.anchors: dict[str, _Composed | None] = {}  # None while the value is still being read
        self.size = 0

    def document(self) -> Node:
        """The one document of the stream."""
        self.next()
        event = self.next()
        if isinstance(event, yaml.StreamEndEvent):
            if self.flow_only:
                return Leaf(None, self.place(event))
            raise self.stop(event, (), "is empty")
        composed = self.compose(self.next(), (), 0)
        self.next()
        event = self.next()
        if not isinstance(event, yaml.StreamEndEvent):
            raise self.stop(event, (), "a second document starts here; a recipe is one")
        return composed.node

    def next(self) -> yaml.Event:
        """The next event; a syntax error becomes a fault."""
        try:
            event: yaml.Event = self.loader.get_event()  # type: ignore[no-untyped-call]
            return event
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark or self.loader.get_mark()
            problem = str(error.problem or error.context)
        except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF" in PyYAML's chr()
            mark, problem = self.loader.get_mark(), "an escape names no character"
        words = next((plain for start, plain in _PLAINER if start in problem), problem)
        hint = None
        if "${" in "".join(self.lines[mark.line : mark.line + 1]):
            hint = "inside { } or [ ], quote text that holds ${...}"
        self.faults.add(self.place_of(mark), (), f"not valid YAML: {words}", hint)
        raise _UnreadableError

    def place_of(self, mark: Any) -> Place:
        if self.flow_only:
            return Place(self.order, 0, 0, self.source)
        return Place(self.order, mark.line + 1, mark.column + 1, self.source)

    def place(self, event: yaml.Event) -> Place:
        return self.place_of(event.start_mark)

    def stop(self, event: yaml.Event, path: Path, message: str, hint: str | None = None) -> _UnreadableError:
        self.faults.add(self.place(event), path, message, hint)
        return _UnreadableError()

    def count(self, event: yaml.Event, path: Path, size: int, depth: int) -> None:
        self.size += size
        if self.size > LARGEST:
            raise self.stop(event, path, f"more than {LARGEST:,} values, aliases expanded; this is no recipe")
        if depth > DEEPEST:
            raise self.stop(event, path[:4], f"nested more than {DEEPEST} deep; this is no recipe")

    def compose(self, event: yaml.Event, path: Path, depth: int) -> _Composed:
        """The node that starts with `event`."""
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, path, depth)
        assert isinstance(event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent)
        if event.tag is not None:
            self.faults.add(
                self.place(event), path, f"the tag {_short_tag(event.tag)} is not allowed; recipes have none"
            )
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        composed = (
            self.scalar(event, path)
            if isinstance(event, yaml.ScalarEvent)
            else (self.collection(event, path, depth + 1))
        )
        if event.anchor is not None:
            self.anchors[event.anchor] = composed
        return composed

    def alias(self, event: yaml.AliasEvent, path: Path, depth: int) -> _Composed:
        name = str(event.anchor)
        if name not in self.anchors:
            self.faults.add(
                self.place(event),
                path,
                f"no anchor &{name} stands before this alias",
                "quote text that starts with *",
            )
            return _Composed(Leaf(None, self.place(event)), 1, 0)
        found = self.anchors[name]
        if found is None:
            raise self.stop(event, path, f"the alias *{name} stands inside its own anchor")
        self.count(event, path, found.size, depth + found.height)
        return found

    def scalar(self, event: yaml.ScalarEvent, path: Path) -> _Composed:
        place = self.place(event)
        size = 1 + len(event.value) // _TEXT_UNIT
        self.count(event, path, size, 0)
        value: Scalar = event.value
        try:
            # implicit[0]: neither quoted nor a block scalar
            value = hold(resolve(event.value) if event.implicit[0] else event.value)
        except ValueError as error:
            self.faults.add(place, path, str(error))
            value = None
        return _Composed(Leaf(value, place), size, 0)

    def collection(self, event: yaml.SequenceStartEvent | yaml.MappingStartEvent, path: Path, depth: int) -> _Composed:
        self.count(event, path, 1, depth)
        if self.flow_only and not event.flow_style:
            raise self.stop(event, path, "is no scalar, [list] or {mapping}", "quote it: 'key=\"a: b\"'")
        sequence = isinstance(event, yaml.SequenceStartEvent)
        return self.series(event, path, depth) if sequence else self.table(event, path, depth)

    def series(self, start: yaml.Event, path: Path, depth: int) -> _Composed:
        items: list[_Composed] = []
        while not isinstance(event := self.next(), yaml.SequenceEndEvent):
            items.append(self.compose(event, (*path, len(items)), depth))
        return self.composed(Series([i.node for i in items], self.place(start)), items)

    def table(self, start: yaml.Event, path: Path, depth: int) -> _Composed:
        values: dict[str, _Composed] = {}
        keys: dict[str, Place] = {}
        while not isinstance(event := self.next(), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.tag is not None or event.anchor is not None:
                raise self.stop(event, path, "a key must be plain text")
            key, place = event.value, self.place(event)  # keys are text as written, as in JSON
            try:
                hold(key)
            except ValueError as error:
                raise self.stop(event, path, f"a key {error}") from None
            self.count(event, path, len(key) // _TEXT_UNIT, 0)
            value = self.compose(self.next(), (*path, key), depth)
            if key in keys:
                first = "" if self.flow_only else f" (first in line {keys[key].line})"
                self.faults.add(place, (*path, key), f"the key is written twice{first}")
            else:
                values[key], keys[key] = value, place
        nodes = {key: value.node for key, value in values.items()}
        return self.composed(Table(nodes, keys, self.place(start)), list(values.values()))

    def composed(self, node: Node, parts: list[_Composed]) -> _Composed:
        return _Composed(node, 1 + sum(p.size for p in parts), 1 + max((p.height for p in parts), default=0))
