"""Read every image of a dataset once: its facts, its fingerprint, and findings in it alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from medzoo.data.audit.burnt_in import has_burnt_in_text
from medzoo.data.audit.fingerprint import Fingerprints, fingerprints, shrink
from medzoo.data.audit.groups import BATCH, grey_view
from medzoo.data.audit.header import identifying_fields
from medzoo.data.audit.report import Finding
from medzoo.data.audit.volume_copies import thumbnail_cube
from medzoo.data.dataset import DERIVED, Dataset, DerivedDataset, Item, Objects, Sample
from medzoo.errors import EmptyMaskError, OffGridError, UserError
from medzoo.io.cache import file_digest
from medzoo.preprocess.host.outline_features import OUTLINES
from medzoo.types import Array

THICK = 4  # voxels along the shortest axis, from which an image is compared as a volume
FAULTS: dict[type[UserError], str] = {OffGridError: "off-grid", EmptyMaskError: "empty-mask"}


@dataclass
class ImageRecord:
    """The facts of one image that later checks compare; pixels are not kept."""

    item: Item
    name: str
    digest: str
    spacing: tuple[float, ...] = ()
    level: float = 0.0
    contrast: float = 0.0
    made: bool = False
    boxes: Array | None = None
    thumbnail: Array | None = None
    findings: list[Finding] = field(default_factory=list)


def image_name(item: Item) -> str:
    """The audit's name for an item: the path of its image, else its id."""
    return str(item.files["image"]) if "image" in item.files else item.id


def examine_all(data: Dataset, items: Sequence[Item]) -> tuple[list[ImageRecord], Fingerprints | None]:
    """Read all items: records and fingerprints of those that can be read, in order; records of the others follow."""
    # Volumes are few and slow to read: work for every thread.
    size = max(1, min(BATCH, len(items) // (4 * (os.cpu_count() or 1))))
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    good: list[ImageRecord] = []
    bad: list[ImageRecord] = []
    prints: list[Fingerprints] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for read, failed, found in pool.map(lambda batch: _read_batch(data, batch), batches):
            good += read
            bad += failed
            prints += [found] if found is not None else []
    return good + bad, Fingerprints.join(prints) if prints else None


def _read_batch(
    data: Dataset, batch: Sequence[Item]
) -> tuple[list[ImageRecord], list[ImageRecord], Fingerprints | None]:
    good, bad, shrunk = [], [], []
    read = data.source if isinstance(data, DerivedDataset) else data.load
    for item in batch:
        try:
            sample = read(item)
        except UserError as error:
            record = ImageRecord(item, image_name(item), "")
            kind = next((kind for fault, kind in FAULTS.items() if isinstance(error, fault)), "unreadable")
            record.findings.append(Finding(kind, record.name, str(error.faults[0])))
            bad.append(record)
            continue
        view = grey_view(sample.image)
        shrunk.append(shrink(view))
        good.append(_examine(item, sample, view))
    return good, bad, fingerprints(shrunk) if shrunk else None


def _examine(item: Item, sample: Sample, view: Array) -> ImageRecord:
    name = image_name(item)
    record = ImageRecord(item, name, _digest(item, sample))
    record.spacing = sample.image.spacing if sample.image.affine is not None else ()
    record.made = DERIVED in sample.image.meta
    if not record.made and min(sample.image.shape) >= THICK and len(sample.image.shape) == 3:
        record.thumbnail = thumbnail_cube(sample.image.array[0])
    record.level, record.contrast = float(view.mean()), float(view.std())
    text = record.findings
    if record.contrast == 0:
        text.append(Finding("intensity", name, f"every pixel is {view.flat[0]:g}"))
    empty = isinstance(sample.target, np.ndarray) and not sample.target.any()
    if empty or (isinstance(sample.target, Objects) and not len(sample.target.boxes) and not sample.target.ignored):
        text.append(Finding("empty-mask", name, "its mask is empty"))
    if sample.image.meta.get("burnt_in"):
        text.append(Finding("burnt-in-text", name, "its header states that patient data are burnt into it"))
    elif sum(n > 1 for n in sample.image.shape) < 3 and has_burnt_in_text(view):
        text.append(Finding("burnt-in-text", name, "letters or marks are burnt into the picture"))
    text += [Finding(note.kind, name, note.text) for note in sample.notes]
    if isinstance(sample.target, Objects):
        record.boxes = sample.target.boxes
        text += [Finding(kind, name, words) for kind, words in _of_boxes(sample.target)]
    if fields := identifying_fields(item.files.values()):
        text.append(Finding("header", name, f"its header fills {', '.join(fields)}"))
    return record


def _of_boxes(objects: Objects) -> Iterator[tuple[str, str]]:
    """Findings about the boxes of one image: kind and sentence."""
    boxes, n = objects.boxes, objects.boxes.shape[1] // 2
    if objects.clipped or objects.dropped:
        words = [f"boxes clipped to the image: {objects.clipped}"] if objects.clipped else []
        words += [f"boxes outside the image that were left out: {objects.dropped}"] if objects.dropped else []
        yield "clipped", "; ".join(words)
    if repeated := len(boxes) - len(np.unique(np.column_stack([boxes, objects.labels]), axis=0)):
        yield "repeated-box", f"{repeated} of {len(boxes)} boxes repeat another of the same label"
    small = int(((boxes[:, n:] - boxes[:, :n]) < 1).any(axis=1).sum())
    if small:
        yield "box-scale", f"{small} of {len(boxes)} boxes are narrower than a pixel"


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
    which = str(sample.image.meta.get(DERIVED, "")).encode()
    return hashlib.sha256(np.ascontiguousarray(sample.image.array).tobytes() + which).hexdigest()
