"""Predictions of a net on every item of ordered batches."""

from __future__ import annotations

from typing import Any

import torch

from medzoo.inputs.batches import Batches
from medzoo.nn.net import Net


def predict_all(net: Net, batches: Batches) -> list[Any]:
    """`Net.predictions` of every item, in order."""
    found = []
    with torch.inference_mode():
        for step in range(len(batches)):
            image, target = batches.batch(0, step)
            if len(image):
                found += net.predictions(image, target)
    return found
