"""Recipe files, and the files that they extend, as one tree. Knows nothing of the schema."""

from __future__ import annotations

import os
from pathlib import Path

from medzoo.recipe.document import LONGEST, decode, read_document
from medzoo.recipe.faults import Faults
from medzoo.recipe.tree import Leaf, Node, Place, Table, merge
from medzoo.recipe.variables import expand

_LONGEST_CHAIN = 16


def read_file(source: str, faults: Faults) -> Table | None:
    """The tree of the recipe file `source`, laid over what it extends; None after a fault that leaves
    nothing to look at. Places keep pointing into the file in which a value stands."""
    return _read(source, [], Place(0, 0, 0, source), faults)


def _read(source: str, chain: list[str], named: Place, faults: Faults) -> Table | None:
    """`chain`: the files that led here; `named`: where `source` is named."""
    text = _text(source, len(chain), named, faults)
    tree = None if text is None else read_document(text, source=source, order=len(chain), faults=faults)
    if tree is None or "extends" not in tree.values:
        return tree
    target = expand(tree.values["extends"], os.environ, faults, ("extends",))
    rest = Table(
        {key: value for key, value in tree.values.items() if key != "extends"},
        {key: place for key, place in tree.keys.items() if key != "extends"},
        tree.place,
    )
    parent = _parent(target, source, [*chain, source], faults)
    if parent is None:
        return None
    merged = merge(parent, rest)
    assert isinstance(merged, Table)
    return merged


def _parent(target: Node, source: str, chain: list[str], faults: Faults) -> Table | None:
    if faults.at(target.place, ("extends",)):
        return None
    if not isinstance(target, Leaf) or not isinstance(target.value, str):
        faults.add(target.place, ("extends",), "must be the path of one other recipe file")
        return None
    path = os.path.join(os.path.dirname(source), target.value)  # noqa: PTH118, PTH120 - as typed
    seen = [os.path.realpath(name) for name in chain]
    if os.path.realpath(path) in seen:
        turn = " -> ".join([*chain[seen.index(os.path.realpath(path)) :], path])
        faults.add(target.place, ("extends",), f"is circular: {turn}")
        return None
    if len(chain) >= _LONGEST_CHAIN:
        faults.add(target.place, ("extends",), f"more than {_LONGEST_CHAIN} files extend each other")
        return None
    return _read(path, chain, target.place, faults)


def _text(source: str, order: int, named: Place, faults: Faults) -> str | None:
    path, field = Path(source), ("extends",) if order else ()
    naming = f": {source}" if order else ""
    try:
        if path.is_dir():
            faults.add(named, field, f"is a folder, not a recipe file{naming}")
            return None
        if path.exists() and not path.is_file():
            faults.add(named, field, f"is not a regular file{naming}")
            return None
        with path.open("rb") as file:
            data = file.read(4 * LONGEST + 1)
    except FileNotFoundError:
        faults.add(named, field, f"there is no such recipe file{naming}")
        return None
    except (OSError, ValueError) as error:
        words = error.strerror if isinstance(error, OSError) else str(error)
        faults.add(named, field, f"cannot be read ({words}){naming}")
        return None
    if len(data) > 4 * LONGEST:
        faults.add(named, field, f"is longer than {LONGEST:,} characters, too long for a recipe{naming}")
        return None
    return decode(data, source=source, order=order, faults=faults)
