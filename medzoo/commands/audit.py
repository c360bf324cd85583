"""`medzoo data`: a recipe's data audited before anything trains on them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from medzoo.artifact.environment import installed
from medzoo.commands.locate import find_recipe
from medzoo.data.audit import PERSONS, Audit, image_name
from medzoo.data.audit import audit as audit_data
from medzoo.data.catalog import catalog
from medzoo.data.opened import OpenData, data_params, open_data
from medzoo.data.prints import grey_view
from medzoo.data.split import PARTS
from medzoo.errors import Fault, UserError
from medzoo.io.atomic import atomic_write
from medzoo.io.cache import code_digest, file_digest, kept
from medzoo.plots.colours import grey_window, to_bytes
from medzoo.recipe import Recipe, load_recipe
from medzoo.report.audit_page import drawn, render_audit
from medzoo.types import Array, Image

_NAMED = 20  # images that cannot be read, one a line


def audit(recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Audit:
    """Geometry, labels, splits and leaks of a recipe's data. Raises UserError if they cannot be opened."""
    loaded = load_recipe(find_recipe(recipe), overrides, catalog=catalog())
    opened = open_data(loaded)
    return audit_data(opened.data, opened.split, mirrored=loaded.data.mirrors)


def audit_page(recipe: str | Path, out: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Audit:
    """`audit`, also written to `out` as one HTML page with the pairs side by side. Raises UserError as that does, and
    for a page that cannot be written."""
    target = Path(out)
    if target.suffix.lower() not in (".html", ".htm"):
        raise UserError("the audit's page is HTML", str(target), "-o FILE.html")
    loaded = load_recipe(find_recipe(recipe), overrides, catalog=catalog())
    opened = open_data(loaded)
    found = audit_data(opened.data, opened.split, mirrored=loaded.data.mirrors)
    document = found.to_json()
    wanted = set(drawn(document))
    pictures = {}
    for item in opened.items:
        if (name := image_name(item)) in wanted and name not in pictures:
            try:
                pictures[name] = _thumbnail(opened.data.load(item).image)
            except UserError:
                continue  # the audit says why
    page = render_audit(loaded.name, document, pictures, version=installed("medzoo") or "")
    atomic_write(target, lambda file: file.write(page.encode()))
    return found


def _thumbnail(image: Image) -> bytes:
    """JPEG of the audit's view of an image, at most 320 pixels a side."""
    view = grey_view(image)
    shown = Pillow.fromarray(to_bytes(view, (0.0, 255.0) if view.dtype == np.uint8 else grey_window(view)))
    shown.thumbnail((320, 320))
    file = io.BytesIO()
    shown.save(file, "JPEG", quality=80)
    return file.getvalue()


def _audit_key(recipe: Recipe, opened: OpenData) -> str:
    """All that an audit depends on: items and the bytes of their files, the split, the code; and of what else lies
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
    """The digest of a file; of what cannot be read, that it cannot."""
    try:
        return file_digest(path)
    except OSError as error:
        return repr(error)


def checked_audit(recipe: Recipe, opened: OpenData) -> Audit:
    """The audit that a training begins with; kept on disk for the next training on the same data and split.

    Raises UserError for a split with the same patient or image on two sides, unless the recipe allows it.
    """
    found = _kept_audit(recipe, opened)
    if found.leaks and not recipe.data.allow_leaks:
        first = found.leaks[0]
        words = {"patient": "the same patient", "identical": "the same bytes", "near": "the same content"}
        raise UserError(
            f"the split leaks: {len(found.leaks)} pairs are on two sides, the first ({words[first.kind]}) "
            f"{first.a} in {first.splits[0]} and {first.b} in {first.splits[1]}",
            where=f"{recipe.source}: data.split",
            hint="medzoo data lists them; split by a group that holds them together, or set data.allow_leaks=true",
        )
    return found


def _kept_audit(recipe: Recipe, opened: OpenData) -> Audit:
    def fresh() -> Array:
        document = audit_data(opened.data, opened.split, mirrored=recipe.data.mirrors).to_json()
        return np.frombuffer(json.dumps(document).encode(), np.uint8)

    return Audit.from_json(json.loads(kept(_audit_key(recipe, opened), fresh).tobytes()))


def as_trained(recipe: Recipe, opened: OpenData, *, say: Callable[[str], object]) -> OpenData:
    """`readable` for a model that was trained: its data are looked through only if images may have been left out.

    Raises UserError.
    """
    if recipe.train.on_bad_image == "stop":
        return opened
    return readable(recipe, opened, _kept_audit(recipe, opened), say=say)


def readable(recipe: Recipe, opened: OpenData, found: Audit, *, say: Callable[[str], object]) -> OpenData:
    """The data without what cannot be read, as `train.on_bad_image: skip` asks, each told of; the split stays.

    Raises UserError that names each such image where the recipe says stop, which is better known now than after hours,
    and for a part of which nothing is left.
    """
    sides = opened.split.parts()
    unread = {id_: fault for id_, fault in _unread(opened, found).items() if id_ in sides}
    if not unread:
        return opened
    if recipe.train.on_bad_image == "stop":
        hint = "mend it, take it out, or train.on_bad_image=skip"
        faults = [Fault(fault.message, fault.where, fault.hint or hint) for fault in unread.values()]
        rest = [Fault(f"and {len(faults) - _NAMED} more that cannot be read")] if len(faults) > _NAMED else []
        raise UserError.of([*faults[:_NAMED], *rest])
    for fault in unread.values():
        say(f"left out: {Fault(fault.message, fault.where)}")
    left = replace(opened, items=[item for item in opened.items if item.id not in unread])
    for part in PARTS:
        if getattr(opened.split, part) and not left.part(part):
            raise UserError(f"no image of the {part} part can be read", where=f"{recipe.source}: data")
    return left


def _unread(opened: OpenData, found: Audit) -> dict[str, Fault]:
    """What is wrong with each item that the audit could not read."""
    ids = set(found.unread)
    faults = {}
    for item in opened.items:
        if item.id in ids:
            try:
                opened.data.load(item)
            except UserError as error:
                faults[item.id] = error.faults[0]
    return faults
