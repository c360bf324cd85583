"""The base of every segmenter: its slices, and labels with probabilities on the image's own grid.

Knows the room nn. A model type adds its network: (B, C, *spatial) after the graph steps -> logits (B, K, *spatial).
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from medzoo.errors import UserError
from medzoo.nn.net import Geometry, Net, Params, Spec
from medzoo.nn.steps import build_steps

_AXIS = {"sagittal": 0, "coronal": 1, "axial": 2}


class SegmenterParams(Params):
    """Parameters that every segmenter has."""

    inputs: int = Field(1, ge=1, le=16, description="sequences in the scan (channels of one slice or volume)")
    slices: int = Field(1, ge=1, description="adjacent slices given as channels, an odd number; of volumes 1")
    plane: Literal["sagittal", "coronal", "axial"] = Field("axial", description="plane of the slices, in RAS")
    foreground: Literal["nonzero", "all"] = Field(
        "all", description="nonzero: a pixel that is exactly zero is background by definition"
    )
    components: Literal["none", "validation"] = Field(
        "none",
        description="validation: for each label the largest component alone, a least volume or filled holes, where "
        "that raises Dice on the validation part",
    )

    members: int = Field(
        1,
        ge=1,
        le=20,
        description="networks whose probabilities are averaged; `medzoo ensemble` makes them of the folds of a "
        "cross-validation",
    )
    phases: tuple[str, ...] = Field(
        (),
        description="labels of cavities that empty themselves: an input may be several phases of one scan, and the "
        "answer has their ejection fractions; the first tells end diastole and end systole",
    )

    @field_validator("slices")
    @classmethod
    def _has_a_middle(cls, slices: int) -> int:
        if slices % 2 == 0:
            raise ValueError("slices must be odd, so that one of them is in the middle")
        return slices


class Segmenter(Net):
    """(B, C, *spatial) -> labels uint8 (B, *spatial), probabilities (B, K, *spatial).

    `facts`: what its geometry says beyond the parameters' slices and foreground (medzoo.runtime.metadata).
    """

    outputs = ("labels", "probabilities")

    def __init__(self, params: SegmenterParams, spec: Spec, **facts: Any) -> None:
        super().__init__()
        self.geometry = Geometry(
            channels=params.inputs,
            slices=params.slices,
            axis=_AXIS[params.plane],
            foreground=params.foreground,
            **facts,
        )
        unknown = [label for label in params.phases if label not in spec.labels[1:]]
        if unknown:
            raise UserError(f"{unknown[0]!r} is not one of the labels", "model.phases", f"they are {spec.labels[1:]}")
        self.phases = params.phases
        self.chooses_components = params.components == "validation"
        self.steps = build_steps(spec.steps)

    def logits(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) after the graph steps -> (B, K, *spatial); a model type's network."""
        raise TypeError(f"{type(self).__name__} does not define logits")

    def whole(self, x: Tensor) -> Tensor:
        """`logits` of every pixel, where a network needs something around the image for that."""
        return self.logits(x)

    def probabilities(self, image: Tensor) -> Tensor:
        """(B, C, *spatial) -> probabilities (B, K, *spatial)."""
        return shares(self.whole(self.steps(image)))

    def forward(self, image: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Labels and probabilities of every pixel; zeros stand for what lies outside the image."""
        probabilities = self.probabilities(image)
        labels = probabilities.argmax(dim=1).to(torch.uint8)
        if self.geometry.foreground == "nonzero":
            middle = (self.geometry.slices // 2) * self.geometry.channels
            labels = labels * (image[:, middle] != 0).to(torch.uint8)
        return {"labels": labels, "probabilities": probabilities}


def shares(logits: Tensor) -> Tensor:
    """Softmax over the second axis of (B, K, *spatial); where an axis is not the last, ONNX Runtime's own turns all."""
    if not torch.compiler.is_exporting():
        return logits.softmax(dim=1)
    powers = (logits - logits.amax(dim=1, keepdim=True)).exp()
    return powers / powers.sum(dim=1, keepdim=True)
