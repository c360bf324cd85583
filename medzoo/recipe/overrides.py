"""key=value from the command line, or {key: value} from Python, laid over a tree. Knows no schema."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from medzoo.recipe.document import DEEPEST, read_value
from medzoo.recipe.faults import Faults
from medzoo.recipe.scalars import check_scalar
from medzoo.recipe.tree import Leaf, Node, Place, Series, Table, merge

_AFTER_FILES = 1000  # overrides sort behind the places of every file

Overrides = Sequence[str] | Mapping[str, Any]


def override(tree: Table, overrides: Overrides, faults: Faults) -> Table:
    """`tree` with `overrides` laid over it: a mapping is merged in, all else replaces what was there.

    Keys are dotted paths, with a number for an item of a list. What changes a `type` comes first, since it
    drops the fields of the former type; otherwise the order is as given and the last one wins.
    """
    if isinstance(overrides, Mapping):
        items = list(overrides.items())
        read = [_read_item(key, value, _AFTER_FILES + i, faults) for i, (key, value) in enumerate(items)]
    else:
        texts = [overrides] if isinstance(overrides, str) else overrides
        read = [_read_text(text, _AFTER_FILES + i, faults) for i, text in enumerate(texts)]
    found = [item for item in read if item is not None]
    for parts, value in sorted(found, key=lambda item: item[0][-1] != "type"):
        changed = _set(tree, parts, value, (), faults)
        assert isinstance(changed, Table)
        tree = changed
    return tree


_Read = tuple[list[str], Node]


def _read_text(text: str, order: int, faults: Faults) -> _Read | None:
    place = Place(order, 0, 0, f"override {_short(text)}")
    key, equals, value = text.partition("=")
    if not equals:
        faults.add(place, (), "must be key=value, such as train.epochs=3")
        return None
    parts = _parts(key, place, faults)
    node = read_value(value, place=place, faults=faults)
    return None if parts is None or node is None else (parts, node)


def _read_item(key: Any, value: Any, order: int, faults: Faults) -> _Read | None:
    place = Place(order, 0, 0, f"override {_short(f'{key}={value}')}")
    parts = _parts(str(key), place, faults)
    if parts is None:
        return None
    try:
        return parts, _node(value, place, 0)
    except ValueError as error:
        faults.add(place, tuple(parts), str(error))
        return None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _parts(key: str, place: Place, faults: Faults) -> list[str] | None:
    parts = [part.strip() for part in key.split(".")]
    if not all(parts) or len(parts) > DEEPEST or not key.isprintable():
        faults.add(place, (), "the key must be a dotted path, such as train.epochs")
        return None
    return parts


def _node(value: Any, place: Place, depth: int) -> Node:
    """A Python value as a tree. Raises ValueError for what a recipe cannot hold."""
    if depth > DEEPEST:
        raise ValueError(f"is nested more than {DEEPEST} deep")
    if isinstance(value, Mapping):
        values = {str(key): _node(item, place, depth + 1) for key, item in value.items()}
        return Table(values, dict.fromkeys(values, place), place)
    if isinstance(value, list | tuple):
        return Series([_node(item, place, depth + 1) for item in value], place)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    elif not isinstance(value, bool | int | float) and isinstance(value, Real):  # numpy's scalars
        value = int(value) if isinstance(value, Integral) else float(value)
    if value is not None and not isinstance(value, str | bool | int | float):
        raise ValueError(f"must be text, a number, true, false, null, a list or a mapping, not {type(value).__name__}")
    return Leaf(check_scalar(value), place)


def _set(node: Node | None, parts: list[str], value: Node, path: tuple[str, ...], faults: Faults) -> Node:
    """`node` with `value` at `parts`; mappings on the way that are missing are made."""
    part, rest = parts[0], parts[1:]
    if isinstance(node, Series):
        return _set_item(node, parts, value, path, faults)
    base = node if isinstance(node, Table) else Table({}, {}, value.place)
    if rest:
        changed = _set(base.values.get(part), rest, value, (*path, part), faults)
        keys = {part: value.place, **base.keys}
        return Table({**base.values, part: changed}, keys, base.place)
    return merge(base, Table({part: value}, {part: value.place}, base.place))


def _set_item(node: Series, parts: list[str], value: Node, path: tuple[str, ...], faults: Faults) -> Node:
    part, rest = parts[0], parts[1:]
    if not (part.isascii() and part.isdigit() and len(part) < 7 and int(part) < len(node.items)):
        count = len(node.items)
        faults.add(
            value.place,
            (*path, part),
            f"the list has {count} item{'s' * (count > 1)}; name one by its number, from 0"
            if count
            else "the list is empty; give the whole list, as in key=[a, b]",
        )
        return node
    index = int(part)
    old = node.items[index]
    new = _set(old, rest, value, (*path, part), faults) if rest else merge(old, value)
    return Series([*node.items[:index], new, *node.items[index + 1 :]], node.place)
