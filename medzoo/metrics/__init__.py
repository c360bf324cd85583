"""Metrics of classifications, segmentations and detections, each with its protocol and its interval."""

from medzoo.metrics.accumulator import Accumulator, paired_differences
from medzoo.metrics.classify import ClassifyScores
from medzoo.metrics.compute import accumulator, compute, restore_records
from medzoo.metrics.detect import Boxes, DetectScores
from medzoo.metrics.interval import Metric
from medzoo.metrics.match import Rule
from medzoo.metrics.scores import Scope, Scores, read_scores
from medzoo.metrics.segment import SegmentScores

__all__ = [
    "Accumulator",
    "Boxes",
    "ClassifyScores",
    "DetectScores",
    "Metric",
    "Rule",
    "Scope",
    "Scores",
    "SegmentScores",
    "accumulator",
    "compute",
    "paired_differences",
    "read_scores",
    "restore_records",
]
