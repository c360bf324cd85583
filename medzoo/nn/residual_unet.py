"""A U-Net of volumes with residual blocks and instance normalisation. Knows torch alone.

Isensee et al., Nature Methods 18:203, 2021; with residual blocks in the encoder, Isensee et al., MICCAI 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from medzoo.nn.volume_layers import FlatConv3d, SummedInstanceNorm3d

_SMALLEST = 4
"""No axis is pooled to fewer voxels."""
_COARSER = 2.0
"""Ratio of an axis's spacing to the finest one from which on it waits: neither pooled nor convolved along."""


@dataclass(frozen=True)
class Plan:
    """`strides` and `kernels` (levels, 3) of a U-Net, the first stride all ones."""

    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    @property
    def multiple(self) -> tuple[int, ...]:
        """Voxels of the input along each axis that become one at the coarsest level."""
        total = [1, 1, 1]
        for stride in self.strides:
            total = [a * b for a, b in zip(total, stride, strict=True)]
        return tuple(total)


def plan_levels(patch: Sequence[int], spacing: Sequence[float], levels: int) -> Plan:
    """Strides and kernels that follow the spacing: the finest axes are pooled until the coarse ones are as coarse.

    An axis is convolved along from the level on at which its spacing is less than twice the finest one's, and stays so.
    Raises ValueError where a patch is too small for that many levels, or no multiple of its strides.
    """
    sizes, sides = list(patch), list(spacing)
    strides, kernels, wide = [(1,) * len(sizes)], [], [False] * len(sizes)
    for level in range(levels):
        if level:
            free = [axis for axis, size in enumerate(sizes) if size >= 2 * _SMALLEST]
            finest = min((sides[axis] for axis in free), default=0.0)
            stride = tuple(2 if axis in free and sides[axis] < _COARSER * finest else 1 for axis in range(len(sizes)))
            if max(stride) == 1:
                raise ValueError(f"a patch of {list(patch)} has {level} levels at most")
            if any(size % step for size, step in zip(sizes, stride, strict=True)):
                raise ValueError(f"a patch of {list(patch)} cannot be halved {level} times")
            sizes = [size // step for size, step in zip(sizes, stride, strict=True)]
            sides = [side * step for side, step in zip(sides, stride, strict=True)]
            strides.append(stride)
        wide = [known or side < _COARSER * min(sides) for known, side in zip(wide, sides, strict=True)]
        kernels.append(tuple(3 if is_wide else 1 for is_wide in wide))
    return Plan(tuple(strides), tuple(kernels))


class ResidualUNet(nn.Module):
    """(B, C, *spatial), multiples of the plan's -> logits (B, K, *spatial) of all levels but the coarsest.

    The finest comes first, and alone is computed in evaluation mode, or where `deep` is false.
    """

    def __init__(
        self, inputs: int, classes: int, *, channels: Sequence[int], plan: Plan, residual: bool, deep: bool
    ) -> None:
        super().__init__()
        self.deep = deep
        block = _Residual if residual else _Plain
        widths = [inputs, *channels]
        self.encoder = nn.ModuleList(
            block(before, width, kernel=kernel, stride=stride)
            for (before, width), kernel, stride in zip(pairwise(widths), plan.kernels, plan.strides, strict=True)
        )
        self.up = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.heads = nn.ModuleList()
        for level in range(len(channels) - 1):
            width, stride = channels[level], plan.strides[level + 1]
            self.up.append(nn.ConvTranspose3d(channels[level + 1], width, stride, stride))  # type: ignore[arg-type]
            self.decoder.append(_conv(2 * width, width, plan.kernels[level], (1, 1, 1), last=True))
            self.heads.append(nn.Conv3d(width, classes, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, a=0.01)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        features = []
        for stage in self.encoder:
            x = stage(x)
            features.append(x)
        found = []
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([self.up[level](x), features[level]], dim=1))
            if level == 0 or (self.deep and self.training):
                found.append(self.heads[level](x))
        return found[::-1]


def _conv(inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int], *, last: bool) -> nn.Sequential:
    """Convolution and instance normalisation, with an activation unless a sum comes before it."""
    padding = tuple(size // 2 for size in kernel)
    layers: list[nn.Module] = [
        FlatConv3d(inputs, outputs, tuple(kernel), tuple(stride), padding, bias=False),  # type: ignore[arg-type]
        SummedInstanceNorm3d(outputs, affine=True),
    ]
    return nn.Sequential(*layers, *([nn.LeakyReLU(0.01, inplace=True)] if last else []))


class _Plain(nn.Sequential):
    """Two convolutions, the first with the stride."""

    def __init__(self, inputs: int, outputs: int, *, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__(
            _conv(inputs, outputs, kernel, stride, last=True), _conv(outputs, outputs, kernel, (1, 1, 1), last=True)
        )


class _Residual(nn.Module):
    """Two convolutions beside a shortcut (He et al., CVPR 2016): mean pooling for strides, 1 x 1 x 1 for new widths."""

    def __init__(self, inputs: int, outputs: int, *, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.first = _conv(inputs, outputs, kernel, stride, last=True)
        self.second = _conv(outputs, outputs, kernel, (1, 1, 1), last=False)
        shortcut: list[nn.Module] = []
        if max(stride) > 1:
            shortcut.append(nn.AvgPool3d(tuple(stride), tuple(stride)))  # type: ignore[arg-type]
        if inputs != outputs:
            shortcut += [nn.Conv3d(inputs, outputs, 1, bias=False), SummedInstanceNorm3d(outputs, affine=True)]
        self.shortcut = nn.Sequential(*shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, *spatial) -> (B, outputs, *spatial / stride)."""
        return nn.functional.leaky_relu(self.second(self.first(x)) + self.shortcut(x), 0.01)
