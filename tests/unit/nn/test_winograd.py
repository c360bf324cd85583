from __future__ import annotations

import pytest
import torch
from torch import nn

from medzoo.nn.layers import LocalResponseNorm, lrn_by_roots
from medzoo.nn.winograd import is_wide, winograd


@pytest.mark.parametrize("size", [(5, 5), (8, 9), (23, 18), (12, 31)])
def test_winograd_is_the_convolution(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 300, 5)
    x = torch.relu(torch.randn(2, 6, *size))
    with torch.no_grad():
        direct, tiled = conv(x), winograd(x, conv.weight, conv.bias)
        exact = nn.functional.conv2d(x.double(), conv.weight.double(), conv.bias.double())
    assert tiled.shape == direct.shape
    assert (tiled - exact).abs().max() < 1e-4 * exact.std()
    assert (winograd(x.double(), conv.weight.double(), conv.bias.double()) - exact).abs().max() < 1e-5


def test_only_wide_plain_convolutions_are_rewritten() -> None:
    assert is_wide(nn.Conv2d(256, 768, 5))
    for other in (
        nn.Conv2d(16, 48, 5),
        nn.Conv2d(256, 768, 3),
        nn.Conv2d(256, 768, 5, padding=2),
        nn.Conv2d(256, 768, 5, groups=2),
        nn.ReLU(),
    ):
        assert not is_wide(other)


def test_the_norm_by_roots_is_the_norm() -> None:
    torch.manual_seed(0)
    x = 20 * torch.rand(2, 9, 4, 5)
    norm = LocalResponseNorm(5, alpha=1e-2, k=1.0)
    assert torch.allclose(norm(x), lrn_by_roots(x.movedim(1, -1), 5, 1e-2, 1.0).movedim(-1, 1), rtol=1e-5)
