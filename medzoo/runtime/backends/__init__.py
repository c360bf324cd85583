"""Backends that run a graph: ONNX Runtime, a remote server, batches; and what bounds and feeds them."""
