"""The base of every image classifier: size and scale in the graph, test-time augmentation, temperature, probabilities.

Knows the room nn. A model type adds its network: (B, C, H, W) of one size -> logits (B, K).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medzoo.errors import UserError
from medzoo.inputs.canvas import fit_canvas
from medzoo.inputs.images import ImageInput
from medzoo.metrics import ClassifyScores
from medzoo.metrics.interval import point_estimate
from medzoo.nn.calibration import OperatingRule, calibrate
from medzoo.nn.losses import ClassLoss, make_loss
from medzoo.nn.net import Geometry, Net, Params, Spec
from medzoo.nn.steps import build_steps
from medzoo.types import Array

Answer = tuple[Array, int]
Flip = Literal["flip-x", "flip-y", "flip-xy"]
_AXES: dict[str, tuple[int, ...]] = {"flip-x": (3,), "flip-y": (2,), "flip-xy": (2, 3)}


class ClassifierParams(Params):
    """Parameters that every picture classifier has."""

    channels: int = Field(1, ge=1, description="1: grey (colour by its luma), 3: colour")
    size: tuple[int, int] = Field((224, 224), description="height and width that the network sees")
    oversample: Literal[1, 2, 3, 4] = Field(
        1, description="fit pictures at so many times the size, then average down: keeps fine texture from aliasing"
    )
    mean: float = Field(127.0, description="stored value, after the graph steps, that the network sees as 0")
    std: float = Field(128.0, gt=0, description="stored difference that the network sees as 1")
    tta: tuple[Flip, ...] = Field(
        (), description="test-time augmentation: flips whose logits are averaged with the picture's own"
    )
    members: int = Field(
        1, ge=1, le=20, description="networks, each trained without one of as many folds, whose logits are averaged"
    )
    operating: OperatingRule = Field(
        "specificity-90", description="rule that chooses the threshold of two classes on validation items"
    )
    coverage: float | None = Field(
        None, gt=0.5, lt=1, description="share of conformal sets that hold the truth; null: no sets"
    )


class Classifier(Net):
    """Pictures (B, C, H, W) of any size -> probabilities (B, K).

    A picture is fitted into the canvas with its aspect kept (top left, zeros beside it), averaged down by
    `oversample`, taken through the recipe's graph steps and scaled. `temperature` is a buffer that
    calibration sets: probabilities = softmax(logits / temperature).
    """

    outputs = ("probabilities",)
    metrics = ClassifyScores.known
    calibrated_on = "validation items"
    """The items that `calibrate` is given, in words for the card."""
    temperature: Tensor

    def __init__(self, params: ClassifierParams, spec: Spec) -> None:
        super().__init__()
        self.classes = len(spec.labels)
        self.canvas = (params.size[0] * params.oversample, params.size[1] * params.oversample)
        self.oversample, self.mean, self.std = params.oversample, params.mean, params.std
        self.tta, self.coverage, self.operating = params.tta, params.coverage, params.operating
        self.training_input = ImageInput(size=self.canvas)
        self.geometry = Geometry(dims=2, channels=params.channels, margin=None)
        self.steps = build_steps(spec.steps)
        self.register_buffer("temperature", torch.ones(()))
        self.criterion: nn.Module = ClassLoss()

    def network(self, x: Tensor) -> Tensor:
        """Logits (B, K) of (B, C, *size)."""
        raise TypeError(f"{type(self).__name__} does not define network")

    def prepare(self, image: Tensor) -> Tensor:
        """The network's input from stored values (B, C, H, W)."""
        x: Tensor = fit_canvas(image, *self.canvas)[0]
        if self.oversample > 1:
            x = nn.functional.avg_pool2d(x, self.oversample)
        seen: Tensor = (self.steps(x) - self.mean) / self.std
        return seen

    def logits(self, image: Tensor) -> Tensor:
        """Logits (B, K) that are answered with: the mean over the picture and its flips, before the temperature."""
        x = self.prepare(image)
        total = self.network(x)
        for flip in self.tta:
            total = total + self.network(x.flip(_AXES[flip]))
        return total / (1 + len(self.tta))

    def forward(self, image: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """`probabilities` (B, K)."""
        return {"probabilities": (self.logits(image) / self.temperature).softmax(dim=1)}

    def configure_loss(self, settings: Any, counts: Sequence[int]) -> None:
        """See Net.configure_loss; medzoo.nn.losses has the losses."""
        self.criterion = make_loss(settings, counts)

    def predictions(self, image: Tensor, target: Tensor) -> list[Answer]:
        """Logits (K,) before the temperature, and the class, of each item."""
        rows = self.logits(image).float().cpu().numpy()
        return [(row, int(true)) for row, true in zip(rows, target.cpu(), strict=True)]

    def metric(self, name: str, predictions: Sequence[Answer]) -> float:
        """See Net.metric. Raises UserError where the validation items, whatever is answered, leave it undefined."""
        scores = ClassifyScores([str(k) for k in range(self.classes)], [name])
        for number, (logits, true) in enumerate(predictions):
            scores.add(true, torch.from_numpy(logits).softmax(dim=0).numpy(), item=str(number))
        value = point_estimate(scores.measures()[0].statistic, len(predictions))
        if math.isnan(value):
            raise UserError(
                f"{name} is not defined on the {len(predictions)} validation items: a class is missing there",
                where="train.monitor",
                hint="use a larger data.split.val, or another metric",
            )
        return value

    def calibrate(self, predictions: Sequence[Answer]) -> None:
        """Calibrate: set the temperature, the operating point and what the metadata tells of them."""
        logits = torch.from_numpy(np.stack([logits for logits, _ in predictions]))
        target = torch.tensor([true for _, true in predictions])
        temperature, self.calibration, self.operating_point = calibrate(
            logits, target, coverage=self.coverage, rule=self.operating, calibrated_on=self.calibrated_on
        )
        self.temperature.fill_(temperature)

    def loss(self, image: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`cross_entropy` of class indices (B,) or shares (B, K), as the recipe's train section shapes it."""
        return {"cross_entropy": self.criterion(self.network(self.prepare(image)), target)}
