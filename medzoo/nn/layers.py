"""Layers that nets share: 3 x 3 convolutions, initialisation, and local response normalisation.

Torch's exporter writes local response normalisation (Krizhevsky et al., NIPS 2012, section 3.3) as a dozen nodes; a
custom operator keeps it whole, so that runtimes use their own LRN kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


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


_CACHED = 3 << 16  # numbers in float32 that lie in the second cache, with what is made of them
_ON_A_GPU = 1 << 27  # numbers that a GPU is given at once: few calls, and bounded memory


@torch.library.custom_op("medzoo::lrn", mutates_args=())
def lrn(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """x / (k + alpha / size * sum of squares over `size` channels) ** beta, for (B, C, *spatial)."""
    return nn.functional.local_response_norm(x, size, alpha, beta, k)


@lrn.register_fake
def _(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    return torch.empty_like(x)


class LocalResponseNorm(nn.Module):
    """LRN; `alpha` is divided by `size` as torch and ONNX both do (5e-4 gives AlexNet's 1e-4 at size 5).

    `whole`: exported as one node; otherwise, where beta is 0.75, in operations that take a CPU half the time.
    """

    def __init__(
        self, size: int = 5, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0, whole: bool = True
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k, self.whole = size, alpha, beta, k, whole

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting() and not self.whole and self.beta == 0.75:
            return lrn_by_shifts(x, self.size, self.alpha, self.k)
        # The custom operator has no gradient and is there for the exporter alone.
        if torch.compiler.is_exporting():
            result: Tensor = lrn(x, self.size, self.alpha, self.beta, self.k)
            return result
        if x.dtype == torch.bfloat16 and self.beta == 0.75 and not torch.is_grad_enabled():
            return lrn_in_parts(x, self.size, self.alpha, self.k)
        return nn.functional.local_response_norm(x, self.size, self.alpha, self.beta, self.k)


def lrn_by_roots(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """LRN with beta 0.75 by square roots, for (..., C): ONNX Runtime's own takes a power for each value."""
    squares = (x * x).reshape(1, -1, x.shape[-1])
    mean = nn.functional.avg_pool1d(squares, size, stride=1, padding=size // 2)
    return _divided(x, k + alpha * mean.reshape(x.shape))


def lrn_by_shifts(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """LRN with beta 0.75 by square roots, for (B, C, H, W): the squares are added as `size` shifted copies."""
    # A power, not a product, which the half-precision export would compute in float16: that ends at 255 squared.
    squares = nn.functional.pad(x.pow(2), (0, 0, 0, 0, size // 2, size - 1 - size // 2))
    parts = [squares[:, shift : shift + x.shape[1]] for shift in range(size)]
    return _divided(x, k + alpha / size * sum(parts[1:], parts[0]))


def _divided(x: Tensor, total: Tensor) -> Tensor:
    root = torch.sqrt(total)
    return x / (root * torch.sqrt(root))


def lrn_in_parts(x: Tensor, size: int, alpha: float, k: float) -> Tensor:
    """LRN with beta 0.75 of (B, C, *spatial) bfloat16 whose channels lie side by side (channels_last), no gradient.

    Torch's own has no kernel for bfloat16 and passes over all values in float32 ten times. Here some pixels at a time
    are summed in float32 while they lie in the processor's cache.
    """
    channels, before = x.shape[1], size // 2
    pixels = x.movedim(1, -1).reshape(-1, channels)
    result = torch.empty_like(pixels)
    part = max(1, (_CACHED if x.device.type == "cpu" else _ON_A_GPU) // channels)
    for some, into in zip(torch.split(pixels, part), torch.split(result, part), strict=True):
        values = some.float()
        squares = nn.functional.pad(values * values, (before, size - 1 - before))
        total = squares[:, :channels].clone()
        for shift in range(1, size):
            total += squares[:, shift : shift + channels]
        root = total.mul_(alpha / size).add_(k).sqrt_()
        into.copy_(values.div_(root * root.sqrt()))
    return result.reshape(x.shape[0], *x.shape[2:], channels).movedim(-1, 1)


def translate_lrn(x: Any, size: int, alpha: float, beta: float, k: float) -> Any:
    """The operator in ONNX."""
    from onnxscript import opset18 as op

    return op.LRN(x, size=size, alpha=alpha, beta=beta, bias=k)
