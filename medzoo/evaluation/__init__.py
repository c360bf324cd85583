"""A Predictor scored on the items of a dataset, and what it answered worst; needs no torch."""

from medzoo.evaluation.score import evaluate, protocols, sample_facts

__all__ = ["evaluate", "protocols", "sample_facts"]
