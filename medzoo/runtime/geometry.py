"""How the Predictor cuts an input into arrays that a graph takes; travels in the ONNX metadata."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Geometry(BaseModel):
    """What the Predictor must know of a graph's appetite.

    `dims`: 2 for slices or pictures, 3 for volumes. `channels`: channels of one slice. `slices`: adjacent
    slices stacked as channels (odd). `axis`: the prepared array's axis along which slices of a volume lie.
    `margin`: how far an output looks beyond its own place, in pixels; None if it may see the whole input.
    `foreground`: "nonzero" if an output where the input is exactly zero is background by definition.
    `multiple`: the graph's coarsest step in pixels; what it is given starts at a multiple of it, so that an
    answer does not depend on where the array was cut.
    `tile`: the largest extent an axis is run at, None for no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dims: Literal[2, 3] = 2
    channels: Annotated[int, Field(ge=1, le=1024)] = 1
    slices: Annotated[int, Field(ge=1, le=255)] = 1
    axis: Annotated[int, Field(ge=0, le=2)] = 2
    margin: Annotated[int, Field(ge=0, le=4096)] | None = None
    foreground: Literal["nonzero", "all"] = "all"
    multiple: Annotated[int, Field(ge=1, le=4096)] = 1
    tile: Annotated[int, Field(ge=1, le=65536)] | None = None
