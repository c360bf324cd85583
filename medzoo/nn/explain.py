"""Grad-CAM heat maps and feature maps of an image classifier. Knows torch alone.

Selvaraju et al., ICCV 2017: the gradient of a class's logit with respect to the last maps, averaged over
places, weighs those maps; what is negative in their sum is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medzoo.errors import UserError
from medzoo.inputs.canvas import fitted_size
from medzoo.nn.classifier import Classifier
from medzoo.types import Array

_MAKERS = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """The maps (C, h, w) that one layer made of a picture; `layer`: its name and kind."""

    layer: str
    maps: Array


def grad_cam(net: Classifier, image: Tensor, label: int) -> Array:
    """(H, W) in 0..1: what of `image` (1, C, H, W) speaks for class `label`, all zero where nothing does.

    Raises UserError for a network without maps (a transformer).
    """
    net.eval()
    with torch.enable_grad(), _recorded(net) as maps:
        logits = net.network(net.prepare(image).requires_grad_())
        if not maps:
            raise UserError(
                "this network has no feature maps, so Grad-CAM cannot be computed", hint="leave --explain out"
            )
        last = maps[-1][1]
        gradient = torch.autograd.grad(logits[0, label], last)[0]
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    heat = (weights * last.detach()).sum(dim=1, keepdim=True).clamp(min=0)
    heat = nn.functional.interpolate(heat, size=net.canvas, mode="bilinear", align_corners=False)
    size = (int(image.shape[2]), int(image.shape[3]))
    # Back from the canvas, of which the picture covers the top left.
    height, width = fitted_size(size, net.canvas)
    heat = nn.functional.interpolate(heat[:, :, :height, :width], size=size, mode="bilinear", align_corners=False)
    top = heat.max()
    result: Array = (heat / top if top > 0 else heat)[0, 0].cpu().numpy()
    return result


def feature_maps(net: Classifier, image: Tensor) -> list[FeatureMaps]:
    """The maps of every convolution and pooling, in the order in which `image` (1, C, H, W) meets them."""
    net.eval()
    with torch.inference_mode(), _recorded(net) as maps:
        net.network(net.prepare(image))
    return [FeatureMaps(name, value[0].float().cpu().numpy()) for name, value in maps]


@contextmanager
def _recorded(net: Classifier) -> Iterator[list[tuple[str, Tensor]]]:
    """Collects what every convolution and pooling gives while the context is open, if it has places at all."""
    found: list[tuple[str, Tensor]] = []
    hooks = []
    for name, module in net.named_modules():
        if isinstance(module, _MAKERS) or type(module).__name__ in ("Subsampling", "PartialConvolution"):

            def keep(module: nn.Module, _: object, value: Tensor, name: str = name) -> None:
                if value.shape[2] * value.shape[3] > 1:
                    # A copy, unless its gradient is wanted: the next layer may work in place.
                    kept = value if torch.is_grad_enabled() else value.clone()
                    found.append((f"{name} ({type(module).__name__})", kept))

            hooks.append(module.register_forward_hook(keep))
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
