"""Audit a dataset before anything trains on it: leaks between the parts of a split, and findings in images."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from medzoo.data.audit.examine import ImageRecord, examine_all
from medzoo.data.audit.fingerprint import Fingerprints
from medzoo.data.audit.groups import grey_view, near_pairs
from medzoo.data.audit.label_noise import find_label_issues
from medzoo.data.audit.near_duplicates import NearPair, turned_duplicates
from medzoo.data.audit.picture_copies import same_picture
from medzoo.data.audit.report import Audit, Finding, Leak, LeakKind
from medzoo.data.audit.volume_copies import find_candidates, is_copy
from medzoo.data.dataset import Dataset, DerivedDataset, Item, NotedDataset
from medzoo.data.split import PARTS, Split
from medzoo.types import Array, Image

PERSONS = ("patient", "subject")  # groups that name a person
IMBALANCE = 10.0  # times more images in one class than in another
OUTLIER = 6.0  # robust standard deviations
# Brains of different people, alike as they lie, agree in fine detail to 0.93, copies of one scan from 0.96 on.
VOLUME_DETAIL = 0.945
# Label maps, which have no texture, to 0.73 as wholes (16 people), copies moved and turned from 0.88 on.
MAP_DETAIL = 0.8
KEPT = 1 << 28  # bytes of images that are held while pairs of them are verified
KEPT_AT_LEAST = 16  # images
FEWEST = 8  # images, below which there is no telling what an outlier is


Pair = tuple[ImageRecord, ImageRecord]


def audit(data: Dataset, split: Split, *, mirrored: bool = True) -> Audit:
    """Read all items of `data` and report everything that would spoil a training.

    Leaks are pairs across the parts of `split`: the same person, the same bytes, the same content (also mirrored,
    and turned by 90 degrees, if `mirrored`; see near_duplicates.py and picture_copies.py, for volumes
    volume_copies.py). Images that look alike and do not agree pixel by pixel are no leak, but a finding: look-alike.
    Further findings: unreadable, label-conflict (one content, two labels),
    duplicate and near-duplicate (in one part), label-noise (see
    medzoo.data.audit.label_noise), off-grid, empty-mask, class-balance, spacing, intensity, burnt-in-text, header; of
    boxes clipped, repeated-box and box-scale; and what the dataset itself notes (medzoo.data.dataset.Note). Time
    grows as n log n.
    """
    items = data.items()
    records, prints = examine_all(data, items)
    side = split.parts()
    same = list(_identical(records))
    known = {(a.item.id, b.item.id) for a, b in same}
    found = near_pairs(prints, mirrored=mirrored) if prints is not None else []
    if mirrored and prints is not None:
        found += turned_duplicates(prints)
    found = [p for p in found if _is_same_object(records[p.a], p)]
    copied, alike = _split_copies(data, records[: len(prints or ())], found, mirrored=mirrored)
    near = [(records[a], records[b]) for a, b in copied]
    # Parts of one file (slabs of a volume, outlines of a database) are alike by nature; the split's group
    # says what they share.
    near = [(a, b) for a, b in near if (a.item.id, b.item.id) not in known and a.item.files != b.item.files]
    looks = [(records[a], records[b]) for a, b in alike if records[a].item.files != records[b].item.files]
    leaks = [*_leaks("patient", _patient_pairs(records, side), side)]
    leaks += [*_leaks("identical", same, side), *_leaks("near", near, side)]
    findings = [finding for record in records for finding in record.findings]
    findings += (
        _conflicts([*same, *near]) + _duplicates_within_part(same, near, side) + _likely_mislabelled(records, prints)
    )
    findings += [
        Finding("look-alike", a.name, f"looks like {b.name}, but their fine detail differs", b.name)
        for a, b in looks
        if (a.item.id, b.item.id) not in known
    ]
    findings += _balance(items, side) + _outliers(records) + _scales(records)
    if isinstance(data, NotedDataset):
        findings += [Finding(note.kind, note.place, note.text) for note in data.notes()]
    splits: dict[str, int] = {part: len(getattr(split, part)) for part in PARTS}
    unread = tuple(record.item.id for record in records[len(prints or ()) :])
    return Audit(len(items), splits, tuple(leaks), tuple(findings), unread)


def _split_copies(
    data: Dataset, records: Sequence[ImageRecord], found: Sequence[NearPair], *, mirrored: bool
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Separate pairs of records that are copies from pairs that only look alike, both sorted.

    Pictures and volumes that look alike are candidates: they are read again, and are copies where they agree pixel by
    pixel. Images that are made from label maps have no detail: their `found` pairs are copies.
    """
    cubes = {k: record.thumbnail for k, record in enumerate(records) if record.thumbnail is not None}
    with_cube, volumes = list(cubes), set(cubes)
    read = data.source if isinstance(data, DerivedDataset) else data.load

    @lru_cache(maxsize=_image_budget(records))
    def image(number: int) -> Image:
        return read(records[number].item).image

    copied: set[tuple[int, int]] = set()
    alike: set[tuple[int, int]] = set()
    for near in found:
        both, apart = {near.a, near.b}, records[near.a].item.files != records[near.b].item.files
        if (near.a, near.b) in copied or not apart:
            continue
        made = any(records[k].made for k in both)
        same = not both <= volumes and (made or same_picture(grey_view(image(near.a)), grey_view(image(near.b)), near))
        (copied if same else alike).add((near.a, near.b))
    placed = find_candidates(np.stack(list(cubes.values())), mirrored=mirrored) if cubes else []
    tried = [(with_cube[pair.a], with_cube[pair.b], pair.way) for pair in placed]
    tried = [(a, b, way) for a, b, way in tried if records[a].item.files != records[b].item.files]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        same_content = pool.map(lambda one: is_copy(image(one[0]).array[0], image(one[1]).array[0], one[2]), tried)
        copied |= {(a, b) for (a, b, _), same in zip(tried, same_content, strict=True) if same}
    return sorted(copied), sorted(alike - copied)


def _image_budget(records: Sequence[ImageRecord]) -> int:
    """The number of images held while pairs are verified; the largest file unpacks to some four times its size."""
    paths = [record.item.files["image"] for record in records if "image" in record.item.files]
    largest = max((path.stat().st_size for path in paths if path.is_file()), default=KEPT)
    return max(KEPT_AT_LEAST, KEPT // (4 * max(largest, 1)))


def _scales(records: Sequence[ImageRecord]) -> list[Finding]:
    """Findings on boxes whose scale does not fit their images, over the whole set."""
    found = [record.boxes for record in records if record.boxes is not None and len(record.boxes)]
    if not found:
        return []
    boxes = np.concatenate(found)
    n = boxes.shape[1] // 2
    if boxes.max() <= 1:
        text = f"all {len(boxes)} boxes lie between 0 and 1; they look normalised, but boxes are read in pixels"
        return [Finding("box-scale", "", text)]
    if (boxes[:, n:] - boxes[:, :n] < 1).all():
        return [Finding("box-scale", "", f"all {len(boxes)} boxes are smaller than a pixel")]
    return []


def _identical(records: Sequence[ImageRecord]) -> Iterator[Pair]:
    """Pairs of identical images; of more than 31 copies each is paired with the next only."""
    by_digest: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in records:
        if record.digest:
            by_digest[record.digest].append(record)
    for same in by_digest.values():
        yield from combinations(same, 2) if len(same) < 32 else pairwise(same)


def _patient_pairs(records: Sequence[ImageRecord], side: dict[str, Any]) -> Iterator[Pair]:
    """One pair of images for each person and each two parts that hold images of them: the first image of either."""
    first: dict[tuple[str, str], dict[str, ImageRecord]] = defaultdict(dict)
    for record in records:
        part = side.get(record.item.id)
        for key in PERSONS:
            if part is not None and key in record.item.groups:
                first[key, record.item.groups[key]].setdefault(part, record)
    for by_part in first.values():
        yield from combinations(by_part.values(), 2)


def _leaks(
    kind: LeakKind,
    pairs: Sequence[Pair] | Iterator[Pair],
    side: dict[str, Any],
) -> Iterator[Leak]:
    """The pairs that lie in two parts."""
    for a, b in pairs:
        sides = side.get(a.item.id), side.get(b.item.id)
        if sides[0] is not None and sides[1] is not None and sides[0] != sides[1]:
            yield Leak(kind, a.name, b.name, (sides[0], sides[1]), (a.item.stratum, b.item.stratum))


def _is_same_object(record: ImageRecord, pair: NearPair) -> bool:
    """True if a near pair, one of which is `record`, agrees more than the scans of two people do."""
    if record.made:
        return pair.whole and pair.detail > MAP_DETAIL
    return pair.whole or not record.spacing or pair.detail > VOLUME_DETAIL


def _conflicts(pairs: Sequence[Pair]) -> list[Finding]:
    return [
        Finding(
            "label-conflict",
            a.name,
            f"is labelled {a.item.stratum}, but its duplicate {b.name} is labelled {b.item.stratum}",
            b.name,
        )
        for a, b in pairs
        if a.item.stratum != b.item.stratum
    ]


def _duplicates_within_part(
    same: Sequence[Pair],
    near: Sequence[Pair],
    side: dict[str, Any],
) -> list[Finding]:
    """Pairs on one side."""
    kinds = (("duplicate", "is identical to", same), ("near-duplicate", "is a near-duplicate of", near))
    return [
        Finding(kind, a.name, f"{words} {b.name}", b.name)
        for kind, words, pairs in kinds
        for a, b in pairs
        if a.name != b.name and side.get(a.item.id) == side.get(b.item.id)
    ]


def _likely_mislabelled(records: Sequence[ImageRecord], prints: Fingerprints | None) -> list[Finding]:
    """Findings on images that look like those of another class."""
    if prints is None:
        return []
    found = find_label_issues(prints, [record.item.stratum for record in records[: len(prints)]])
    return [
        Finding(
            "label-noise",
            records[one.image].name,
            f"is labelled {records[one.image].item.stratum}, but looks like {one.label} "
            f"({one.share:.0%} against {one.own:.0%})",
        )
        for one in found
    ]


def _balance(items: Sequence[Item], side: dict[str, Any]) -> list[Finding]:
    """Findings on classes that are rare, or absent from a part."""
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


def _outliers(records: Sequence[ImageRecord]) -> list[Finding]:
    """Findings on images whose spacing or intensities are outliers."""
    found = []
    placed = [r for r in records if r.spacing]
    spacings = np.log([max(r.spacing) for r in placed]), np.log([min(r.spacing) for r in placed])
    for k in np.flatnonzero(_is_outlier(spacings[0], least=0.1) | _is_outlier(spacings[1], least=0.1)):
        size = " x ".join(f"{s:.3g}" for s in placed[k].spacing)
        found.append(Finding("spacing", placed[k].name, f"its spacing of {size} mm is an outlier"))
    read = [r for r in records if r.digest]
    for what, values in (("mean", [r.level for r in read]), ("contrast", [r.contrast for r in read])):
        for k in np.flatnonzero(_is_outlier(np.array(values), least=1e-6)):
            text = f"its {what} of {values[k]:.4g} is an outlier (median {np.median(values):.4g})"
            found.append(Finding("intensity", read[k].name, text))
    return found


def _is_outlier(values: Array, *, least: float) -> Array:
    """(n,) bool: values that lie OUTLIER robust standard deviations (at least `least` each) from the median."""
    if len(values) < FEWEST:
        return np.zeros(len(values), bool)
    off = np.abs(values - np.median(values))
    result: Array = off > OUTLIER * max(1.4826 * float(np.median(off)), least)
    return result
