"""`medzoo data`: a recipe's data audited before anything trains on them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from medzoo.artifact.environment import installed_version
from medzoo.artifact.locate import find_recipe
from medzoo.data.audit.audit import audit as audit_data
from medzoo.data.audit.examine import image_name
from medzoo.data.audit.groups import grey_view
from medzoo.data.audit.report import Audit
from medzoo.data.catalog import catalog
from medzoo.data.conversion import Conversion, convert
from medzoo.data.opened import open_data
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write, protect_inputs
from medzoo.plots.colours import grey_window, to_bytes
from medzoo.recipe import load_recipe
from medzoo.report.audit_page import images_to_draw, render_audit
from medzoo.types import Image


def audit(recipe: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Audit:
    """Geometry, labels, splits and leaks of a recipe's data. Raises UserError if they cannot be opened."""
    loaded = load_recipe(find_recipe(recipe), overrides, catalog=catalog())
    opened = open_data(loaded)
    return audit_data(opened.data, opened.split, mirrored=loaded.data.mirrors)


def convert_data(
    recipe: str | Path, form: str, out: str | Path | None, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> Conversion:
    """A recipe's data in another layout, in the folder `out`, read back and compared. Raises UserError."""
    if out is None:
        raise UserError("needs a folder to write to", "--convert", "add -o FOLDER")
    loaded = load_recipe(find_recipe(recipe), overrides, catalog=catalog())
    return convert(open_data(loaded), form, task=loaded.task, labels=loaded.labels, folder=Path(out))


def audit_page(recipe: str | Path, out: str | Path, overrides: Sequence[str] | Mapping[str, Any] = ()) -> Audit:
    """`audit`, also written to `out` as one HTML page that shows the pairs side by side.

    Raises UserError as `audit` does, and for a page that cannot be written.
    """
    target = Path(out)
    if target.suffix.lower() not in (".html", ".htm"):
        raise UserError("the audit page is written as HTML", str(target), "give -o FILE.html")
    loaded = load_recipe(find_recipe(recipe), overrides, catalog=catalog())
    opened = open_data(loaded)
    protect_inputs(target, loaded.source, *(file for item in opened.items for file in item.files.values()))
    found = audit_data(opened.data, opened.split, mirrored=loaded.data.mirrors)
    document = found.to_json()
    wanted = set(images_to_draw(document))
    pictures = {}
    for item in opened.items:
        if (name := image_name(item)) in wanted and name not in pictures:
            try:
                pictures[name] = _thumbnail(opened.data.load(item).image)
            except UserError:
                continue  # the audit says why
    page = render_audit(loaded.name, document, pictures, version=installed_version("medzoo") or "")
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
