"""The Open Inference Protocol: tensors over HTTP, messages over gRPC."""
