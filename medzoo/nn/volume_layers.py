"""Layers of volumes, exported in operations that ONNX Runtime computes faster or more exactly than its own for volumes.

Anywhere else they are torch's, so weights and training are, too. All sizes stay free in the graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_NARROWEST = 8
"""Input channels from which on the blocks pay."""


class FlatConv3d(nn.Conv3d):
    """nn.Conv3d that is exported as a convolution of planes, if it is one of 3 x 3 x 3 or 3 x 3 x 1 with stride 1.

    ONNX Runtime's convolution of planes works in blocks of channels, that of volumes unfolds its input and multiplies
    matrices. A volume (I, J, K) lies in memory as a plane of I * J rows, so a plane's kernel sees neighbours along J
    and K; what a row of zeros behind each slice keeps apart. Neighbours along I come from three sets of outputs,
    shifted by a slice each and added up.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, I, J, K) -> (B, outputs, I, J, K)."""
        if torch.compiler.is_exporting() and self.is_flat:
            return self.as_planes(input)
        return super().forward(input)

    @property
    def is_flat(self) -> bool:
        """True if `as_planes` supports the convolution, and is faster."""
        return (
            self.kernel_size in ((3, 3, 3), (3, 3, 1))
            and self.stride == self.dilation == (1, 1, 1)
            and self.padding == tuple(side // 2 for side in self.kernel_size)
            and self.groups == 1
            and self.bias is None
            and self.in_channels >= _NARROWEST
        )

    def as_planes(self, x: Tensor) -> Tensor:
        """The same sums as `forward`, in another order."""
        batch, channels, depth, height, width = x.shape
        sets = 3 * self.out_channels
        if self.kernel_size[2] == 1:
            # Rows along I, columns J * K: neighbours along J lie a row of K away, and are the sets of outputs.
            weight = self.weight.permute(3, 0, 1, 2, 4).reshape(sets, channels, 3, 1)
            planes = nn.functional.conv2d(x.reshape(batch, channels, depth, height * width), weight, padding=(1, 0))
            return _shifted_sum(planes.reshape(batch, sets, depth, height, width), axis=3)
        weight = self.weight.permute(2, 0, 1, 3, 4).reshape(sets, channels, 3, 3)
        apart = nn.functional.pad(x, (0, 0, 0, 1)).reshape(batch, channels, depth * (height + 1), width)
        planes = nn.functional.conv2d(apart, weight, padding=(1, 1))
        return _shifted_sum(planes.reshape(batch, sets, depth, height + 1, width), axis=2)[:, :, :, :-1]


def _shifted_sum(x: Tensor, *, axis: int) -> Tensor:
    """(B, 3 * C, I, J, K) -> (B, C, I, J, K): the sums for what lies before, at and after each place, added up."""
    before, here, after = x.chunk(3, dim=1)
    others = (0, 0) * (4 - axis)
    return nn.functional.pad(before, (*others, 1, -1)) + here + nn.functional.pad(after, (*others, -1, 1))


class SummedInstanceNorm3d(nn.InstanceNorm3d):
    """nn.InstanceNorm3d that is exported as sums over rows, then over the rows' means.

    ONNX Runtime's own adds up all voxels of a channel one after the other in float32: a tenth of the digits is lost
    by that, which a deep network makes a difference of its probabilities.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, I, J, K) -> the same, each channel of mean 0 and variance 1, then scaled and shifted."""
        return self.by_sums(input) if torch.compiler.is_exporting() else super().forward(input)

    def by_sums(self, x: Tensor) -> Tensor:
        """The same as `forward`, of long sums in two steps."""
        batch, channels, depth, height, width = x.shape
        rows = x.reshape(batch, channels, depth, height * width)
        mean = rows.mean(3, keepdim=True).mean(2, keepdim=True)
        square = (rows * rows).mean(3, keepdim=True).mean(2, keepdim=True)
        assert self.weight is not None
        assert self.bias is not None
        scale = self.weight.view(-1, 1, 1) * torch.rsqrt((square - mean * mean).clamp(min=0) + self.eps)
        shift = self.bias.view(-1, 1, 1) - mean * scale
        return x * scale[..., None] + shift[..., None]
