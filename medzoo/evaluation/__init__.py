"""A Predictor scored on the items of a data set, and what it answered worst; needs no torch."""

from medzoo.evaluation.score import evaluate, facts_of, protocols

__all__ = ["evaluate", "facts_of", "protocols"]
