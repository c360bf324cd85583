"""`mask-boxes`: boxes from masks beside their images, pictures or volumes, both found by patterns."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from medzoo.boxes import mask_to_box
from medzoo.data.dataset import DataEntry, DataParams, Item, Objects, Sample
from medzoo.data.file_names import check_placeholders, fill_pattern, match_files
from medzoo.data.instances import stack_layers
from medzoo.data.objects import checked_objects, component_boxes, component_parts
from medzoo.data.sighting import Listing, Sighting, mask_kind, pair_masks
from medzoo.errors import UserError
from medzoo.io import read_image, read_labels
from medzoo.types import Array


class Params(DataParams):
    """Parameters of `mask-boxes`: places of images and masks, and the meaning of mask values."""

    root: Path = Field(description="folder that the patterns are below")
    image: str = Field(description='pattern of the images, such as "{patient}/{name}.png"; every place is a group')
    mask: str = Field(description="pattern of their masks with the same places; an image without one has no object")
    values: Literal["lesion", "instance", "label"] = Field(
        default="lesion",
        description="lesion: every connected part above 0 is an object; instance: every value above 0 is one "
        "object, however many parts; label: the value is the label's number from 1, parts are objects",
    )
    smallest: int = Field(default=1, ge=1, description="objects of fewer pixels or voxels are left out")


class MaskBoxes:
    """Boxes (half open) about the objects of masks. `Sample.mask` holds the labels' numbers from 1, for models
    that learn slices of volumes."""

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        check_placeholders(params.image, {"mask": params.mask}, example="{name}.png")
        if params.values != "label" and len(self.labels) > 1:
            raise UserError(
                "must map mask values to labels if there are several labels", "data.values", "set it, or use one label"
            )

    @cached_property
    def found(self) -> dict[str, dict[str, str]]:
        """The places' values by image path below the root."""
        return match_files(self.params.root, self.params.image, beside=self.params.mask)

    def items(self) -> Sequence[Item]:
        """All images by path. Raises UserError if none of them has a mask."""
        items = []
        for name, places in self.found.items():
            files = {"image": self.params.root / name}
            mask = self.params.root / fill_pattern(self.params.mask, places)
            if mask.is_file():
                files["mask"] = mask
            items.append(Item(name, files, {**places, "image": name}))
        if not any("mask" in item.files for item in items):
            raise UserError(f"no image has a mask {self.params.mask!r}", str(self.params.root), "check data.mask")
        return items

    def load(self, item: Item) -> Sample:
        """The image and its objects."""
        image = read_image(item.files["image"])
        if "mask" not in item.files:
            none = checked_objects([], [], image.shape, str(item.files["image"]))
            return Sample(item, image, none, np.zeros(image.shape, np.uint8))
        where = str(item.files["mask"])
        stored = read_labels(item.files["mask"], like=image).array[0]
        highest = len(self.labels) if self.params.values == "label" else None
        if (bad := _outside(stored, highest)) is not None:
            raise UserError(f"the value {bad} is not a label", where, f"labels have the values 1 to {len(self.labels)}")
        numbers = stored if self.params.values == "label" else stored > 0
        return Sample(item, image, self._objects(stored, image.shape, where), numbers.astype(np.uint8))

    def _objects(self, stored: Array, shape: tuple[int, ...], where: str) -> Objects:
        smallest = self.params.smallest
        if self.params.values == "instance":
            boxes = [
                box.tolist()
                for value in np.unique(stored[stored > 0])
                if (stored == value).sum() >= smallest and (box := mask_to_box(stored == value)) is not None
            ]
            masks = [stored == value for value in np.unique(stored[stored > 0]) if (stored == value).sum() >= smallest]
            everywhere = (slice(None),) * len(shape)

            def whole(kept: Array) -> Array:
                return stack_layers(((n, everywhere, masks[k]) for n, k in enumerate(kept)), shape)

            return checked_objects(boxes, [0] * len(boxes), shape, where, masks=whole)
        values = range(1, len(self.labels) + 1) if self.params.values == "label" else (1,)
        source = stored if self.params.values == "label" else stored > 0
        found = [component_boxes(source == value, smallest=smallest) for value in values]
        labels = [number for number, boxes in enumerate(found) for _ in boxes]

        def parts(kept: Array) -> Array:
            every = [part for value in values for part in component_parts(source == value, smallest=smallest)]
            return stack_layers(((n, *every[k]) for n, k in enumerate(kept)), shape)

        return checked_objects(np.concatenate(found).tolist(), labels, shape, where, masks=parts)


def _outside(stored: Array, highest: int | None) -> int | None:
    """A value of a label map below 0 or above `highest` (None: no limit), if there is one."""
    if stored.min(initial=0) < 0:
        return int(stored.min())
    return int(stored.max()) if highest is not None and stored.max(initial=0) > highest else None


def _open(params: Params, task: str, labels: Sequence[str]) -> MaskBoxes:
    return MaskBoxes(params, labels)


def recognise(listing: Listing) -> Sighting | None:
    """As picture-masks: masks whose connected parts are the objects."""
    pairs = pair_masks(listing.pictures)
    if pairs is None or pairs.of_class or pairs.channels or mask_kind(listing, pairs) != "binary":
        return None
    why = f"the connected parts of {len(pairs.pairs)} masks are objects"
    return Sighting(("detect",), ("object",), why, {"image": pairs.image, "mask": pairs.mask})


ENTRY = DataEntry(Params, ("detect",), _open, image="picture or scan", recognise=recognise)
