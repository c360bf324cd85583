"""Export: a Net becomes model.onnx, and is refused unless ONNX Runtime gives the answers that torch gave."""
