"""The guard's record in an ONNX file's metadata, and its verdict on an input. NumPy alone.

Distances are taken in the space of the training images' embeddings: standardised, projected on their principal
components and whitened. One head is the distance to the 5th nearest training image, one what the components leave
over; one head for each alteration that training images were given on purpose (upside down, inverted, noise, low
contrast) is a linear discriminant. Each head is brought to the scale of validation images, the largest is the
nonconformity, and p is its conformal p-value: the share of validation images that are as odd (Vovk, Gammerman and
Shafer, Algorithmic Learning in a Random World, 2005).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from medzoo.types import Array

Verdict = Literal["yes", "unsure", "no"]
NEIGHBOUR = 5
NEAREST, REST = "nearest", "rest"
"""Names of the heads that tell how far an image is from the training images; these refuse."""
BLUR = "blur"
_GRAIN = 0.2  # of the discriminant of blurred images, in the distance that refuses
_NEARER = 1.0  # standard deviations by which the distance to the nearest images may lie further out
CLIP = 8.0
"""Standard deviations at which a component of an embedding is cut off: one that hardly varied must not decide."""
WORDS = {
    NEAREST: "unlike every image of the training data",
    REST: "holds what no image of the training data holds",
    "upside-down": "looks upside down",
    "turned": "looks turned on its side",
    "inverted": "looks inverted, dark for bright",
    "noise": "is noisier than the training data",
    "contrast": "has less contrast than the training data",
    BLUR: "is more blurred than the training data",
    "size": "is of a size that the training data do not have",
    "spacing": "has a voxel spacing that the training data do not have",
}
_Size = Annotated[int, Field(ge=1, le=1 << 16)]
_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Packed(BaseModel):
    """A float16 array as base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Annotated[tuple[Annotated[int, Field(ge=0, le=1 << 20)], ...], Field(max_length=2)]
    data: Annotated[str, Field(max_length=1 << 20, pattern=r"^[A-Za-z0-9+/]*=*$")]

    @classmethod
    def of(cls, array: Array) -> Packed:
        """Pack an array, rounded to float16 and cut off where that ends."""
        top = float(np.finfo(np.float16).max)
        half = np.clip(np.nan_to_num(np.asarray(array, np.float64)), -top, top).astype("<f2")
        return cls(shape=half.shape, data=base64.b64encode(half.tobytes()).decode())

    @cached_property
    def array(self) -> Array:
        """The array as float32. Raises ValueError if the text does not hold its shape."""
        try:
            found = np.frombuffer(base64.b64decode(self.data, validate=True), "<f2").astype(np.float32)
        except binascii.Error as error:
            raise ValueError("is not base64") from error
        reshaped: Array = found.reshape(self.shape)
        return reshaped


class Head(BaseModel):
    """One measure of oddness: its mean and standard deviation over validation images, and of an alteration the
    discriminant's weights (D,)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z-]*$", max_length=40)]
    mean: _Finite
    spread: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weights: Packed | None = None


@dataclass(frozen=True)
class Familiar:
    """The guard's verdict on one input: `p`, the share of validation images at least as odd, and why."""

    verdict: Verdict
    p: float
    why: str

    def to_dict(self) -> dict[str, Any]:
        """The field `familiar` of a result."""
        return {"verdict": self.verdict, "p": round(self.p, 4), "why": self.why}


class Guard(BaseModel):
    """A record of the training images, by which an input of another kind is recognised.

    `taps`: the graph's inner maps that its output `embedding` is made from. `center`, `scale` (D,), `basis` (D, K):
    to the space of the distances; `reference` (N, K): training images in it. `levels`: nonconformity of validation
    images, sorted. `unsure`: the p from which on downwards the verdict is "unsure"; `refuse`: how many of its standard
    deviations a distance may lie above its mean before the verdict is "no". `size`: least and largest side of training
    images in pixels; `spacing`: of their voxels, in mm. `rates`: shares of validation images by verdict, and of altered
    ones that are at least "unsure".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    taps: Annotated[tuple[str, ...], Field(max_length=8)] = ()
    center: Packed
    scale: Packed
    basis: Packed
    reference: Packed
    heads: Annotated[tuple[Head, ...], Field(min_length=1, max_length=32)]
    levels: Packed
    unsure: Annotated[float, Field(ge=0, le=1)]
    refuse: _Finite
    size: tuple[_Size, _Size] | None = None
    spacing: tuple[_Finite, _Finite] | None = None
    items: Annotated[int, Field(ge=1)]
    rates: dict[str, _Finite] = Field(default_factory=dict)

    @field_validator("reference", "basis", "center", "scale", "levels")
    @classmethod
    def _readable(cls, packed: Packed) -> Packed:
        if len(packed.data) != -(-(2 * int(np.prod(packed.shape))) // 3) * 4:
            raise ValueError("the data do not have the shape that is said")
        return packed

    @property
    def width(self) -> int:
        """Length of an embedding."""
        return self.center.shape[0]

    def oddness(self, embedding: Array) -> dict[str, float]:
        """Each head's measure of an embedding (D,), in standard deviations of validation images from their mean."""
        scores = head_scores(
            embedding[None], self.center.array, self.scale.array, self.basis.array, self.reference.array
        )
        standard = standardised(embedding[None], self.center.array, self.scale.array)
        found = {}
        for head in self.heads:
            value = scores[head.name] if head.weights is None else standard @ head.weights.array
            found[head.name] = float((value[0] - head.mean) / head.spread)
        return found

    def judge(self, embedding: Array, *, size: tuple[int, ...] = (), spacing: tuple[float, ...] = ()) -> Familiar:
        """The verdict on an embedding (D,) of an image of this size in pixels and, of a volume, spacing in mm."""
        odd = self.oddness(np.asarray(embedding, np.float32).reshape(-1)[: self.width])
        if not all(np.isfinite(value) for value in odd.values()):
            return Familiar("no", 0.0, "its embedding is not finite")
        strangest = max(odd, key=odd.__getitem__)
        levels = self.levels.array
        p = (1 + int((levels >= odd[strangest]).sum())) / (1 + len(levels))
        # What is smooth where training images have grain is further away than the rest of it says.
        rest = odd.get(REST, 0.0) + _GRAIN * max(0.0, odd.get(BLUR, 0.0))
        if max(rest, odd.get(NEAREST, 0.0) - _NEARER) > self.refuse:
            return Familiar("no", p, WORDS[REST if rest > self.refuse else NEAREST])
        if p <= self.unsure:
            return Familiar("unsure", p, WORDS.get(strangest, strangest))
        for name, known, mine in (("size", self.size, size), ("spacing", self.spacing, spacing)):
            if known is not None and mine and (min(mine) < known[0] / 2 or max(mine) > known[1] * 2):
                return Familiar("unsure", p, WORDS[name])
        return Familiar("yes", p, "like the training data")


def standardised(embeddings: Array, center: Array, scale: Array) -> Array:
    """Embeddings (N, D) by the training images' mean and spread, cut off at `CLIP`."""
    clipped: Array = np.clip((embeddings - center) / scale, -CLIP, CLIP).astype(np.float32)
    return clipped


def head_scores(
    embeddings: Array, center: Array, scale: Array, basis: Array, reference: Array, *, own: bool = False
) -> dict[str, Array]:
    """Logarithms (N,) of the distance to the 5th nearest of `reference` (M, K), and of what `basis` (D, K) leaves over.

    `own`: the embeddings are those of the reference, which is then not its own neighbour.
    """
    standard = standardised(embeddings, center, scale)
    inside = standard @ basis
    squares = (inside**2).sum(1)[:, None] + (reference**2).sum(1) - 2 * inside @ reference.T
    nearest = min(NEIGHBOUR + own, len(reference)) - 1
    distance = np.sqrt(np.maximum(np.partition(squares, nearest, axis=1)[:, nearest], 1e-6))
    # The components' own lengths say how they were whitened.
    lengths = np.maximum((basis**2).sum(0), 1e-12)
    left = standard - inside @ (basis / lengths).T
    return {NEAREST: np.log(distance), REST: np.log(np.sqrt((left**2).mean(1)) + 1e-6)}
