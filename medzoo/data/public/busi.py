"""`busi`: the breast ultrasound images of Al-Dhabyani et al., Data in Brief 28:104863 (2020), as published:
CLASS/CLASS (N).png with CLASS (N)_mask.png and, for further lesions, _mask_1.png, _mask_2.png."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataEntry, DataParams, Item, Objects, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.instances import stack_layers
from medzoo.data.objects import checked_objects, component_parts, mask_box
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import EmptyMaskError, UserError
from medzoo.io import read_image, read_labels
from medzoo.types import Array

CLASSES = ("benign", "malignant", "normal")
NAME = re.compile(r"(?P<stem>(?P<label>[a-z]+) \((?P<number>\d+)\))(?P<mask>_mask(_(?P<which>\d+))?)?\.png")


class Params(DataParams):
    """`root`: the folder that holds benign/, malignant/, normal/. `masks`: the masks of one image merged, or
    apart, which makes each lesion an item of its own (for classify)."""

    root: Path
    masks: Literal["merged", "apart"] = "merged"


class Busi:
    """BUSI for one task. The set names no patients; the groups are "near-duplicate" and "image".

    classify: labels are classes of the set, images of others are left out. segment: labels are background
    and then `lesion`, or classes. detect: labels are `lesion`, or classes; each mask file is one box, about
    its largest connected part, and normal images have none.
    """

    def __init__(self, params: Params, task: str, labels: Sequence[str]) -> None:
        self.params, self.task, self.labels = params, task, tuple(labels)
        wanted = self.labels[1:] if task == "segment" else self.labels
        self.merged_class = task != "classify" and wanted == ("lesion",)
        unknown = [label for label in wanted if label not in CLASSES]
        if (unknown and not self.merged_class) or not wanted:
            choice = " or lesion" if task != "classify" else ""
            raise UserError(
                f"{unknown[0] if unknown else 'none'!r} is not a class of busi",
                "labels",
                f"{', '.join(CLASSES)}{choice}",
            )
        if params.masks == "apart" and task != "classify":
            raise UserError("applies to classify only", "data.masks", "leave it out")
        self.wanted = wanted

    @cached_property
    def images(self) -> dict[str, dict[str, Path]]:
        """Image id to its files: image, mask, mask_1, ..."""
        found: dict[str, dict[str, Path]] = {}
        for label in CLASSES:
            paths = (self.params.root / label).glob("*.png")
            names = sorted((p.name for p in paths if not is_hidden(p.name)), key=_number)
            for name in names:
                match = NAME.fullmatch(name)
                path = self.params.root / label / name
                if match is None or match["label"] != label:
                    raise UserError("does not have a BUSI file name", str(path), f"{label} (N).png")
                files = found.setdefault(f"{label}/{match['stem']}.png", {})
                files[match["mask"][1:] if match["mask"] else "image"] = path
        if not found:
            raise UserError("has no BUSI images", str(self.params.root), "benign/, malignant/, normal/")
        for name, files in found.items():
            if "image" not in files:
                raise UserError("is a mask without its image", str(self.params.root / name))
        return found

    def items(self) -> Sequence[Item]:
        """Images (or lesions, masks apart) of the wanted classes, by class and number."""
        present = {name.split("/")[0] for name in self.images}
        classes = CLASSES if self.task != "classify" else self.wanted
        missing = [label for label in self.wanted if label in CLASSES and label not in present]
        if missing:
            raise UserError(f"the class {missing[0]!r} has no images", str(self.params.root / missing[0]))
        items = []
        for name, files in self.images.items():
            label = name.split("/")[0]
            if label not in classes:
                continue
            groups = NearGroups({"image": name}, name, lambda: self.near_duplicates)
            masks = [key for key in files if key != "image"]
            if self.task != "classify" and label != "normal" and not masks:
                raise UserError("has no mask", str(files["image"]))
            if self.params.masks == "apart" and len(masks) > 1:
                for key in masks:
                    own = {"image": files["image"], "mask": files[key]}
                    items.append(Item(f"{name}#{key}", own, groups, label))
            else:
                items.append(Item(name, files, groups, label))
        return items

    @cached_property
    def near_duplicates(self) -> dict[str, str]:
        """The near-duplicate group of every image of the set, wanted or not."""
        return near_duplicate_groups({name: files["image"] for name, files in self.images.items()})

    def load(self, item: Item) -> Sample:
        """The image, its target, and its merged mask as `Sample.mask` (H, W) uint8, None without one."""
        image = read_image(item.files["image"], kind="picture")
        paths = [path for key, path in item.files.items() if key != "image"]
        masks = [(read_labels(path, like=image).array[0] > 0).astype(np.uint8) for path in paths]
        merged = np.maximum.reduce(masks) if masks else None
        if merged is not None and not merged.any() and item.stratum != "normal":
            raise EmptyMaskError("is an empty mask", str(paths[0]))
        if self.task == "classify":
            return Sample(item, image, self.wanted.index(item.stratum), merged)
        number = 0 if self.merged_class else self._index(item.stratum)
        if self.task == "segment":
            target = np.zeros(image.shape, np.uint8)
            if merged is not None and number is not None:
                target[merged > 0] = number + 1
            return Sample(item, image, target, merged)
        return Sample(item, image, self._boxes(masks, paths, number, image.shape), merged)

    def _index(self, label: str) -> int | None:
        return self.wanted.index(label) if label in self.wanted else None

    def _boxes(
        self, masks: Sequence[Array], paths: Sequence[Path], number: int | None, shape: tuple[int, ...]
    ) -> Objects:
        wanted = [mask for mask in masks if number is not None and mask.any()]
        boxes = [box.tolist() for box in map(mask_box, wanted) if box is not None]

        def layers(kept: Array) -> Array:
            parts = (component_parts(wanted[k])[0] for k in kept)
            return stack_layers(((n, *part) for n, part in enumerate(parts)), shape)

        return checked_objects(boxes, [number or 0] * len(boxes), shape, str(paths[0]) if paths else "", masks=layers)


def _number(name: str) -> tuple[int, str]:
    match = NAME.fullmatch(name)
    return (int(match["number"]) if match else 0, name)


def _open(params: Params, task: str, labels: Sequence[str]) -> Busi:
    return Busi(params, task, labels)


def recognise(listing: Listing) -> Sighting | None:
    """The set's own names: benign/benign (1).png with benign/benign (1)_mask.png."""
    named = [name for name in listing.pictures if re.fullmatch(r"(benign|malignant|normal)/\1 \(\d+\)\.png", name)]
    masks = [name for name in listing.pictures if name.endswith("_mask.png")]
    if len(named) < 10 or not masks:
        return None
    labels = tuple(sorted({name.partition("/")[0] for name in named}))
    return Sighting(
        ("classify", "segment", "detect"),
        labels,
        f"the BUSI set: {len(named)} pictures with masks",
        objects=("lesion",),
    )


ENTRY = DataEntry(
    Params, ("classify", "segment", "detect"), _open, image="breast ultrasound picture", recognise=recognise
)
