"""Graph steps: the part of preprocessing that is pure tensor arithmetic, trained with and exported with.

Each step is a pydantic model of its options (`op` is its name in a recipe), in a file of that name in
`medzoo/nn/graph/` that ends with `ENTRY = TheStep`; a package of its own registers it as an entry point under
`medzoo.graph_steps`. It builds a module that maps float32 (B, C, *spatial) to the same layout. Statistics are taken per
image and channel, never per batch, so that an image's prediction does not depend on the rest of its batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import nn

from medzoo import registry


class GraphStep(BaseModel):
    """Base of every graph step's options."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    op: str

    def build(self) -> nn.Module:
        """The step as a module."""
        raise TypeError(f"{type(self).__name__} does not define build")


def build_steps(steps: Sequence[Mapping[str, Any]]) -> nn.Sequential:
    """The graph steps of a recipe, in order, as one module; no steps give the identity."""
    return nn.Sequential(*[registry.entry("graph-step", step["op"])(**step).build() for step in steps])
