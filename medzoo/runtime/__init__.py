"""Prediction without torch: backends that run a graph, and the Predictor that brings images to it and back."""
