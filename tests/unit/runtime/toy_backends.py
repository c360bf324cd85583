"""Backends with exactly known outputs: what a picture's mean is, which colour it has, where it is bright."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medzoo.runtime.metadata import Geometry, Metadata


class MeanValue:
    """The mean of a picture over 255 as the probability of "bright"."""

    name, device = "onnx", "cpu"

    def __init__(self, *, host: tuple[dict[str, Any], ...] = (), **fields: Any) -> None:
        self.metadata = Metadata(name="mean", task="classify", labels=("dark", "bright"), host=host, **fields)

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        p = np.clip(inputs["image"].mean(axis=(1, 2, 3)) / 255, 0, 1)
        return {"probabilities": np.stack([1 - p, p], 1).astype(np.float32)}


class MeanColour:
    """The mean of each colour of a picture over 255."""

    name, device = "onnx", "cpu"
    metadata = Metadata(name="colours", task="classify", labels=("red", "green", "blue"), geometry=Geometry(channels=3))

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        return {"probabilities": (inputs["image"].mean(axis=(2, 3)) / 255).astype(np.float32)}
