"""The audit that a training begins with: data that leak are refused, images that cannot be read are left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from medzoo.data.audit.audit import PERSONS, audit
from medzoo.data.audit.report import Audit
from medzoo.data.opened import OpenData, data_params
from medzoo.data.split import PARTS
from medzoo.errors import Fault, UserError
from medzoo.io.cache import cached_result, code_digest, file_digest
from medzoo.recipe import Recipe
from medzoo.types import Array

_LISTED = 20  # images that cannot be read, one a line


def checked_audit(recipe: Recipe, opened: OpenData) -> Audit:
    """Audit a recipe's data before training; cached on disk for the next training on the same data and split.

    Raises UserError for a split with the same patient or image in two parts, unless the recipe allows it.
    """
    found = _cached_audit(recipe, opened)
    if found.leaks and not recipe.data.allow_leaks:
        first, more = found.leaks[0], len(found.leaks) - 1
        words = {"patient": "are of the same patient", "identical": "are identical", "near": "are near-duplicates"}
        rest = f", and {more} more {'pairs' if more > 1 else 'pair'}" if more else ""
        raise UserError(
            f"the split leaks: {first.a} in {first.splits[0]} and {first.b} in {first.splits[1]} "
            f"{words[first.kind]}{rest}",
            where=f"{recipe.source}: data.split",
            hint="medzoo data lists them; split by a group that keeps them together, or set data.allow_leaks=true",
        )
    return found


def as_trained(recipe: Recipe, opened: OpenData, *, say: Callable[[str], object]) -> OpenData:
    """The data that a trained model was trained on: `without_unreadable` if images may have been left out.

    Raises UserError.
    """
    if recipe.train.on_bad_image == "stop":
        return opened
    return without_unreadable(recipe, opened, _cached_audit(recipe, opened), say=say)


def without_unreadable(recipe: Recipe, opened: OpenData, found: Audit, *, say: Callable[[str], object]) -> OpenData:
    """Drop the images that cannot be read, as `train.on_bad_image: skip` asks, and report each; the split stays.

    Raises UserError that names each such image where the recipe says stop (now rather than after hours), and for a
    part that would be empty.
    """
    sides = opened.split.parts()
    unread = {id_: fault for id_, fault in _unread(opened, found).items() if id_ in sides}
    if not unread:
        return opened
    if recipe.train.on_bad_image == "stop":
        hint = "repair or remove it, or set train.on_bad_image=skip"
        faults = [Fault(fault.message, fault.where, fault.hint or hint) for fault in unread.values()]
        rest = [Fault(f"and {len(faults) - _LISTED} more that cannot be read")] if len(faults) > _LISTED else []
        raise UserError.of([*faults[:_LISTED], *rest])
    for fault in unread.values():
        say(f"left out: {Fault(fault.message, fault.where)}")
    left = replace(opened, items=[item for item in opened.items if item.id not in unread])
    for part in PARTS:
        if getattr(opened.split, part) and not left.part(part):
            raise UserError(f"no image of the {part} part can be read", where=f"{recipe.source}: data")
    return left


def _cached_audit(recipe: Recipe, opened: OpenData) -> Audit:
    def fresh() -> Array:
        document = audit(opened.data, opened.split, mirrored=recipe.data.mirrors).to_json()
        return np.frombuffer(json.dumps(document).encode(), np.uint8)

    return Audit.from_json(json.loads(cached_result(_cache_key(recipe, opened), fresh).tobytes()))


def _cache_key(recipe: Recipe, opened: OpenData) -> str:
    """Everything that an audit depends on: items and the bytes of their files, the split, the code; and of other files
    where the recipe points (tables, annotations), sizes and times."""
    items = [
        [
            item.id,
            item.stratum,
            {key: item.groups[key] for key in PERSONS if key in item.groups},
            item.facts,
            [(role, str(path), _file_state(path)) for role, path in sorted(item.files.items())],
        ]
        for item in opened.items
    ]
    params = data_params(recipe)
    named = [value for _, value in params if isinstance(value, Path)]
    beside = [
        (str(path), path.stat().st_size, path.stat().st_mtime_ns)
        for root in named
        for path in sorted([root] if root.is_file() else root.rglob("*"))
    ]
    parts = {part: getattr(opened.split, part) for part in PARTS}
    data = (recipe.task, recipe.labels, recipe.data.type, params, recipe.data.mirrors)
    return repr(("audit", code_digest(), data, parts, items, beside))


def _file_state(path: Path) -> str:
    """The digest of a file, or the error of one that cannot be read."""
    try:
        return file_digest(path)
    except OSError as error:
        return repr(error)


def _unread(opened: OpenData, found: Audit) -> dict[str, Fault]:
    """The error of each item that the audit could not read."""
    ids = set(found.unread)
    faults = {}
    for item in opened.items:
        if item.id in ids:
            try:
                opened.data.load(item)
            except UserError as error:
                faults[item.id] = error.faults[0]
    return faults
