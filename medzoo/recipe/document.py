"""YAML text to a tree with places, by PyYAML's composer; knows YAML 1.2 and nothing of recipes.

PyYAML composes nodes with their marks. Here they become the tree: scalars by the core schema of YAML 1.2, every key
with its place, tags and duplicate keys as faults, aliases counted as if written out. No tag can ever construct
anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from medzoo.recipe.faults import Faults
from medzoo.recipe.scalars import Scalar, check_scalar, resolve
from medzoo.recipe.tree import Leaf, Node, Path, Place, Series, Table

LONGEST = 200_000  # characters of a document
DEEPEST = 32  # mappings and lists inside each other
LARGEST = 10_000  # values after aliases are expanded; long text counts as several
_TEXT_UNIT = 100  # characters that count as one value

# PyYAML's commonest messages, in plainer words.
_PLAINER = (
    ("found character '\\t'", "a tab stands where YAML wants spaces"),
    ("mapping values are not allowed", "a ':' is not allowed here; is a quote or a line break missing?"),
    ("could not find expected ':'", "a key without ':'"),
    ("expected <block end>", "the indentation does not fit the lines above"),
    ("found unexpected end of stream", "a quote is never closed"),
    ("expected ',' or ']'", "a ',' or ']' is missing"),
    ("expected ',' or '}'", "a ',' or '}' is missing"),
    ("but found another document", "a second document starts here; a recipe is one"),
)


class _UnreadableError(Exception):
    """The document cannot be read any further; its fault is already recorded."""


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


def _place_at(text: str, index: int, source: str, order: int) -> Place:
    lines = text[:index].split("\n")
    return Place(order, len(lines), len(lines[-1]) + 1, source)


def _read(text: str, *, source: str, order: int, faults: Faults, flow_only: bool) -> Node | None:
    if len(text) > LONGEST:
        place = Place(order, 0, 0, source)
        faults.add(place, (), f"is longer than {LONGEST:,} characters, too long for a recipe")
        return None
    try:
        return _Document(text, source, order, faults, flow_only).read()
    except yaml.reader.ReaderError as error:
        place = Place(order, 0, 0, source) if flow_only else _place_at(text, error.position, source, order)
        character = error.character if isinstance(error.character, int) else ord(error.character[:1])
        faults.add(place, (), f"holds the control character U+{character:04X}")
    except _UnreadableError:
        pass
    return None


class _Loader(yaml.SafeLoader):
    """PyYAML's composer with a bound on depth, which stops at an alias that PyYAML could not resolve.

    `tags`: explicit tags by the identity of their node; PyYAML's nodes hold resolved ones alone.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.open_anchors: set[str] = set()
        self.tags: dict[int, str] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        anchor = event.anchor
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            if anchor in self.open_anchors:
                raise yaml.MarkedYAMLError(problem=f"the alias *{anchor} stands inside its own anchor",
                                           problem_mark=mark)  # fmt: skip
            if anchor not in self.anchors:
                problem = f"no anchor &{anchor} stands before this alias; quote text that starts with *"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
            return super().compose_node(parent, index)
        if self.depth > DEEPEST:
            problem = f"nested more than {DEEPEST} deep; this is no recipe"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        self.depth += 1
        if anchor is not None:
            # As YAML 1.2 has it, an anchor may be set anew; PyYAML refuses that.
            self.anchors.pop(anchor, None)
            self.open_anchors.add(anchor)
        node = super().compose_node(parent, index)
        self.open_anchors.discard(anchor)
        self.depth -= 1
        if event.tag is not None:
            self.tags[id(node)] = event.tag
        return node


@dataclass(frozen=True)
class _Built:
    """A node of the tree, how many values it counts for with aliases expanded, and how deep it is."""

    node: Node
    size: int
    height: int


class _Document:
    def __init__(self, text: str, source: str, order: int, faults: Faults, flow_only: bool) -> None:
        self.source, self.order, self.faults, self.flow_only = source, order, faults, flow_only
        self.lines = text.split("\n")
        self.loader = _Loader(text)
        self.built: dict[int, _Built] = {}  # by the identity of PyYAML's node, which aliases share
        self.size = 0

    def read(self) -> Node:
        """The one document of the stream."""
        try:
            root: yaml.Node | None = self.loader.get_single_node()
        except yaml.MarkedYAMLError as error:
            mark: Any = error.problem_mark or error.context_mark or self.loader.get_mark()
            raise self.unreadable(mark, str(error.problem or error.context)) from None
        except (ValueError, OverflowError):  # an escape such as "\UFFFFFFFF" in PyYAML's chr()
            raise self.unreadable(self.loader.get_mark(), "an escape names no character") from None
        if root is None:
            place = self.place(self.loader.get_mark())
            if self.flow_only:
                return Leaf(None, place)
            self.faults.add(place, (), "is empty")
            raise _UnreadableError
        return self.build(root, (), 0).node

    def unreadable(self, mark: Any, problem: str) -> _UnreadableError:
        words = next((plain for start, plain in _PLAINER if start in problem), problem)
        hint = None
        if "${" in "".join(self.lines[mark.line : mark.line + 1]):
            hint = "inside { } or [ ], quote text that holds ${...}"
        own = "recipe" in words or "alias" in words
        self.faults.add(self.place(mark), (), words if own else f"not valid YAML: {words}", hint)
        return _UnreadableError()

    def place(self, mark: Any) -> Place:
        if self.flow_only:
            return Place(self.order, 0, 0, self.source)
        return Place(self.order, mark.line + 1, mark.column + 1, self.source)

    def stop(self, node: yaml.Node, path: Path, message: str, hint: str | None = None) -> _UnreadableError:
        self.faults.add(self.place(node.start_mark), path, message, hint)
        return _UnreadableError()

    def count(self, node: yaml.Node, path: Path, size: int, depth: int) -> None:
        self.size += size
        if self.size > LARGEST:
            raise self.stop(node, path, f"more than {LARGEST:,} values, aliases expanded, too many for a recipe")
        if depth > DEEPEST:
            raise self.stop(node, path[:4], f"nested more than {DEEPEST} deep; this is no recipe")

    def build(self, node: yaml.Node, path: Path, depth: int) -> _Built:
        """The part of the tree that `node` stands for, at `depth` mappings and lists."""
        known = self.built.get(id(node))
        if known is not None:  # an alias
            self.count(node, path, known.size, depth + known.height)
            return known
        if id(node) in self.loader.tags:
            tag = self.loader.tags[id(node)].replace("tag:yaml.org,2002:", "!!", 1)
            self.faults.add(self.place(node.start_mark), path, f"the tag {tag} is not allowed; recipes have none")
        if isinstance(node, yaml.ScalarNode):
            built = self.scalar(node, path)
        else:
            assert isinstance(node, yaml.CollectionNode)
            self.count(node, path, 1, depth + 1)
            if self.flow_only and not node.flow_style:
                raise self.stop(node, path, "is no scalar, [list] or {mapping}", "quote it: 'key=\"a: b\"'")
            made = self.series if isinstance(node, yaml.SequenceNode) else self.table
            built = made(node, path, depth + 1)
        self.built[id(node)] = built
        return built

    def scalar(self, node: yaml.ScalarNode, path: Path) -> _Built:
        size = 1 + len(node.value) // _TEXT_UNIT
        self.count(node, path, size, 0)
        value: Scalar = node.value
        try:
            plain = node.style is None and id(node) not in self.loader.tags
            value = check_scalar(resolve(node.value) if plain else node.value)
        except ValueError as error:
            self.faults.add(self.place(node.start_mark), path, str(error))
            value = None
        return _Built(Leaf(value, self.place(node.start_mark)), size, 0)

    def series(self, node: yaml.CollectionNode, path: Path, depth: int) -> _Built:
        items = [self.build(item, (*path, number), depth) for number, item in enumerate(node.value)]
        return _built(Series([item.node for item in items], self.place(node.start_mark)), items)

    def table(self, node: yaml.CollectionNode, path: Path, depth: int) -> _Built:
        values: dict[str, _Built] = {}
        keys: dict[str, Place] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or id(key_node) in self.loader.tags:
                raise self.stop(key_node, path, "a key must be plain text")
            key, place = key_node.value, self.place(key_node.start_mark)  # keys are text as written, as in JSON
            try:
                check_scalar(key)
            except ValueError as error:
                raise self.stop(key_node, path, f"a key {error}") from None
            self.count(key_node, path, len(key) // _TEXT_UNIT, 0)
            value = self.build(value_node, (*path, key), depth)
            if key in keys:
                first = "" if self.flow_only else f" (first in line {keys[key].line})"
                self.faults.add(place, (*path, key), f"the key is written twice{first}")
            else:
                values[key], keys[key] = value, place
        nodes = {key: value.node for key, value in values.items()}
        return _built(Table(nodes, keys, self.place(node.start_mark)), list(values.values()))


def _built(node: Node, parts: list[_Built]) -> _Built:
    return _Built(node, 1 + sum(p.size for p in parts), 1 + max((p.height for p in parts), default=0))
