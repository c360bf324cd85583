"""Prediction without PyTorch: backends that run a graph, the Predictor, decoding and the parity gate."""
