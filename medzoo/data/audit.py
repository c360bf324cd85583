"""What is wrong with a data set before anything trains on it: leaks between the sides of a split, and findings
in single images. Reads each image once."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any, Literal, get_args

import numpy as np

from medzoo.data.burnt_in import has_burnt_in_text
from medzoo.data.dataset import MADE, DataSet, Deriving, Item, Noted, Objects, Sample
from medzoo.data.fingerprint import Fingerprints, fingerprints, shrink
from medzoo.data.header import identifying
from medzoo.data.label_noise import suspects
from medzoo.data.near_duplicates import NearPair
from medzoo.data.prints import BATCH, grey_view, near_pairs
from medzoo.data.split import PARTS, Split
from medzoo.data.volume_copies import candidates, copies, cube
from medzoo.errors import EmptyMaskError, OffGridError, UserError
from medzoo.io.cache import file_digest
from medzoo.preprocess.host.outline_features import OUTLINES
from medzoo.types import Array

PERSONS = ("patient", "subject")  # groups that name a person
IMBALANCE = 10.0  # times more images in one class than in another
OUTLIER = 6.0  # robust standard deviations
# Brains of different people, alike as they lie, agree in fine detail to 0.93, copies of one scan from 0.96 on.
VOLUME_DETAIL = 0.945
# Label maps, which have no texture, to 0.73 as wholes (16 people), copies moved and turned from 0.88 on.
MAP_DETAIL = 0.8
WARNED = ("box-scale", "box-form", "unlisted", "sets")  # kinds of findings about labels that a training says
THICK = 4  # voxels along the shortest axis, from which an image is compared as a volume
KEPT = 16  # volumes that are held while pairs of them are verified
FEWEST = 8  # images, below which there is no telling what an outlier is
FAULTS: dict[type[UserError], str] = {OffGridError: "off-grid", EmptyMaskError: "empty-mask"}


LeakKind = Literal["patient", "identical", "near"]


@dataclass(frozen=True)
class Leak:
    """The same thing on two sides of a split: the images `a` and `b`, their sides and their labels."""

    kind: LeakKind
    a: str
    b: str
    splits: tuple[str, str]
    labels: tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """Something about one image ("" for the whole set): a kind, a sentence, and the image it is compared with."""

    kind: str
    image: str
    text: str
    other: str = ""


@dataclass(frozen=True)
class Audit:
    """`images`: how many there are; `splits`: images by side; `unread`: ids of the items that cannot be read, or not
    with their labels, about each of which there is a finding."""

    images: int
    splits: dict[str, int]
    leaks: tuple[Leak, ...] = ()
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document that `medzoo data --json` prints."""
        return {
            "images": self.images,
            "splits": self.splits,
            "leaks": [asdict(leak) | {"splits": list(leak.splits), "labels": list(leak.labels)} for leak in self.leaks],
            "findings": [asdict(finding) for finding in self.findings],
            "unread": list(self.unread),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Audit:
        """The audit that gave this document."""
        leaks = tuple(
            Leak(leak["kind"], leak["a"], leak["b"], tuple(leak["splits"]), tuple(leak["labels"]))
            for leak in document["leaks"]
        )
        findings = tuple(Finding(**finding) for finding in document["findings"])
        return cls(document["images"], document["splits"], leaks, findings, tuple(document["unread"]))

    def warnings(self) -> list[str]:
        """What a training says before it begins: findings about the labels of the whole set, and look-alikes."""
        whole = [f.text for f in self.findings if f.kind in WARNED and (not f.image or f.kind == "sets")]
        alike = sum(f.kind == "look-alike" for f in self.findings)
        many = [f"{alike} pairs of volumes look alike without being copies; medzoo data lists them"] if alike else []
        return [*whole, *many]

    def counts(self) -> dict[str, Any]:
        """How many images there are, leaks by kind and findings by kind: what a manifest says; no names."""
        leaks = Counter(leak.kind for leak in self.leaks)
        return {
            "images": self.images,
            "leaks": {kind: leaks[kind] for kind in get_args(LeakKind)},
            "findings": dict(sorted(Counter(finding.kind for finding in self.findings).items())),
        }


@dataclass
class _Record:
    """What is kept of an image that was read."""

    item: Item
    name: str
    digest: str
    spacing: tuple[float, ...] = ()
    level: float = 0.0
    contrast: float = 0.0
    made: bool = False
    boxes: Array | None = None
    cube: Array | None = None
    findings: list[Finding] = field(default_factory=list)


def audit(data: DataSet, split: Split, *, mirrored: bool = True) -> Audit:
    """Read all items of `data` and report what would spoil a training.

    Leaks are pairs across the sides of `split`: the same person, the same bytes, the same content (also mirrored,
    if `mirrored`; see medzoo.data.near_duplicates, and for volumes medzoo.data.volume_copies). Volumes that look
    alike and do not agree voxel by voxel are no leak, but a finding: look-alike. Further findings: unreadable,
    label-conflict (one content, two labels), duplicate and near-duplicate (on one side), label-noise (see
    medzoo.data.label_noise), off-grid, empty-mask, class-balance, spacing, intensity, burnt-in-text, header; of
    boxes clipped, repeated-box and box-scale; and what the data set itself notes (medzoo.data.dataset.Note). Time
    grows as n log n.
    """
    items = data.items()
    records, prints = _read_all(data, items)
    side = split.parts()
    same = list(_identical(records))
    known = {(a.item.id, b.item.id) for a, b in same}
    found = near_pairs(prints, mirrored=mirrored) if prints is not None else []
    found = [p for p in found if _same_thing(records[p.a], p)]
    copied, alike = _volumes_apart(data, records[: len(prints or ())], found, mirrored=mirrored)
    near = [(records[a], records[b]) for a, b in copied]
    # Parts of one file (slabs of a volume, outlines of a database) are alike by nature; the split's group
    # says what they share.
    near = [(a, b) for a, b in near if (a.item.id, b.item.id) not in known and a.item.files != b.item.files]
    looks = [(records[a], records[b]) for a, b in alike if records[a].item.files != records[b].item.files]
    leaks = [*_leaks("patient", _persons(records, side), side)]
    leaks += [*_leaks("identical", same, side), *_leaks("near", near, side)]
    findings = [finding for record in records for finding in record.findings]
    findings += _conflicts([*same, *near]) + _repeats(same, near, side) + _unlikely(records, prints)
    findings += [
        Finding("look-alike", a.name, f"looks like {b.name}, but agrees with it in no fine detail", b.name)
        for a, b in looks
        if (a.item.id, b.item.id) not in known
    ]
    findings += _balance(items, side) + _outliers(records) + _scales(records)
    if isinstance(data, Noted):
        findings += [Finding(note.kind, note.place, note.text) for note in data.notes()]
    splits: dict[str, int] = {part: len(getattr(split, part)) for part in PARTS}
    unread = tuple(record.item.id for record in records[len(prints or ()) :])
    return Audit(len(items), splits, tuple(leaks), tuple(findings), unread)


def _volumes_apart(
    data: DataSet, records: Sequence[_Record], found: Sequence[NearPair], *, mirrored: bool
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs of records that are copies, and pairs that only look alike, both sorted.

    `found` pairs of pictures are copies. Volumes are candidates by their looks, and copies where they agree voxel by
    voxel, for which the candidates are read again.
    """
    cubes = {k: record.cube for k, record in enumerate(records) if record.cube is not None}
    with_cube, volumes = list(cubes), set(cubes)
    copied = {(p.a, p.b) for p in found if not {p.a, p.b} <= volumes}
    alike = {(p.a, p.b) for p in found} - copied
    placed = candidates(np.stack(list(cubes.values())), mirrored=mirrored) if cubes else []
    read = data.source if isinstance(data, Deriving) else data.load

    @lru_cache(maxsize=KEPT)
    def volume(number: int) -> Array:
        array: Array = read(records[number].item).image.array[0]
        return array

    for pair in placed:
        a, b = with_cube[pair.a], with_cube[pair.b]
        if records[a].item.files != records[b].item.files and copies(volume(a), volume(b), pair.way):
            copied.add((a, b))
    return sorted(copied), sorted(alike - copied)


def image_name(item: Item) -> str:
    """How the audit names an item: the path of its image, else its id."""
    return str(item.files["image"]) if "image" in item.files else item.id


def _read_all(data: DataSet, items: Sequence[Item]) -> tuple[list[_Record], Fingerprints | None]:
    """Records and fingerprints of all items that can be read, in their order; the others' records follow."""
    # Volumes are few and slow to read: work for every thread.
    size = max(1, min(BATCH, len(items) // (4 * (os.cpu_count() or 1))))
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    good: list[_Record] = []
    bad: list[_Record] = []
    prints: list[Fingerprints] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for read, failed, found in pool.map(lambda batch: _read_batch(data, batch), batches):
            good += read
            bad += failed
            prints += [found] if found is not None else []
    return good + bad, Fingerprints.join(prints) if prints else None


def _read_batch(data: DataSet, batch: Sequence[Item]) -> tuple[list[_Record], list[_Record], Fingerprints | None]:
    good, bad, shrunk = [], [], []
    read = data.source if isinstance(data, Deriving) else data.load
    for item in batch:
        try:
            sample = read(item)
        except UserError as error:
            record = _Record(item, image_name(item), "")
            kind = next((kind for fault, kind in FAULTS.items() if isinstance(error, fault)), "unreadable")
            record.findings.append(Finding(kind, record.name, str(error.faults[0])))
            bad.append(record)
            continue
        view = grey_view(sample.image)
        shrunk.append(shrink(view))
        good.append(_examine(item, sample, view))
    return good, bad, fingerprints(shrunk) if shrunk else None


def _examine(item: Item, sample: Sample, view: Array) -> _Record:
    name = image_name(item)
    record = _Record(item, name, _digest(item, sample))
    record.spacing = sample.image.spacing if sample.image.affine is not None else ()
    record.made = MADE in sample.image.meta
    if not record.made and min(sample.image.shape) >= THICK and len(sample.image.shape) == 3:
        record.cube = cube(sample.image.array[0])
    record.level, record.contrast = float(view.mean()), float(view.std())
    text = record.findings
    if record.contrast == 0:
        text.append(Finding("intensity", name, f"every pixel is {view.flat[0]:g}"))
    empty = isinstance(sample.target, np.ndarray) and not sample.target.any()
    if empty or (isinstance(sample.target, Objects) and not len(sample.target.boxes) and not sample.target.ignored):
        text.append(Finding("empty-mask", name, "nothing is marked in it"))
    if sample.image.meta.get("burnt_in"):
        text.append(Finding("burnt-in-text", name, "its header says that the patient's data are burnt into it"))
    elif sum(n > 1 for n in sample.image.shape) < 3 and has_burnt_in_text(view):
        text.append(Finding("burnt-in-text", name, "letters or marks are burnt into the picture"))
    text += [Finding(note.kind, name, note.text) for note in sample.notes]
    if isinstance(sample.target, Objects):
        record.boxes = sample.target.boxes
        text += [Finding(kind, name, words) for kind, words in _of_boxes(sample.target)]
    if fields := identifying(item.files.values()):
        text.append(Finding("header", name, f"its header fills {', '.join(fields)}"))
    return record


def _of_boxes(objects: Objects) -> Iterator[tuple[str, str]]:
    """Findings about the boxes of one image: kind and sentence."""
    boxes, n = objects.boxes, objects.boxes.shape[1] // 2
    if objects.clipped or objects.dropped:
        words = [f"boxes that reach beyond it and were cut to it: {objects.clipped}"] if objects.clipped else []
        words += [f"boxes that lie beside it and were left out: {objects.dropped}"] if objects.dropped else []
        yield "clipped", "; ".join(words)
    if repeated := len(boxes) - len(np.unique(np.column_stack([boxes, objects.labels]), axis=0)):
        yield "repeated-box", f"{repeated} of {len(boxes)} boxes repeat another of the same label"
    small = int(((boxes[:, n:] - boxes[:, :n]) < 1).any(axis=1).sum())
    if small:
        yield "box-scale", f"{small} of {len(boxes)} boxes are narrower than a pixel"


def _scales(records: Sequence[_Record]) -> list[Finding]:
    """Boxes of a whole set that are of another scale than its images."""
    found = [record.boxes for record in records if record.boxes is not None and len(record.boxes)]
    if not found:
        return []
    boxes = np.concatenate(found)
    n = boxes.shape[1] // 2
    if boxes.max() <= 1:
        text = f"all {len(boxes)} boxes lie within 0 to 1: they look normalised, boxes are read in pixels"
        return [Finding("box-scale", "", text)]
    if (boxes[:, n:] - boxes[:, :n] < 1).all():
        return [Finding("box-scale", "", f"all {len(boxes)} boxes are smaller than a pixel")]
    return []


def _digest(item: Item, sample: Sample) -> str:
    """SHA-256 of the image's file where an item has one of its own, else of its pixels; of a picture that was only
    drawn from outlines, of their points, since small nodules of two people can be drawn alike."""
    path = item.files.get("image")
    if path is not None and path.is_file():
        return file_digest(path)
    if outlines := sample.image.meta.get(OUTLINES):
        points = [np.append(points, z) for slices in outlines.values() for z, points in slices]
        return hashlib.sha256(np.concatenate(points).tobytes()).hexdigest()
    # Two images made from one file are no copies of each other.
    which = str(sample.image.meta.get(MADE, "")).encode()
    return hashlib.sha256(np.ascontiguousarray(sample.image.array).tobytes() + which).hexdigest()


def _identical(records: Sequence[_Record]) -> Iterator[tuple[_Record, _Record]]:
    """Pairs of images with the same bytes; of very many copies each with the next alone."""
    by_digest: dict[str, list[_Record]] = defaultdict(list)
    for record in records:
        if record.digest:
            by_digest[record.digest].append(record)
    for same in by_digest.values():
        yield from combinations(same, 2) if len(same) < 32 else pairwise(same)


def _persons(records: Sequence[_Record], side: dict[str, Any]) -> Iterator[tuple[_Record, _Record]]:
    """For each person and each two sides that hold images of them, the first image of either."""
    first: dict[tuple[str, str], dict[str, _Record]] = defaultdict(dict)
    for record in records:
        part = side.get(record.item.id)
        for key in PERSONS:
            if part is not None and key in record.item.groups:
                first[key, record.item.groups[key]].setdefault(part, record)
    for by_part in first.values():
        yield from combinations(by_part.values(), 2)


def _leaks(
    kind: LeakKind,
    pairs: Sequence[tuple[_Record, _Record]] | Iterator[tuple[_Record, _Record]],
    side: dict[str, Any],
) -> Iterator[Leak]:
    """The pairs that lie on two sides."""
    for a, b in pairs:
        sides = side.get(a.item.id), side.get(b.item.id)
        if sides[0] is not None and sides[1] is not None and sides[0] != sides[1]:
            yield Leak(kind, a.name, b.name, (sides[0], sides[1]), (a.item.stratum, b.item.stratum))


def _same_thing(record: _Record, pair: NearPair) -> bool:
    """Whether a near pair, `record` being one of it, is more than two people's likeness."""
    if record.made:
        return pair.whole and pair.detail > MAP_DETAIL
    return pair.whole or not record.spacing or pair.detail > VOLUME_DETAIL


def _conflicts(pairs: Sequence[tuple[_Record, _Record]]) -> list[Finding]:
    return [
        Finding(
            "label-conflict", a.name, f"is labelled {a.item.stratum}, its duplicate {b.name} {b.item.stratum}", b.name
        )
        for a, b in pairs
        if a.item.stratum != b.item.stratum
    ]


def _repeats(
    same: Sequence[tuple[_Record, _Record]], near: Sequence[tuple[_Record, _Record]], side: dict[str, Any]
) -> list[Finding]:
    """Pairs on one side."""
    kinds = (("duplicate", "has the same bytes as", same), ("near-duplicate", "shows what is shown by", near))
    return [
        Finding(kind, a.name, f"{words} {b.name}", b.name)
        for kind, words, pairs in kinds
        for a, b in pairs
        if a.name != b.name and side.get(a.item.id) == side.get(b.item.id)
    ]


def _unlikely(records: Sequence[_Record], prints: Fingerprints | None) -> list[Finding]:
    """Images that look like those of another class."""
    if prints is None:
        return []
    found = suspects(prints, [record.item.stratum for record in records[: len(prints)]])
    return [
        Finding(
            "label-noise",
            records[one.image].name,
            f"is labelled {records[one.image].item.stratum}, looks like {one.label} ({one.share:.0%} to {one.own:.0%})",
        )
        for one in found
    ]


def _balance(items: Sequence[Item], side: dict[str, Any]) -> list[Finding]:
    """Classes that are rare, or absent from one side."""
    classes = Counter(item.stratum for item in items if item.stratum)
    found = []
    if len(classes) > 1:
        (most, many), (least, few) = classes.most_common()[0], classes.most_common()[-1]
        if many > IMBALANCE * few:
            found.append(Finding("class-balance", "", f"{many} images are {most}, only {few} are {least}"))
        for part in PARTS:
            here = {item.stratum for item in items if side.get(item.id) == part}
            found += [
                Finding("class-balance", "", f"no {label} in {part}") for label in classes if here and label not in here
            ]
    return found


def _outliers(records: Sequence[_Record]) -> list[Finding]:
    """Images whose spacing or intensities are far from the set's."""
    found = []
    placed = [r for r in records if r.spacing]
    spacings = np.log([max(r.spacing) for r in placed]), np.log([min(r.spacing) for r in placed])
    for k in np.flatnonzero(_far(spacings[0], least=0.1) | _far(spacings[1], least=0.1)):
        size = " x ".join(f"{s:.3g}" for s in placed[k].spacing)
        found.append(Finding("spacing", placed[k].name, f"its spacing of {size} mm is far from the others'"))
    read = [r for r in records if r.digest]
    for what, values in (("mean", [r.level for r in read]), ("contrast", [r.contrast for r in read])):
        for k in np.flatnonzero(_far(np.array(values), least=1e-6)):
            text = f"its {what} of {values[k]:.4g} is far from the others' {np.median(values):.4g}"
            found.append(Finding("intensity", read[k].name, text))
    return found


def _far(values: Array, *, least: float) -> Array:
    """Which values lie OUTLIER robust standard deviations (at least `least` each) from the median."""
    if len(values) < FEWEST:
        return np.zeros(len(values), bool)
    off = np.abs(values - np.median(values))
    result: Array = off > OUTLIER * max(1.4826 * float(np.median(off)), least)
    return result
