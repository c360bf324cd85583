"""Look up registered types by name: each type is one module of a package, imported when it is asked for.

The names are a closed set: the modules of the packages below, and what installed packages add through entry points of
the same kind ("name = module:ENTRY"). A recipe can name only these; nothing is ever imported by a path that a recipe
gives.

| kind | package | entry points |
| --- | --- | --- |
| model | medzoo.models | medzoo.models |
| data | medzoo.data.layouts, medzoo.data.public | medzoo.data |
| host-step | medzoo.preprocess.host | medzoo.steps |
| graph-step | medzoo.nn.graph | medzoo.graph_steps |
| augment | medzoo.augment.ops | medzoo.augmentations |
| task | medzoo.tasks | medzoo.tasks |
| format | medzoo.writers | medzoo.formats |
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

Kind = Literal["model", "data", "host-step", "graph-step", "augment", "task", "format"]
_PACKAGES: Mapping[Kind, tuple[str, ...]] = {
    "model": ("medzoo.models",),
    "data": ("medzoo.data.layouts", "medzoo.data.public"),
    "host-step": ("medzoo.preprocess.host",),
    "graph-step": ("medzoo.nn.graph",),
    "augment": ("medzoo.augment.ops",),
    "task": ("medzoo.tasks",),
    "format": ("medzoo.writers",),
}
_GROUP: Mapping[Kind, str] = {
    "model": "medzoo.models",
    "data": "medzoo.data",
    "host-step": "medzoo.steps",
    "graph-step": "medzoo.graph_steps",
    "augment": "medzoo.augmentations",
    "task": "medzoo.tasks",
    "format": "medzoo.formats",
}
_NOUN: Mapping[Kind, str] = {
    "model": "model type",
    "data": "data type",
    "host-step": "host step",
    "graph-step": "graph step",
    "augment": "augmentation",
    "task": "task",
    "format": "output format",
}


@cache
def _own_names(kind: Kind) -> Mapping[str, str]:
    """Names of medzoo's own types with their places."""
    return {
        module.name.replace("_", "-"): f"{package}.{module.name}:ENTRY"
        for package in _PACKAGES[kind]
        for module in pkgutil.iter_modules(_folders(package))
        if not module.name.startswith("_")
    }


@cache
def names(kind: Kind) -> Mapping[str, str]:
    """Every registered name with its place ("module:ENTRY"), sorted; imports none of the modules.

    Raises UserError if two packages claim one name.
    """
    found = dict(_own_names(kind))
    for point in _installed(_GROUP[kind]):
        if point.name in found:
            raise UserError(
                f"the {_NOUN[kind]} {point.name!r} is registered twice, by {found[point.name]} and {point.value}",
                where=f"entry point {_GROUP[kind]}",
                hint="uninstall one of the two packages",
            )
        found[point.name] = point.value
    return MappingProxyType(dict(sorted(found.items())))


def entry(kind: Kind, name: str) -> Any:
    """The entry of one registered type; imports its module. Raises UserError for an unknown name.

    >>> entry("data", "voc").tasks
    ('detect',)
    """
    # The entry points of every installed package are read only for a name that is not medzoo's own.
    known = _own_names(kind) if name in _own_names(kind) else names(kind)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        raise UserError(
            f"there is no {_NOUN[kind]} {name!r}",
            hint=f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}",
        )
    module, _, attribute = known[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def entries(kind: Kind) -> dict[str, Any]:
    """The entries of all registered types by name; imports every module of the kind."""
    return {name: entry(kind, name) for name in names(kind)}


def _folders(package: str) -> list[str]:
    """Folders of a package's modules, asked of the finder so that the package itself is not imported."""
    root, *rest = package.split(".")
    spec = importlib.util.find_spec(root)
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for name in rest:
        folders = [f"{folder}/{name}" for folder in folders]
    return folders


def _installed(group: str) -> list[EntryPoint]:
    return sorted(entry_points(group=group), key=lambda point: (point.name, point.value))
