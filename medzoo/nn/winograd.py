"""5 x 5 convolution with a sixth of the multiplications, in operations that every runtime has.

Winograd, Arithmetic Complexity of Computations (1980); Lavin and Gray, CVPR 2016: a tile of 4 x 4 outputs is
a product of 8 x 8 numbers, not of 25 x 16. The numbers are values of polynomials at seven points and at
infinity; these points keep the error in float32 at about thirty times that of the plain sum (Barabasz et al.,
ACM TOMS 46:37, 2020), a ten-thousandth of what the export gate allows for labels to change.

Moving numbers about costs as much as multiplying them, so channels lie last throughout, tiles are moved as whole
pixels, and what works on each pixel alone may work in the order of the tiles.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor, nn

from medzoo.types import Array

KERNEL, _OUT = 5, 4
_IN = _OUT + KERNEL - 1
_POINTS = (0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5)
# Below, moving tiles costs as much as the multiplications that they save.
WIDE = 256 * 256
_PART = 256  # channels of output that are held at once: bounds memory


def is_wide(conv: nn.Module) -> TypeGuard[nn.Conv2d]:
    """True if `winograd` supports a convolution, and is faster."""
    return (
        isinstance(conv, nn.Conv2d)
        and conv.kernel_size == (KERNEL, KERNEL)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding == (0, 0)
        and conv.groups == 1
        and conv.in_channels * conv.out_channels >= WIDE
    )


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(B, C, H, W) by weight (K, C, 5, 5) and bias (K,) -> (B, K, H - 4, W - 4), unpadded."""
    batch, _, height, width = x.shape
    return from_tiles(in_tiles(x, weight, bias), batch, height - KERNEL + 1, width - KERNEL + 1)


def in_tiles(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As `winograd`, but (16, tiles, K): the place in a tile of 4 x 4 pixels first, tiles row by row, channels last."""
    assert bias is not None
    batch, channels, height, width = x.shape
    rows, columns = _tiles(height - KERNEL + 1), _tiles(width - KERNEL + 1)
    back, kernel, forth = (torch.from_numpy(m).to(x) for m in _matrices())
    wide = (0, _OUT * (columns + 1) - width, 0, _OUT * (rows + 1) - height)
    blocks = nn.functional.pad(x, wide).permute(0, 2, 3, 1)
    blocks = blocks.reshape(batch, rows + 1, _OUT, columns + 1, _OUT, channels).permute(2, 4, 0, 1, 3, 5)
    # Tiles of 8 overlap by half: each is a block of 4 and the next.
    tiles = torch.cat([blocks[:, :, :, :-1], blocks[:, :, :, 1:]], 0)
    tiles = torch.cat([tiles[:, :, :, :, :-1], tiles[:, :, :, :, 1:]], 1)
    values = (forth @ tiles.reshape(_IN * _IN, -1)).reshape(_IN * _IN, -1, channels)
    parts = []
    for own, offset in zip(torch.split(weight, _PART), torch.split(bias, _PART), strict=True):
        factors = kernel @ own.permute(2, 3, 1, 0).reshape(KERNEL * KERNEL, -1)
        product = values @ factors.reshape(_IN * _IN, channels, -1)
        out = back @ product.reshape(_IN * _IN, -1)
        parts.append(out.reshape(_OUT * _OUT, -1, own.shape[0]) + offset)
    return torch.cat(parts, -1)


def from_tiles(x: Tensor, batch: int, height: int, width: int) -> Tensor:
    """(16, tiles, K) as `in_tiles` gives them -> (B, K, height, width)."""
    rows, columns = _tiles(height), _tiles(width)
    x = x.reshape(_OUT, _OUT, batch, rows, columns, -1).permute(2, 5, 3, 0, 4, 1)
    return x.reshape(batch, -1, _OUT * rows, _OUT * columns)[:, :, :height, :width]


def per_pixel(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 1 x 1 convolution of (..., C), channels last."""
    assert conv.bias is not None
    return x @ conv.weight.flatten(1).T + conv.bias


def _tiles(side: int) -> int:
    return (side + _OUT - 1) // _OUT


@lru_cache(maxsize=1)
def _matrices() -> tuple[Array, Array, Array]:
    """(16, 64), (64, 25) and (64, 64) float32: tiles of outputs = the first @ (second @ kernel * third @ tile)."""
    points = np.array(_POINTS)
    others = [np.delete(points, i) for i in range(len(points))]
    last = np.eye(_IN)[-1:]
    # Evaluation of the kernel's polynomial, divided by what Lagrange's interpolation divides by.
    products = [np.prod(point - rest) for point, rest in zip(points, others, strict=True)]
    kernel = np.vander(points, KERNEL, increasing=True) / np.array(products)[:, None]
    kernel = np.vstack([kernel, last[:, -KERNEL:]])
    back = np.hstack([np.vander(points, _OUT, increasing=True).T, last[:, -_OUT:].T])
    # Coefficients of the products of (x - point), lowest power first.
    rows = [np.append(np.poly(o)[::-1], 0) for o in others]
    forth = np.array([*rows, np.poly(points)[::-1]])
    twice = (np.kron(m, m).astype(np.float32) for m in (back, kernel, forth))
    return tuple(twice)  # type: ignore[return-value]
