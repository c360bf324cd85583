"""What the Predictor asks of a backend: run named arrays through a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from medzoo.runtime.metadata import Metadata
from medzoo.types import Array

T = TypeVar("T")
BOXES_OUTPUT = "found_boxes"
"""What a graph calls the boxes that it answers if it is given `boxes` too: ONNX lets no output bear an input's name."""


class Backend(Protocol):
    """A graph that answers: ONNX Runtime, torch, or a server."""

    metadata: Metadata
    name: str
    """"onnx", "torch" or "remote"."""
    device: str
    """What it really runs on, such as "cpu" or "cuda:0"."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Outputs by name; all of them for None. Raises UserError where the graph cannot take the arrays."""
        ...


def detection_outputs(outputs: Mapping[str, T]) -> dict[str, T]:
    """`boxes`, `scores`, `labels` and `count` of a graph's outputs; others keep their names."""
    return {"boxes" if name == BOXES_OUTPUT else name: value for name, value in outputs.items()}
