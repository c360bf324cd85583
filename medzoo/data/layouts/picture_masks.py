"""`picture-masks`: pictures with masks beside them for segmentation: one map of values each, or one mask a label."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from medzoo.data.annotation_files import patient_of, patient_pattern
from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataEntry, DataParams, Item, Note, Sample
from medzoo.data.file_names import check_placeholders, fill_pattern, match_files
from medzoo.data.sighting import Listing, Sighting, mask_kind, pair_masks
from medzoo.data.volumes import Values, check_values, index_labels
from medzoo.errors import UserError
from medzoo.io import read_image, read_labels
from medzoo.types import Array, Image


class Params(DataParams):
    """Parameters of `picture-masks`: patterns of the pictures and of their masks."""

    root: Path = Field(description="folder that the patterns are below")
    image: str = Field(description='pattern of the pictures, such as "images/{name}.png"; every place is a group')
    mask: str | None = Field(
        default=None, description='pattern of the maps of values, such as "masks/{name}.png", with the same places'
    )
    masks: dict[str, str] = Field(
        default_factory=dict, description="patterns of one mask a label instead, by label: what is above 0 is the label"
    )
    values: Values | None = Field(
        default=None, description="values of the maps by label; absent: of one label all above 0, of more its number"
    )
    patient: str | None = Field(
        default=None, description='regular expression on a picture\'s name whose first group is the patient: "^(.+?)_"'
    )
    empty: bool = Field(
        default=False, description="a picture without a mask shows nothing; else it is refused (masks: never refused)"
    )

    @model_validator(mode="after")
    def _one_of(self) -> Params:
        if (self.mask is None) == (not self.masks):
            raise ValueError("give mask (a map of values) or masks (one a label), one of the two")
        return self


class PictureMasks:
    """Pictures with their label map. Where masks of two labels overlap, the later label has the pixels, and the audit
    is told how many. Groups are the places of the pattern, "image" and "near-duplicate"."""

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        self.patient = patient_pattern(params.patient)
        patterns = (
            {"mask": params.mask} if params.mask is not None else {f"masks.{k}": v for k, v in params.masks.items()}
        )
        check_placeholders(params.image, patterns, example="images/{name}.png")
        check_values(self.labels, params.values or {})
        for label in params.masks:
            if label not in self.labels[1:]:
                raise UserError(f"{label!r} is not one of the labels after the background", "data.masks")

    @cached_property
    def found(self) -> dict[str, dict[str, str]]:
        """The places' values by picture below the root."""
        others = [self.params.mask] if self.params.mask is not None else list(self.params.masks.values())
        found = match_files(self.params.root, self.params.image)
        masks = {fill_pattern(pattern, places) for places in found.values() for pattern in others}
        found = {name: places for name, places in found.items() if name not in masks}
        if not found:
            raise UserError(f"no file matches {self.params.image!r}", str(self.params.root), "check data.image")
        return found

    @cached_property
    def near(self) -> dict[str, str]:
        """The near-duplicate group of each picture."""
        return near_duplicate_groups({name: self.params.root / name for name in self.found})

    def items(self) -> Sequence[Item]:
        """All pictures by path. Raises UserError for one without a mask."""
        root, items = self.params.root, []
        for name, places in self.found.items():
            files = {"image": root / name}
            if self.params.mask is not None:
                mask = root / fill_pattern(self.params.mask, places)
                if mask.is_file():
                    files["label"] = mask
                elif not self.params.empty:
                    text = f"has no mask {mask.relative_to(root)}"
                    raise UserError(text, str(root / name), "add it, or set data.empty=true if it shows nothing")
            for label, pattern in self.params.masks.items():
                mask = root / fill_pattern(pattern, places)
                if mask.is_file():
                    files[f"mask-{label}"] = mask
            groups = {**places, "image": name}
            if self.patient is not None:
                groups["patient"] = patient_of(self.patient, files["image"].name, str(files["image"]))
            items.append(Item(name, files, NearGroups(groups, name, lambda: self.near)))
        if all(len(item.files) == 1 for item in items):
            raise UserError("no picture has a mask", str(root), "check data.mask or data.masks")
        return items

    def load(self, item: Item) -> Sample:
        """The picture and its label map. Raises UserError that names the mask."""
        image = read_image(item.files["image"], kind="picture")
        if self.params.mask is not None:
            path = item.files.get("label")
            target = np.zeros(image.shape, np.uint8) if path is None else self._indexed(path, image)
            return Sample(item, image, target)
        target, covered = np.zeros(image.shape, np.uint8), 0
        for number, label in enumerate(self.labels):
            path = item.files.get(f"mask-{label}")
            if path is not None:
                mask = _above_zero(path, image)
                covered += int((mask & (target != 0)).sum())
                target[mask] = number
        text = f"{covered} pixels lie in masks of two labels; the later label has them"
        return Sample(item, image, target, notes=(Note("overlap", text),) if covered else ())

    def _indexed(self, path: Path, image: Image) -> Array:
        if self.params.values is None and len(self.labels) == 2:
            return _above_zero(path, image).astype(np.uint8)
        own = self.params.values or {label: (k,) for k, label in enumerate(self.labels)}
        return index_labels(read_labels(path, like=image).array[0], self.labels, own, where=str(path))


def _above_zero(path: Path, image: Image) -> Array:
    """A mask bool, of a file whose values are 0 and one other. Raises UserError for a JPEG's shades between the two."""
    stored = read_labels(path, like=image).array[0]
    values = np.unique(stored)
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        shown = ", ".join(map(str, values[:6]))
        hint = "one value a label: set data.values; a JPEG cannot hold a mask: save it as PNG"
        raise UserError(
            f"has {len(values)} values ({shown}{', ...' if len(values) > 6 else ''}), a mask has two", str(path), hint
        )
    mask: Array = stored > 0
    return mask


def _open(params: Params, task: str, labels: Sequence[str]) -> PictureMasks:
    return PictureMasks(params, labels)


def recognise(listing: Listing) -> Sighting | None:
    """Pictures with masks in parallel folders, or beside them: one each, or one a label."""
    pairs = pair_masks(listing.pictures)
    if pairs is None or pairs.channels:
        return None
    if pairs.of_class:
        why = f"a folder of masks for each of {', '.join(pairs.of_class)}"
        return Sighting(("segment",), tuple(pairs.of_class), why, {"image": pairs.image, "masks": dict(pairs.of_class)})
    kind = mask_kind(listing, pairs)
    if kind == "instances":
        return None
    params: dict[str, Any] = {"image": pairs.image, "mask": pairs.mask}
    named = {mask for _, mask in pairs.pairs}
    bare = [n for n in listing.pictures if n not in named and n not in {image for image, _ in pairs.pairs}]
    params |= {"empty": True} if bare else {}
    labels = tuple(f"class-{value}" for value in kind) if isinstance(kind, tuple) else ("object",)
    if isinstance(kind, tuple) and kind != tuple(range(1, len(kind) + 1)):
        params["values"] = {label: [value] for label, value in zip(labels, kind, strict=True)}
    without = f"; {len(bare)} pictures have none, and show nothing" if bare else ""
    return Sighting(("segment",), labels, f"{len(pairs.pairs)} masks such as {pairs.pairs[0][1]}{without}", params)


ENTRY = DataEntry(Params, ("segment",), _open, image="picture", recognise=recognise)
