"""A support vector machine as plain tensors: scaler, selection, kernel and calibration in one small module."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from medzoo.types import Array

LIMIT = 6.0  # standard deviations beyond which a feature counts no further


class Machine(nn.Module):
    """Features (B, F) to the probability of the positive class (B,).

    Buffers: `mean`, `scale` (K,) of the K selected features and their `index` (K,); support `vectors` (S, K),
    scaled, with `weights` (S,), and `bias`; `gamma` of exp(-gamma |u - v|^2); `slope` and `offset` of the
    calibration 1 / (1 + exp(-(slope f + offset))) of the decision value f.
    """

    mean: Tensor
    scale: Tensor
    index: Tensor
    vectors: Tensor
    weights: Tensor
    bias: Tensor
    gamma: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, kernel: str) -> None:
        super().__init__()
        self.kernel = kernel
        for name, shape in (("mean", (0,)), ("scale", (0,)), ("vectors", (0, 0)), ("weights", (0,))):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("index", torch.zeros(0, dtype=torch.int64))
        for name in ("bias", "gamma", "slope", "offset"):
            self.register_buffer(name, torch.zeros(()))

    def store(self, arrays: Mapping[str, Array | float]) -> None:
        """Keep a solution (see `medzoo.nn.svm_solver.Solution.arrays`)."""
        for name, value in arrays.items():
            kind = torch.int64 if name == "index" else torch.float32
            setattr(self, name, torch.as_tensor(value, dtype=kind))

    def decision(self, features: Tensor) -> Tensor:
        """(B,) float64 signed distance-like value, positive on the positive side.

        In double precision: hundreds of weights of both signs nearly cancel, and a steep calibration would
        turn single precision's rounding into differences between runtimes.
        """
        chosen = features.index_select(1, self.index).double()
        x = ((chosen - self.mean.double()) / self.scale.double()).clamp(-LIMIT, LIMIT)
        vectors = self.vectors.double()
        if self.kernel == "linear":
            near = x @ vectors.T
        else:
            near = torch.exp(-self.gamma.double() * (x[:, None, :] - vectors[None]).square().sum(dim=2))
        return near @ self.weights.double() + self.bias.double()

    def forward(self, features: Tensor) -> Tensor:
        """(B,) probability of the positive class."""
        return torch.sigmoid(self.slope.double() * self.decision(features) + self.offset.double()).float()
