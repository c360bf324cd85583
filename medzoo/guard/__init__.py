"""The guard: what a model was trained on, stored in its ONNX file, and the verdict on an input. No PyTorch, no onnx."""
