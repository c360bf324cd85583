"""Torch building blocks that model types share: the Net contract, graph steps of preprocessing, boxes."""
