"""`lenet`: LeNet-5 of 1998, and the one that is usually meant by the name.

LeCun, Bottou, Bengio and Haffner, Proc. IEEE 86:2278 (1998), section II.B; algorithms.md section 8. Variant
`1998` has trained subsampling, the partial table of connections of C3 and fixed output codes: 60,000
trained parameters, whatever the classes. Variant `full` connects every map, pools by the mean and ends in
a trained linear layer: 61,706 at ten classes.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from medzoo.nn.classifier import Classifier, ClassifierParams
from medzoo.nn.ensemble import ensembled
from medzoo.nn.net import Entry, Spec

# Table I of the paper: which maps of S2 each map of C3 reads.
C3: tuple[tuple[int, ...], ...] = (
    *[tuple((i + k) % 6 for k in range(3)) for i in range(6)],
    *[tuple((i + k) % 6 for k in range(4)) for i in range(6)],
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip


class LeNetParams(ClassifierParams):
    """Parameters of `lenet`."""

    variant: Literal["1998", "full"] = Field("1998", description="the paper's own network, or its usual short form")
    size: tuple[int, int] = Field((32, 32), description="height and width that the network sees")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before F6 (not in the paper)")

    @model_validator(mode="after")
    def _fits(self) -> LeNetParams:
        if min(self.size) < 32:
            raise ValueError(f"size {self.size} is smaller than 32 x 32, so nothing is left after the last layer")
        return self


def _squash(x: Tensor) -> Tensor:
    """1.7159 tanh(2/3 x), appendix A of the paper."""
    return 1.7159 * torch.tanh(2 / 3 * x)


class Subsampling(nn.Module):
    """Mean of 2 x 2, times a trained coefficient, plus a trained bias, one of each for a map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.avg_pool2d(x, 2)
        return pooled * self.coefficient[:, None, None] + self.bias[:, None, None]


class PartialConvolution(nn.Module):
    """C3: 5 x 5 convolutions of which only the connections in the table exist (60 of 96)."""

    index: Tensor

    def __init__(self) -> None:
        super().__init__()
        count = sum(map(len, C3))
        self.weight = nn.Parameter(torch.empty(count, 5, 5))
        self.bias = nn.Parameter(torch.zeros(len(C3)))
        place = torch.full((len(C3), 6), count)  # the row of zeros below
        row = 0
        for to, sources in enumerate(C3):
            bound = math.sqrt(3.0 / (25 * len(sources)))
            for source in sources:
                nn.init.uniform_(self.weight[row], -bound, bound)
                place[to, source] = row
                row += 1
        self.register_buffer("index", place, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.cat([self.weight, torch.zeros_like(self.weight[:1])])
        return nn.functional.conv2d(x, rows[self.index], self.bias)


class Codes(nn.Module):
    """Output units: logits fall with the squared distance of F6 to a fixed code of +1 and -1 a class.

    The paper's codes are drawn characters, which say nothing about other classes; these are drawn at random.
    """

    codes: Tensor

    def __init__(self, inputs: int, classes: int, seed: int) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        codes = torch.randint(0, 2, (classes, inputs), generator=draw).float() * 2 - 1
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        # -|x - c|^2 / 10 without the |x|^2 that all classes share and softmax takes away.
        return (2 * x @ self.codes.T - (self.codes * self.codes).sum(dim=1)) / 10


class LeNet(Classifier):
    """C1, S2, C3, S4, C5, F6, output."""

    def __init__(self, params: LeNetParams, spec: Spec) -> None:
        super().__init__(params, spec)
        paper = params.variant == "1998"
        rest = [((n - 4) // 2 - 4) // 2 for n in params.size]
        self.c1 = nn.Conv2d(params.channels, 6, 5)
        self.s2: nn.Module = Subsampling(6) if paper else nn.AvgPool2d(2)
        self.c3: nn.Module = PartialConvolution() if paper else nn.Conv2d(6, 16, 5)
        self.s4: nn.Module = Subsampling(16) if paper else nn.AvgPool2d(2)
        self.c5 = nn.Linear(16 * rest[0] * rest[1], 120)
        self.dropout = nn.Dropout(params.dropout)
        self.f6 = nn.Linear(120, 84)
        classes = len(spec.labels)
        self.output: nn.Module = Codes(84, classes, spec.seed) if paper else nn.Linear(84, classes)
        for layer in (self.c1, self.c3, self.c5, self.f6):
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def network(self, x: Tensor) -> Tensor:
        """See Classifier.network."""
        x = _squash(self.s2(_squash(self.c1(x))))
        x = _squash(self.s4(_squash(self.c3(x))))
        x = _squash(self.c5(x.flatten(1)))
        logits: Tensor = self.output(_squash(self.f6(self.dropout(x))))
        return logits


ENTRY = Entry(task="classify", params=LeNetParams, learns="gradient", build=ensembled(LeNet), tiny={})
