"""`luna16`: lung nodules of LUNA16 (Setio et al., Medical Image Analysis 2017): CT as .mhd, centres in a CSV.

Any table of that form does: seriesuid, coordX, coordY, coordZ (LPS millimetres, as ITK gives them), diameter_mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import Field

from medzoo.data.annotation_files import read_table
from medzoo.data.dataset import DataEntry, DataParams, Item, Note, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.objects import checked_objects
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.types import Array, Image

_COLUMNS = ("seriesuid", "coordX", "coordY", "coordZ", "diameter_mm")


class Params(DataParams):
    """Parameters of `luna16`: the folder, and the table."""

    root: Path = Field(description="folder below which the scans lie, such as subset0/UID.mhd")
    table: str = Field(default="annotations.csv", description="the table below the root")
    least_mm: float = Field(default=0.0, ge=0, description="nodules of a smaller diameter are left out")


class Luna16:
    """Boxes about the nodules' spheres; `Sample.mask` holds the spheres. Groups are "scan" and the "subset" folder."""

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        if len(self.labels) != 1:
            raise UserError("the table tells no labels apart", "labels", "name one, such as nodule")

    @cached_property
    def nodules(self) -> dict[str, list[tuple[int, Array]]]:
        """Line, and centre in RAS and diameter (4,) mm, by scan. Raises UserError that names the line."""
        path = self.params.root / self.params.table
        if not path.is_file():
            raise UserError("no such file", str(path), "set data.table")
        head, *rows = read_table(path) or [[]]
        missing = [name for name in _COLUMNS if name not in head]
        if missing:
            raise UserError(f"has no column {missing[0]!r}; it has {', '.join(head)}", f"{path}:1")
        places = [head.index(name) for name in _COLUMNS]
        found: dict[str, list[tuple[int, Array]]] = {}
        for number, row in enumerate(rows, 2):
            if not any(row):
                continue
            try:
                name, *values = (row[place] for place in places)
                x, y, z, diameter = map(float, values)
            except (IndexError, ValueError):
                raise UserError(f"is no row of {', '.join(_COLUMNS)}", f"{path}:{number}") from None
            if diameter <= 0:
                raise UserError(f"the diameter is {diameter:g} mm", f"{path}:{number}")
            found.setdefault(name, []).append((number, np.array([-x, -y, z, diameter])))
        return found

    @cached_property
    def scans(self) -> dict[str, Path]:
        """The scans by their UID, the file's name."""
        paths = sorted(p for p in self.params.root.rglob("*.mh[ad]") if not is_hidden(p, root=self.params.root))
        found: dict[str, Path] = {}
        for path in paths:
            if (other := found.setdefault(path.stem, path)) != path:
                raise UserError(f"is there twice, as {other} too", str(path), "keep one")
        if not found:
            raise UserError("holds no .mhd or .mha", str(self.params.root), "check data.root")
        return found

    def items(self) -> Sequence[Item]:
        """All scans, also those without a nodule. Raises UserError where the table names none of them."""
        if not set(self.nodules) & set(self.scans):
            raise UserError("the table names none of the scans", str(self.params.root / self.params.table))
        return [
            Item(name, {"image": path}, {"scan": name, "subset": path.parent.name}) for name, path in self.scans.items()
        ]

    def notes(self) -> list[Note]:
        """Scans of the table that are not there."""
        absent = [name for name in self.nodules if name not in self.scans]
        text = f"{len(absent)} scans of the table are not there, {absent[0][-12:]} first" if absent else ""
        return [Note("unlisted", text)] if absent else []

    def load(self, item: Item) -> Sample:
        """The scan with its nodules. Raises UserError that names the line of one outside it."""
        image = read_image(item.files["image"], kind="volume")
        assert image.affine is not None
        rows = [(n, row) for n, row in self.nodules.get(item.id, []) if row[3] >= self.params.least_mm]
        mask, boxes = np.zeros(image.shape, np.uint8), []
        to_index = np.linalg.inv(image.affine)
        for number, row in rows:
            centre = to_index[:3, :3] @ row[:3] + to_index[:3, 3]
            radius = row[3] / 2 / np.array(image.spacing)
            if (centre < -0.5).any() or (centre > np.array(image.shape) - 0.5).any():
                where = f"{self.params.root / self.params.table}:{number}"
                raise UserError(f"the centre lies outside its scan {item.files['image'].name}", where)
            # Indices count from the voxels' centres, boxes from their edges.
            boxes.append([*(centre - radius + 0.5), *(centre + radius + 0.5)])
            _paint(mask, centre, row[3] / 2, image)
        where = str(self.params.root / self.params.table)
        objects = checked_objects(boxes, [0] * len(boxes), image.shape, where, clip=True)
        return Sample(item, image, objects, mask)


def _paint(mask: Array, centre: Array, radius: float, image: Image) -> None:
    """Set a ball of `radius` mm to 1, and at least the voxel of its centre."""
    reach = radius / np.array(image.spacing)
    low = np.maximum(np.floor(centre - reach).astype(int), 0)
    high = np.minimum(np.ceil(centre + reach).astype(int) + 1, mask.shape)
    part = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    away = [(np.arange(a, b) - c) * s for a, b, c, s in zip(low, high, centre, image.spacing, strict=True)]
    squares = sum(np.ix_(*(one**2 for one in away)), np.zeros(()))
    mask[part] |= squares <= radius**2
    mask[tuple(np.clip(np.rint(centre).astype(int), 0, np.array(mask.shape) - 1))] = 1


def _open(params: Params, task: str, labels: Sequence[str]) -> Luna16:
    return Luna16(params, labels)


def recognise(listing: Listing) -> Sighting | None:
    """MetaImages with a table of centres and diameters."""
    tables = [n for n in listing.matching("*.csv") if set(_COLUMNS) <= set((read_table(listing.path(n)) or [[]])[0])]
    if len(tables) != 1 or not any(name.endswith((".mhd", ".mha")) for name in listing.files):
        return None
    why = f"{tables[0]} with the centres and diameters of nodules"
    return Sighting(("detect",), ("nodule",), why, {"table": tables[0]}, modality="CT")


ENTRY = DataEntry(Params, ("detect",), _open, image="chest CT", recognise=recognise)
