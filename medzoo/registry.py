"""Names to entries: types are found by listing a package, and a module is imported when it is asked for.

The names are a closed set: files of medzoo.models and medzoo.data.layouts, and what installed packages add
through the entry points `medzoo.models` and `medzoo.data` ("name = module:ENTRY"). A recipe can name only
these; nothing is ever imported by a path that a recipe gives.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Literal

from medzoo.errors import UserError

Kind = Literal["model", "data"]
_PACKAGE: Mapping[Kind, str] = {"model": "medzoo.models", "data": "medzoo.data.layouts"}
_GROUP: Mapping[Kind, str] = {"model": "medzoo.models", "data": "medzoo.data"}


@cache
def names(kind: Kind) -> Mapping[str, str]:
    """Every registered name with where it comes from ("module:ENTRY"); imports none of the modules.

    Raises UserError if two packages claim one name.
    """
    package = _PACKAGE[kind]
    folders = _folders(package)
    found = {
        module.name.replace("_", "-"): f"{package}.{module.name}:ENTRY"
        for module in pkgutil.iter_modules(folders)
        if not module.name.startswith("_")
    }
    for point in _installed(_GROUP[kind]):
        if point.name in found:
            raise UserError(
                f"the {kind} type {point.name!r} is claimed twice, by {found[point.name]} and {point.value}",
                where=f"entry point {_GROUP[kind]}",
                hint="uninstall one of the two packages",
            )
        found[point.name] = point.value
    return MappingProxyType(dict(sorted(found.items())))


def entry(kind: Kind, name: str) -> Any:
    """The entry of one registered type; imports its module. Raises UserError for a name that is not there."""
    known = names(kind)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise UserError(
            f"there is no {kind} type {name!r}",
            hint=f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}",
        )
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def _folders(package: str) -> list[str]:
    """Where a package's modules lie, asked of the finder so that the package itself is not run."""
    root, *rest = package.split(".")
    spec = importlib.util.find_spec(root)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for name in rest:
        folders = [f"{folder}/{name}" for folder in folders]
    return folders


def _installed(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))
