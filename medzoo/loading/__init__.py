"""Open models: a Predictor from a name, a folder, an ONNX file or a URL; backends; pipelines with their members."""
