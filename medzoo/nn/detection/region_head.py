"""The head of a region CNN: class and box of pooled features."""

from __future__ import annotations

from torch import Tensor, nn

from medzoo.nn.layers import init_normal

POOL = 7
"""Side of the features that RoIAlign pools of a region."""


class RegionHead(nn.Module):
    """Two layers over a region's features, then its class (the last is background) and one box."""

    def __init__(self, channels: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Linear(channels * POOL * POOL, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.classes = nn.Linear(hidden, classes + 1)
        self.boxes = nn.Linear(hidden, 4)
        init_normal(self.classes, std=0.01)
        init_normal(self.boxes, std=0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (R, classes + 1) and deltas (R, 4) of pooled features (R, channels, POOL, POOL)."""
        hidden = self.dropout(nn.functional.relu(self.first(pooled.flatten(1))))
        hidden = self.dropout(nn.functional.relu(self.second(hidden)))
        return self.classes(hidden), self.boxes(hidden)
