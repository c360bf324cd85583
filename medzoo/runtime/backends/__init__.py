"""The protocol of a backend, which runs a graph: ONNX Runtime, PyTorch, a remote server, or a batching queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from medzoo.runtime.metadata import Metadata
from medzoo.types import Array

T = TypeVar("T")
BOXES_OUTPUT = "found_boxes"
"""Name of the output boxes of a graph that also has an input `boxes`: ONNX requires distinct names."""


class Backend(Protocol):
    """Runs a graph: with ONNX Runtime, PyTorch, or on a server."""

    metadata: Metadata
    name: str
    """"onnx", "torch" or "remote"."""
    device: str
    """The device in use, such as "cpu" or "cuda:0"."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the graph; return its outputs by name, all of them for None. Raises UserError for invalid inputs."""
        ...


def detection_outputs(outputs: Mapping[str, T]) -> dict[str, T]:
    """Rename a detection graph's outputs to `boxes`, `scores`, `labels` and `count`; others keep their names."""
    return {"boxes" if name == BOXES_OUTPUT else name: value for name, value in outputs.items()}
