"""Evaluation of a Predictor on a dataset, and its worst cases; needs no torch."""

from medzoo.evaluation.score import evaluate, protocols, sample_facts

__all__ = ["evaluate", "protocols", "sample_facts"]
