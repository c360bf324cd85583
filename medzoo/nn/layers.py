"""Convolutions that the detector's parts share. Knows torch alone."""

from __future__ import annotations

from torch import nn


def conv3x3(inputs: int, outputs: int, *, light: bool, bias: bool = True) -> nn.Module:
    """A 3 x 3 convolution that keeps the size; `light` splits it into depthwise and pointwise."""
    if not light:
        return nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1, bias=bias),
    )


def init_normal(layer: nn.Module, *, std: float) -> None:
    """Weights from a narrow normal distribution and biases 0, as a detector's last layers begin."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=std) if parameter.ndim > 1 else nn.init.zeros_(parameter)
