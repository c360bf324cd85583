"""Augmentations: random changes of training images that move boxes with them."""
