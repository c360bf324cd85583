"""The fingerprint of a dataset: sizes, spacing, values, classes, objects, of as many images as some seconds allow."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medzoo.data.dataset import Dataset, Item, Objects, Sample
from medzoo.errors import UserError
from medzoo.io import luma
from medzoo.preprocess.host.orient import turning
from medzoo.types import IGNORED, Array

MOST_PICTURES, MOST_VOLUMES = 240, 12  # images that are read
SECONDS = 6.0  # in which they are read
_VALUES = 4000  # values kept of each image
_SHOWN = 24  # images kept for the contact sheet
_DIRECTED = 0.8  # mean over deviation of a difference that most images share


@dataclass
class Fingerprint:
    """Statistics of `read` of `count` items. Lists have an entry an image.

    `sizes`: H, W of a picture, or I, J, K of a volume turned to RAS; `spacing`: mm along these axes; `values` and
    `inside`: some values of images, and of what is labelled; `boxes` (N, 2n) and `kinds` (N,) of objects; `present`:
    voxels or objects of each label; `sides`: rows of numbers whose mean is zero where an axis has no direction, by
    axis (see `has_direction`).
    """

    count: int
    volumes: bool
    read: int = 0
    sizes: list[tuple[int, ...]] = field(default_factory=list)
    spacing: list[tuple[float, ...]] = field(default_factory=list)
    colours: int = 0
    deepest: int = 8
    values: list[Array] = field(default_factory=list)
    inside: list[Array] = field(default_factory=list)
    zeros: list[float] = field(default_factory=list)
    boxes: list[Array] = field(default_factory=list)
    kinds: list[Array] = field(default_factory=list)
    outlined: bool = True
    present: Counter[str] = field(default_factory=Counter)
    channels: int = 1
    modality: str = ""
    sides: dict[int, list[list[float]]] = field(default_factory=dict)
    seconds: float = 0.0
    shown: list[Sample] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def size(self) -> tuple[int, ...]:
        """The median size."""
        return tuple(int(n) for n in np.median(np.array(self.sizes), axis=0))

    @property
    def voxel(self) -> tuple[float, ...]:
        """The median spacing, mm."""
        return tuple(float(s) for s in np.median(np.array(self.spacing), axis=0)) if self.spacing else ()

    def percentiles(self, of: str, *points: float) -> list[float]:
        """Percentiles of the `values`, or of those `inside` labels (of all values where nothing is labelled)."""
        kept: Sequence[Array] = self.inside if of == "inside" and self.inside else self.values
        return [float(v) for v in np.percentile(np.concatenate(kept), points)]

    def has_direction(self, axis: int) -> tuple[bool, str]:
        """True if the two directions of an axis differ (0: x of a picture, left to right of a volume), and why.

        The difference of the halves, or a label's place beside the middle, has one sign in most images: its mean is
        more than 0.8 of its deviation, over ten images or more.
        """
        rows = self.sides.get(axis, [])
        if len(rows) < 10:
            return True, f"only {len(rows)} images were seen, too few to tell"
        width = max(map(len, rows))
        table = np.array([row + [np.nan] * (width - len(row)) for row in rows])
        worst = 0.0
        for column in table.T:
            known = column[~np.isnan(column)]
            if len(known) >= 10 and known.std() > 0:
                worst = max(worst, abs(float(known.mean() / known.std())))
        words = "the two sides differ" if worst > _DIRECTED else "the two sides look alike"
        return worst > _DIRECTED, f"{words} in {len(rows)} images"

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        low, high = self.percentiles("values", 0.5, 99.5) if self.values else (0.0, 0.0)
        objects = np.array([len(boxes) for boxes in self.boxes])
        return {
            "items": self.count,
            "read": self.read,
            "kind": "volumes" if self.volumes else "pictures",
            "size": list(self.size),
            "sizes": sorted({str(list(size)) for size in self.sizes})[:20],
            "spacing_mm": [round(s, 4) for s in self.voxel],
            "channels": 3 if self.colours else self.channels,
            "values": {"p0.5": low, "p99.5": high, "bits": self.deepest},
            "modality": self.modality,
            "labels": dict(self.present),
            "objects_per_image": float(objects.mean()) if len(objects) else None,
            "unreadable": self.unreadable,
        }


def take_fingerprint(data: Dataset, items: Sequence[Item], labels: Sequence[str]) -> Fingerprint:
    """Read evenly spread items until the time is up. Faults of single items are kept, not raised."""
    started = time.perf_counter()
    order = _spread(len(items))
    found: Fingerprint | None = None
    for place in order:
        try:
            sample = data.load(items[place])
        except UserError as error:
            found = found or Fingerprint(len(items), volumes=False)
            found.unreadable.append(str(error.faults[0]))
            if len(found.unreadable) > 20:
                break
            continue
        volumes = sample.image.affine is not None
        if found is None or not found.read:
            found = Fingerprint(len(items), volumes, unreadable=found.unreadable if found else [])
        _add(found, sample, labels)
        if found.read >= (MOST_VOLUMES if volumes else MOST_PICTURES) or time.perf_counter() - started > SECONDS:
            break
    assert found is not None
    found.seconds = (time.perf_counter() - started) / max(1, found.read)
    return found


def _spread(count: int) -> list[int]:
    """All places, in an order whose beginning is spread over the whole."""
    step = max(1, round(count * 0.381966))
    while np.gcd(step, count) > 1:
        step += 1
    return [(k * step) % count for k in range(count)]


def _add(found: Fingerprint, sample: Sample, labels: Sequence[str]) -> None:
    image, target = sample.image, sample.target
    found.read += 1
    if len(found.shown) < _SHOWN:
        found.shown.append(sample)
    array = image.array
    colour = array.shape[0] == 3 and not found.volumes and bool((array[0] != array[1]).any())
    found.colours += colour
    found.channels = max(found.channels, 1 if not found.volumes else array.shape[0])
    found.deepest = max(found.deepest, 8 * array.dtype.itemsize if array.dtype.kind in "iu" else 32)
    found.modality = found.modality or str(image.meta.get("modality", ""))
    turn = np.arange(len(image.shape))
    flipped = np.zeros(len(turn), bool)
    if found.volumes:
        assert image.affine is not None
        matrix = turning(image.affine, image.shape)[:3, :3]
        turn = np.abs(matrix).argmax(axis=0)
        flipped = matrix[turn, np.arange(3)] < 0
    found.sizes.append(tuple(image.shape[axis] for axis in turn))
    if found.volumes:
        found.spacing.append(tuple(image.spacing[axis] for axis in turn))
    grey = luma(array)[0] if colour else array[0]
    flat = np.asarray(grey).ravel()
    step = max(1, flat.size // _VALUES)
    found.values.append(flat[::step].astype(np.float32))
    found.zeros.append(float((flat == 0).mean()))
    map_ = np.asarray(target) if isinstance(target, np.ndarray) else sample.mask
    if map_ is not None:
        labelled = (map_ > 0) & (map_ != IGNORED)
        inside = np.asarray(grey)[labelled]
        if inside.size:
            found.inside.append(inside[:: max(1, inside.size // _VALUES)].astype(np.float32))
    _labels(found, sample, labels)
    _sides(found, np.asarray(grey, np.float32), map_, target, labels, turn=turn, flipped=flipped)


def _labels(found: Fingerprint, sample: Sample, labels: Sequence[str]) -> None:
    target = sample.target
    if isinstance(target, Objects):
        found.boxes.append(target.boxes.astype(float))
        found.kinds.append(target.labels)
        found.outlined = found.outlined and (not len(target.boxes) or _has_outlines(target))
        found.present.update({label: int((target.labels == k).sum()) for k, label in enumerate(labels)})
    elif isinstance(target, np.ndarray):
        counts = np.bincount(target.ravel(), minlength=256)
        found.present.update({label: int(counts[k]) for k, label in enumerate(labels)})
    else:
        found.present[labels[int(target)]] += 1


def _has_outlines(target: Objects) -> bool:
    """True if outlines can be read: COCO's files of boxes alone have an empty segmentation."""
    if target.masks is None:
        return False
    try:
        target.masks()
    except UserError:
        return False
    return True


def _sides(
    found: Fingerprint,
    grey: Array,
    map_: Array | None,
    target: Any,
    labels: Sequence[str],
    *,
    turn: Array,
    flipped: Array,
) -> None:
    """For each axis: how the halves differ, and where labels lie beside the middle of what is labelled or of the
    image."""
    spread = float(grey.std()) or 1.0
    dims = len(turn)
    for place in range(dims):
        axis = int(turn[place])
        sign = -1.0 if flipped[place] else 1.0
        length = grey.shape[axis]
        halves = (
            np.take(grey, range(length - length // 2, length), axis).mean()
            - np.take(grey, range(length // 2), axis).mean()
        )
        row = [sign * float(halves) / spread]
        if isinstance(target, Objects) and len(target.boxes):
            n = target.boxes.shape[1] // 2
            at = place if n == 3 else 1 - place
            middles = (target.boxes[:, at] + target.boxes[:, at + n]) / 2 / length - 0.5
            row += [_mean(middles[target.labels == k]) * sign for k in range(len(labels))]
        elif map_ is not None and map_.any():
            row += [v * sign for v in _centroids(map_, axis, len(labels))]
        # Axis 0 stands for x of pictures, as it does for left and right of volumes.
        key = place if found.volumes else 1 - place
        found.sides.setdefault(key, []).append(row)


def _centroids(map_: Array, axis: int, count: int) -> list[float]:
    """Places of labels along an axis, as shares of it, beside the middle of everything that is labelled."""
    others = tuple(a for a in range(map_.ndim) if a != axis)
    at = np.arange(map_.shape[axis])
    labelled = ((map_ > 0) & (map_ != IGNORED)).sum(axis=others)
    if not labelled.sum():
        return []
    whole = float((at * labelled).sum() / labelled.sum())
    places = []
    for label in range(1, count):
        own = (map_ == label).sum(axis=others)
        places.append(float((at * own).sum() / own.sum() - whole) / map_.shape[axis] if own.sum() else float("nan"))
    # One label has no place beside itself; beside the image's middle it has.
    return places if count > 2 else [whole / map_.shape[axis] - 0.5]


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def describe(found: Fingerprint, classes: Mapping[str, int]) -> list[str]:
    """The fingerprint in sentences."""
    size = " x ".join(map(str, found.size))
    kind = "volumes" if found.volumes else "pictures"
    colour = "colour" if found.colours > found.read / 2 else "grey"
    words = [f"{found.count} {kind}, {found.read} of them read: {size} in the middle"]
    if found.volumes:
        words.append(f"voxels of {' x '.join(f'{s:.3g}' for s in found.voxel)} mm in the middle, after turning to RAS")
    else:
        words.append(f"{colour}, {found.deepest} bits")
    low, high = found.percentiles("values", 0.5, 99.5)
    words.append(f"values from {low:.4g} to {high:.4g} (0.5th and 99.5th percentile)")
    if classes:
        words.append("classes: " + ", ".join(f"{name} {count}" for name, count in classes.items()))
    elif found.boxes:
        counts = [len(boxes) for boxes in found.boxes]
        words.append(
            f"{np.mean(counts):.1f} objects an image: " + ", ".join(f"{k} {n}" for k, n in found.present.items())
        )
    if found.unreadable:
        words.append(f"{len(found.unreadable)} images cannot be read: {found.unreadable[0]}")
    return words
