"""Scores of a detector that say how sure a box is, also at the border of the picture, where objects are cut.

Of what a border cuts a head sees features like any other's, and people label it by rules of their own: the same score
means another chance there. Kueppers et al., Multivariate confidence calibration for object detection, CVPR workshops
2020, section 3: a logistic curve through the score and where the box lies. Knows torch, numpy and scipy.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from medzoo.types import Array

# A side nearer to the border than this share of the box's own width or height begins to be close to it.
BORDER_REACH = 0.125
# A curve that falls where scores rise would turn the order round.
MIN_SLOPE = 0.05
_SURE = 1e-6


def border_closeness(boxes: Tensor, valid_size: Tensor) -> Tensor:
    """(...,) of boxes (..., 4) in a picture of `valid_size` (2,), width and height: for each of the four sides 1 where
    it lies on the border, falling to 0 at REACH of the box's own width or height from it; their sum."""
    side = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1.0) * BORDER_REACH
    gaps = torch.cat([boxes[..., :2] / side, (valid_size - boxes[..., 2:]) / side], dim=-1)
    return (1 - gaps.clamp(min=0)).clamp(min=0).sum(dim=-1)


class BorderCurve(nn.Module):
    """For each of K classes 1 / (1 + exp(-(slope logit(score) + border closeness + offset))).

    Before a class is fitted that is the score itself.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.slope: Tensor
        self.border: Tensor
        self.offset: Tensor
        self.register_buffer("slope", torch.ones(classes))
        self.register_buffer("border", torch.zeros(classes))
        self.register_buffer("offset", torch.zeros(classes))

    def forward(self, scores: Tensor, near: Tensor) -> Tensor:
        """(B, K, R) of scores (B, K, R) and the closeness (B, R) of their boxes."""
        logits = torch.logit(scores.clamp(_SURE, 1 - _SURE))
        slope, border, offset = (row[:, None] for row in (self.slope, self.border, self.offset))
        return torch.sigmoid(slope * logits + border * near[:, None] + offset)

    def fit(self, label: int, scores: Array, near: Array, hits: Array) -> bool:
        """Fit one class to scores (N,), closeness (N,) and hits (N,), 0 or 1, of held-out pictures; False, and as it
        was, where all of them hit or none does."""
        if not 0 < hits.sum() < len(hits):
            return False
        slope, border, offset = fit_curve(scores, near, hits)
        self.slope[label], self.border[label], self.offset[label] = max(slope, MIN_SLOPE), border, offset
        return True


def fit_curve(scores: Array, near: Array, hits: Array) -> tuple[float, float, float]:
    """Slope, border and offset of the curve with the least negative log likelihood of hits (N,) and half the squares
    of slope - 1 and border: a few boxes that are told apart without fault do not make it a step."""
    from scipy.optimize import minimize

    p = np.clip(scores.astype(np.float64), _SURE, 1 - _SURE)
    columns = np.stack([np.log(p / (1 - p)), near.astype(np.float64), np.ones(len(p))], axis=1)
    prior, weight = np.array([1.0, 0.0, 0.0]), np.array([1.0, 1.0, 0.0])

    def cost(curve: Array) -> tuple[float, Array]:
        z, away = columns @ curve, weight * (curve - prior)
        value = float((np.logaddexp(0, z) - hits * z).sum() + (away * away).sum() / 2)
        return value, columns.T @ (1 / (1 + np.exp(-z)) - hits) + away

    slope, border, offset = minimize(cost, prior, jac=True, method="BFGS").x.tolist()
    return slope, border, offset
