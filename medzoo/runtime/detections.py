"""The outputs of a detection graph by the names of the task, whatever its inputs took from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
FOUND = "found_boxes"
"""What a graph calls the boxes that it answers if it is given `boxes` too: ONNX lets no output bear an input's name."""


def detections(outputs: Mapping[str, T]) -> dict[str, T]:
    """`boxes`, `scores`, `labels` and `count` of a graph's outputs; others keep their names."""
    return {"boxes" if name == FOUND else name: value for name, value in outputs.items()}
