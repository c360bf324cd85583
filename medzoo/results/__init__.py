"""Predictions, one type a task, each on the grid of its source image; `Failure` stands for an input without one."""

from __future__ import annotations

from medzoo.results.classification import Classification
from medzoo.results.detections import Detections
from medzoo.results.failure import Failure
from medzoo.results.result import Result
from medzoo.results.segmentation import Segmentation

__all__ = ["Classification", "Detections", "Failure", "Result", "Segmentation"]
