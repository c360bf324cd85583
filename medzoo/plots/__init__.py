"""Figures of images and predictions, drawn with Pillow and NumPy alone."""
