"""`nifti-pairs`: volumes with label maps beside them, both found by patterns below one folder."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Objects, Sample
from medzoo.data.file_names import check_placeholders, fill_pattern, match_files
from medzoo.data.objects import checked_objects, component_boxes
from medzoo.data.sighting import Listing, Sighting, mask_kind, pair_masks
from medzoo.data.volumes import Values, check_values, index_labels, slab_slices
from medzoo.errors import UserError
from medzoo.io import read_image, read_labels
from medzoo.io.sequences import read_channels
from medzoo.types import Array, Image


class Params(DataParams):
    """`image` and `label`: patterns of paths below `root` with the same places in braces, such as
    "{patient}/flair.nii.gz" and "{patient}/lesions.nii.gz"; every place is a group. `values`: the label
    map's values by label (else its value is the label's index; for detect, any value above 0 is the one
    label). `ignore`: values of voxels that count in no loss and no metric (segment).
    `channels`: further patterns, read as channels after `image`. `smallest_mm3`: lesions below
    this volume are no box. `slabs`: each volume is cut into so many blocks of slices along its stored axis
    `slab_axis`, items of their own in the group "slab", `gap` slices apart: for data of too few people to
    split by person, whose figures then say nothing about other people."""

    root: Path
    image: str
    label: str
    channels: tuple[str, ...] = ()
    values: Values | None = None
    ignore: tuple[int, ...] = ()
    smallest_mm3: float = Field(default=0.0, ge=0)
    slabs: int = Field(default=1, ge=1)
    slab_axis: Literal[0, 1, 2] = 2
    gap: int = Field(default=3, ge=0)


class NiftiPairs:
    """Volumes and label maps for segment, or boxes about the connected parts of each label for detect."""

    def __init__(self, params: Params, task: str, labels: Sequence[str]) -> None:
        self.params, self.task, self.labels = params, task, tuple(labels)
        others = {f"channels.{n}": channel for n, channel in enumerate(params.channels)}
        check_placeholders(params.image, {"label": params.label, **others}, example="{patient}/t1.nii.gz")
        check_values(self.labels, params.values or {})
        if task == "detect" and params.values is None and len(self.labels) > 1:
            raise UserError(
                "must map mask values to labels if there are several labels", "data.values", "values: {lesion: [1]}"
            )

    @cached_property
    def found(self) -> dict[str, dict[str, str]]:
        """The places' values by image path below the root."""
        return match_files(self.params.root, self.params.image, beside=self.params.label)

    def items(self) -> Sequence[Item]:
        """All volumes by path; the groups are the places of the pattern, and "image"."""
        items = []
        for name, places in self.found.items():
            files = {
                "image": self.params.root / name,
                "label": self.params.root / fill_pattern(self.params.label, places),
            }
            for number, channel in enumerate(self.params.channels, 1):
                files[f"channel-{number}"] = self.params.root / fill_pattern(channel, places)
            missing = [path for path in files.values() if not path.is_file()]
            if missing:
                raise UserError("no such file", str(missing[0]), f"it is listed for {name}")
            if self.params.slabs == 1:
                items.append(Item(name, files, {**places, "image": name}))
            else:
                items += self._slabs(name, files)
        return items

    def _slabs(self, name: str, files: Mapping[str, Path]) -> list[Item]:
        """Blocks of the slices that hold some signal; `facts` hold the first slice and the one after the last."""
        array = read_image(files["image"], kind="volume").array[0]
        axis, count = self.params.slab_axis, self.params.slabs
        inside = np.flatnonzero((array != 0).any(axis=tuple(a for a in range(3) if a != axis)))
        if len(inside) < count * (self.params.gap + 1):
            raise UserError(
                f"has too few slices with signal for {count} slabs", str(files["image"]), "lower data.slabs"
            )
        edges = np.linspace(inside[0], inside[-1] + 1, count + 1).round().astype(int)
        found = []
        for number, (start, stop) in enumerate(pairwise(edges)):
            facts = {
                "axis": axis,
                "start": int(start),
                "stop": int(stop) - (self.params.gap if number + 1 < count else 0),
            }
            found.append(Item(f"{name}#{number}", files, {"slab": f"{name}#{number}"}, facts=facts))
        return found

    def load(self, item: Item) -> Sample:
        """The volume (channels stacked) and its target; `Sample.mask` is the label map, values as labels."""
        channels = [path for key, path in item.files.items() if key.startswith("channel-")]
        image = read_channels([item.files["image"], *channels])
        stored = read_labels(item.files["label"], like=image).array[0]
        target = self._indexed(stored, str(item.files["label"]))
        if item.facts:
            image, target = _cut(image, target, item)
        if self.task == "segment":
            return Sample(item, image, target)
        return Sample(item, image, self._objects(target, image, str(item.files["label"])), target)

    def _objects(self, target: Array, image: Image, where: str) -> Objects:
        smallest = max(1, int(np.ceil(self.params.smallest_mm3 / np.prod(image.spacing))))
        boxes = [component_boxes(target == k + 1, smallest=smallest) for k in range(len(self.labels))]
        numbers = [k for k, found in enumerate(boxes) for _ in found]
        return checked_objects(np.concatenate(boxes).tolist(), numbers, image.shape, where)

    def _indexed(self, stored: Array, where: str) -> Array:
        """Label indices (detect: 1 more than those, 0 is none) uint8. Raises UserError for other values."""
        values = self.params.values
        if self.task == "segment":
            own = values or {label: (k,) for k, label in enumerate(self.labels)}
            return index_labels(stored, self.labels, own, where=where, ignore=self.params.ignore)
        if values is None:
            if stored.min(initial=0) < 0:
                raise UserError(f"the value {stored.min()} is not a label", where, "values above 0 are lesion")
            return (stored > 0).astype(np.uint8)
        return index_labels(stored, ("", *self.labels), values, where=where)


def _cut(image: Image, target: Array, item: Item) -> tuple[Image, Array]:
    """The item's slab of an image and its label map, the affine that of its first slice."""
    assert image.affine is not None
    places = slab_slices(item)
    shift = np.eye(4)
    shift[item.facts["axis"], 3] = item.facts["start"]
    return image.replace(array=image.array[(slice(None), *places)], affine=image.affine @ shift), target[places]


def _open(params: Params, task: str, labels: Sequence[str]) -> NiftiPairs:
    return NiftiPairs(params, task, labels)


def recognise(listing: Listing) -> Sighting | None:
    """Volumes with label maps in parallel folders, or beside them."""
    if "dataset.json" in listing.file_set or "dataset_description.json" in listing.file_set:
        return None
    pairs = pair_masks(listing.volumes)
    if pairs is None or pairs.of_class:
        return None
    kind = mask_kind(listing, pairs)
    labels = tuple(f"class-{value}" for value in kind) if isinstance(kind, tuple) else ("object",)
    params: dict[str, Any] = {"image": pairs.image, "label": pairs.mask}
    params |= {"channels": list(pairs.channels)} if pairs.channels else {}
    if isinstance(kind, tuple) and kind != tuple(range(1, len(kind) + 1)):
        params["values"] = {label: [value] for label, value in zip(labels, kind, strict=True)}
    tasks = ("segment", "detect") if kind == "binary" else ("segment",)
    words = set(re.split(r"[^a-z0-9]+", pairs.pairs[0][0].lower()))
    modality = next((word for word in ("pet", "ct", "mr", "t1", "t1w", "t2", "t2w", "flair") if word in words), None)
    why = f"{len(pairs.pairs)} volumes with label maps such as {pairs.pairs[0][1]}"
    return Sighting(tasks, labels, why, params, modality=modality)


ENTRY = DataEntry(Params, ("segment", "detect"), _open, image="scan", recognise=recognise)
