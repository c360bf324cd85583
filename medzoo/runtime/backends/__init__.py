"""Backends that run a graph: ONNX Runtime, a remote server, and a batching queue in front of either."""
