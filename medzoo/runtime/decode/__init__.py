"""Decoding of a graph's outputs to results on the source grid: one file a task, and the geometry they share."""
