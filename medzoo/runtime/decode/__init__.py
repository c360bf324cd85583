"""From a graph's outputs to results on the source's own grid, one file a task."""
