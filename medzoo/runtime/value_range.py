"""Check that a picture's values are in the range that the model was trained on.

A model whose steps do not rescale grey values reads them as they are stored, so a picture in 0 to 1 is black to one
that was trained on 0 to 255. Python, the command line, the server and its client all go through here. Volumes are in
units of their own (CT, MR, PET) and are left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medzoo.errors import UserError
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import parse_steps
from medzoo.runtime.metadata import Metadata
from medzoo.task import task_of
from medzoo.types import Array, Image

FAINT = 16
"""Fractions that stay below this value are of another scale: z-scores, logarithms, square roots. An almost black
picture is held in whole numbers."""
_RINGING = 1 / 8  # of the range: how far interpolation may overshoot it at either end
_OUTSIDE = 0.25  # the share of a picture that may lie in what it overshot; of one whose mean was taken away it is half
_MASK = "for a two-valued picture use array.astype('uint8') * 255; pass the mask of a mass as mask="
_AS_STORED = "pass the stored values, before normalisation"


@dataclass(frozen=True)
class ValueRange:
    """Range `low` to `high` of the values that `model` was trained on; `stored`: those of a file of 8 or 16 bits."""

    model: str
    low: float
    high: float
    stored: bool = True

    def convert(self, picture: Image) -> Image:
        """Convert a picture to this range.

        Values that are certain are brought to it: 8-bit values in a wider type, and floats that all lie on the 256
        steps of 0 to 1 or of -1 to 1 (as from torchvision's ToTensor and Normalize(0.5, 0.5)); `meta["notes"]` says
        so of the latter, and of a picture that is almost black. Raises UserError for any other range.
        """
        array = picture.array
        if self.stored and picture.meta.get("bits") == 1:
            raise self._error("the picture is boolean", picture.source, _MASK)
        low, high = float(array.min()), float(array.max())
        if low == high == 0:
            return picture  # black on every scale
        if self.stored and array.dtype == np.uint8:
            if self.high > 255:
                raise self._too_flat(f"the picture has 8 bits per pixel, {low:g} to {high:g}", picture.source)
            return self._faint(picture, high)
        if self.stored and array.dtype.kind == "f" and (levels := self._levels(array, low, high)) is not None:
            return _noted(
                picture.replace(array=levels), f"its values, {low:g} to {high:g}, were rescaled to 0 to {self.high:g}"
            )
        self._check(array, low, high, where=picture.source, whole_is_stored=False)
        if self.stored and self.high == 255 and low >= 0 and high <= 255 and _is_whole(array):
            return self._faint(picture.replace(array=array.astype(np.uint8)), high)
        return self._faint(picture, high)

    def check_volume(self, volume: Image) -> Image:
        """Return the volume unchanged. Raises UserError for 16-bit values if the model was trained on 8-bit slices."""
        high = float(volume.array.max())
        if self.stored and self.high > 255 and volume.array.dtype == np.uint8:
            raise self._too_flat("the volume has 8 bits per voxel", volume.source)
        if self.stored and self.high == 255 and high > self.high:
            raise self._too_deep(volume.array, float(volume.array.min()), high, volume.source)
        return volume

    def check_tensor(self, array: Array, *, where: str, resampled: bool = False) -> None:
        """Raise UserError unless the values of each row (B, ...) of a graph's input are in this range.

        `resampled`: rows are cut out of a picture and interpolated, so fractions say nothing.
        """
        for number, row in enumerate(array):
            low, high = float(row.min()), float(row.max())
            place = where if len(array) == 1 else f"{where}, row {number}"
            if not (math.isfinite(low) and math.isfinite(high)):
                raise UserError("contains NaN or infinite values", place, "replace them")
            if self.stored and self.high > 255 and 1 < high <= 255:
                raise self._too_flat(f"values range from {low:g} to {high:g}, those of 8 bits", place)
            if low == high == 0 or (resampled and self.stored and low >= 0 and 1 < high <= self.high):
                continue
            self._check(row, low, high, where=place, whole_is_stored=True)

    def _check(self, array: Array, low: float, high: float, *, where: str | None, whole_is_stored: bool) -> None:
        """Check a range; `whole_is_stored`: accept 0 and 1 as values of an almost black picture rather than a mask."""
        held = f"values range from {low:g} to {high:g} ({array.dtype})"
        if not self.stored:
            slack = (self.high - self.low) / 2
            if low < self.low - slack or high > self.high + slack:
                raise self._error(held, where, "rescale them to that range")
            return
        real = array.dtype.kind == "f"
        beyond = self.high * _RINGING if real and high >= FAINT else 0
        if high > self.high + beyond:
            raise self._too_deep(array, low, high, where)
        if real and low >= -1 and low < 0 and high <= 1:
            raise self._error(held, where, f"(array + 1) * {self.high / 2:g} rescales -1 to 1; or {_AS_STORED}")
        if low < -beyond or (low < 0 and float((array < 0).mean()) > _OUTSIDE):
            raise self._error(held, where, _AS_STORED)
        whole = high >= FAINT or _is_whole(array)
        if high <= 1 and whole and not whole_is_stored:
            raise self._error(held, where, _MASK)
        if not whole:
            way = f"multiply by {self.high:g}, or pass {'uint8' if self.high == 255 else 'uint16'}"
            raise self._error(held, where, way if high <= 1 else _AS_STORED)

    def _faint(self, picture: Image, high: float) -> Image:
        """Note that a picture is almost black, or of a 16-bit model that it may be an 8-bit one."""
        if not self.stored or high >= (FAINT if self.high == 255 else 256):
            return picture
        return _noted(
            picture, f"its highest value is {high:g} of {self.high:g}: it is almost black, or on another scale"
        )

    def _too_flat(self, held: str, where: str | None) -> UserError:
        return UserError(
            f"{held}, but {self.model} was trained on 16-bit pictures, 0 to {self.high:g}",
            where=where,
            hint="give the 16-bit original; array * 257 stretches 8 bits to 16",
        )

    def _too_deep(self, array: Array, low: float, high: float, where: str | None) -> UserError:
        bits = 8 if self.high == 255 else 16
        deep = (
            "the picture has 16 bits per pixel"
            if array.dtype == np.uint16
            else f"the picture has values up to {high:g}"
        )
        return UserError(
            f"{deep}, but {self.model} was trained on {bits}-bit pictures: its values range from {low:g} to {high:g}, "
            f"those of training from 0 to {self.high:g}",
            where=where,
            hint=f"save it as a {bits}-bit picture, windowed for display",
        )

    def _levels(self, array: Array, low: float, high: float) -> Array | None:
        """Recover stored values from floats that are exactly these, scaled to 0 to 1 or -1 to 1; None for others."""
        if high > 1 or low < -1 or not ((array != 0) & (np.abs(array) != 1)).any():
            return None
        values = np.asarray(array, np.float64) if low >= 0 else (np.asarray(array, np.float64) + 1) / 2
        values = values * self.high
        levels = np.rint(values)
        # As exact as the type of the floats can hold a step.
        if np.abs(values - levels).max() > max(1e-3, self.high * float(np.finfo(array.dtype).eps)):
            return None
        return levels.astype(np.uint8 if self.high == 255 else np.uint16)

    def _error(self, held: str, where: str | None, way: str) -> UserError:
        return UserError(
            f"{held}, but {self.model} was trained on values from {self.low:g} to {self.high:g}", where=where, hint=way
        )


def trained_range(metadata: Metadata, steps: Sequence[HostStep]) -> ValueRange | None:
    """Return the value range of a model's training pictures; None if any range is valid.

    That is the case for volumes, outlines, and models with a step that rescales values.
    """
    geometry = metadata.geometry
    if geometry.dims != 2 or geometry.slices != 1 or any(step.scales or step.outlines_only for step in steps):
        return None
    if metadata.values is not None:
        return ValueRange(metadata.name, *metadata.values, stored=False)
    if task_of(metadata.task).gives_mask:  # it says nothing of the depth of its pictures
        return None
    return ValueRange(metadata.name, 0, 255 if metadata.bits == 8 else 65535)


def unusual_range(low: float, high: float) -> tuple[float, float] | None:
    """Return the range for a model's metadata; None for the usual values of 8- or 16-bit files."""
    return (low, high) if low < -max(1.0, _RINGING * high) or (high < FAINT and (low, high) != (0, 0)) else None


def tensor_range(metadata: Metadata) -> ValueRange | None:
    """Return the value range of the first tensor that a model takes; None if any is valid."""
    if metadata.inputs[0] == "features":
        return None
    values = trained_range(metadata, parse_steps(metadata.host))
    return None if metadata.values is not None and task_of(metadata.task).gives_mask else values


def check_tensors(values: ValueRange | None, metadata: Metadata, inputs: Mapping[str, Array]) -> None:
    """Raise UserError for picture tensors outside `values`, the model's `tensor_range`."""
    name = metadata.inputs[0]
    if values is not None and name in inputs:
        values.check_tensor(inputs[name], where=f"tensor {name!r}", resampled=name == "regions")


def _noted(picture: Image, said: str) -> Image:
    return picture.replace(meta={**picture.meta, "notes": (*picture.meta.get("notes", ()), said)})


def _is_whole(array: Array) -> bool:
    return array.dtype.kind != "f" or bool((array == np.rint(array)).all())
