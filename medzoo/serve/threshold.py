"""The threshold of a request: drops boxes of a detector with lower scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medzoo.runtime.backends import detection_outputs
from medzoo.runtime.metadata import Metadata
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.task import task_of
from medzoo.types import Array

REQUIRED_OUTPUTS = ("scores", "count")
"""Outputs that are needed to filter boxes by score."""


def require_tensors_with_threshold(metadata: Metadata) -> None:
    """Raise InferenceError if a threshold has no effect on a model's tensors."""
    if not task_of(metadata.task).gives_boxes:
        raise InferenceError(
            ErrorCode.INVALID,
            f"'threshold' has no effect on the tensors of {metadata.name} ({', '.join(metadata.outputs)}): omit it"
            + ("" if not has_threshold(metadata) else f", or POST an image file to /predict/{metadata.name}"),
        )


def require_threshold(metadata: Metadata) -> None:
    """Raise InferenceError if a threshold has no effect on a model's results."""
    if not has_threshold(metadata):
        raise InferenceError(ErrorCode.INVALID, f"'threshold' has no effect on the results of {metadata.name}: omit it")


def has_threshold(metadata: Metadata) -> bool:
    """Return True if results depend on a threshold: detections, and the choice between two labels."""
    return task_of(metadata.task).has_threshold(metadata)


def above_threshold(outputs: Mapping[str, Array], threshold: float) -> dict[str, Array]:
    """Keep the boxes whose score is at least `threshold`, in their order, and pad with zeros.

    Outputs of shape (B, N, ...) hold one row a box, "count" (B,) says how many of the N are boxes.
    """
    named = detection_outputs(outputs)
    scores, count = named["scores"], named["count"].reshape(-1)
    kept = (np.arange(scores.shape[1]) < count[:, None]) & (scores >= threshold)
    result = {}
    for name, values in outputs.items():
        if name == "count":
            result[name] = kept.sum(axis=1).astype(values.dtype).reshape(values.shape)
        elif values.shape[:2] == scores.shape:
            filtered = np.zeros_like(values)
            for row, chosen in enumerate(kept):
                filtered[row, : chosen.sum()] = values[row][chosen]
            result[name] = filtered
        else:
            result[name] = values
    return result
