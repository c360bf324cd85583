"""What a model type gives to the rest of medzoo: an Entry that builds a Net, and how the Net wants to be fed.

A model type is one file in medzoo/models/ with one public name, `ENTRY`. Training, export, prediction and
the contract tests know nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from medzoo.runtime.geometry import Geometry

__all__ = [
    "Crops",
    "Entry",
    "Feed",
    "Geometry",
    "Images",
    "Net",
    "Params",
    "Patches",
    "Regions",
    "Scenes",
    "Spec",
    "Task",
    "Vectors",
]

Task = Literal["classify", "segment", "detect"]


class Params(BaseModel):
    """Base of every model type's parameters; an unknown field is an error of the recipe.

    A field `weights` names what training starts from; a net whose own weights follow is built without it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Patches:
    """Feed for training on single pixels: (B, C, size, size) patches, class-balanced, and the centre's label."""

    size: int


@dataclass(frozen=True)
class Crops:
    """Feed of random crops (B, C, *size) with the label map (B, *size), centred on a drawn class."""

    size: tuple[int, ...]


@dataclass(frozen=True)
class Images:
    """Feed of whole pictures (B, C, *size), host-resized to `size`; the target is a class index (B,)."""

    size: tuple[int, int]


@dataclass(frozen=True)
class Scenes:
    """Feed of whole pictures for detection: images padded to one size, targets a list of {boxes, labels}.

    `false_positives`: the rate an image, on validation items, at which the operating threshold is chosen; None:
    it is chosen where F1 is best.
    """

    size: tuple[int, int]
    false_positives: float | None = 0.25


@dataclass(frozen=True)
class Vectors:
    """Feed of feature vectors (B, F) that host steps computed, a class index (B,), and a group code (B,).

    `outlines`: whether masses are measured with the outline that came with the data, with the one that the
    step finds, or with both in turn. `flagged`: the last feature must tell which (`outline_given`).
    """

    outlines: tuple[Literal["given", "found"], ...] = ("given",)
    flagged: bool = False


@dataclass(frozen=True)
class Regions:
    """Feed of regions that a host step proposes, for nets that learn by gradient and are then solved.

    By gradient: windows (N, C, h, w) of all training pictures and their classes (N,), of which `positive_share`
    overlap an object by at least `positive`; the last class is background. Solved and judged on whole pictures:
    ((regions (1, R, C, h, w), boxes (1, R, 4)), [{boxes (M, 4), labels (M,), windows (M, C, h, w)}]).
    `false_positives`: as in `Scenes`.
    """

    positive: float = 0.5
    positive_share: float = 0.25
    false_positives: float = 0.25


Feed = Patches | Crops | Images | Scenes | Vectors | Regions


class Net(nn.Module):
    """A model with its preprocessing and postprocessing in one graph.

    `forward(image)` always means inference: float32 (B, C, H, W) or (B, C, D, H, W) of stored values after
    the host steps -> dict of named tensors, in the order in which they become ONNX outputs:
    classify `probabilities` (B, K); segment `labels` uint8 (B, *spatial), `probabilities` (B, K, *spatial);
    detect `boxes` (B, N, 4), `scores` (B, N), `labels` (B, N) int64, `count` (B,) int64.
    Nets that learn by gradient also have `loss(image, target) -> {name: scalar}` (the sum is minimised; the
    same graph steps run on `image` first), and where more than the loss judges them `answers`, `figure` and
    `conclude`; closed-form ones have `observe(batch, target)` and `solve()`. A graph of several inputs is given
    a tuple of them.
    """

    feed: Feed
    geometry: Geometry
    inputs: tuple[str, ...] = ("image",)
    outputs: tuple[str, ...] = ()
    operating_point: tuple[float, str] | None = None
    """A threshold on scores and the rule by which it was chosen on validation data."""
    findings: Mapping[str, Any] = MappingProxyType({})
    """What a closed-form net found out, for the manifest and the card."""
    calibration: dict[str, Any] | None = None
    """What `conclude` found on validation items, for the metadata."""
    judged_by: tuple[str, ...] = ()
    """Figures that `figure` computes and a recipe's train.monitor may name, beside the loss."""
    solved_last: bool = False
    """Of a net that learns both ways: it learns by gradient first, is solved with those weights, and concludes."""

    def forward(self, *args: Tensor) -> dict[str, Tensor]:
        """Inference; see the class."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def loss(self, image: Tensor, target: Any) -> dict[str, Tensor]:
        """Named scalar losses of one batch, for nets that learn by gradient."""
        raise TypeError(f"{type(self).__name__} does not learn by gradient")

    @property
    def parts(self) -> Sequence[Net]:
        """Nets that are trained one by one, each without its fold of the training items; of most nets none."""
        return ()

    def shape_loss(self, settings: Any, counts: Sequence[int]) -> None:
        """Take from a recipe's train section what shapes the loss; `counts`: training items of each class."""

    def answers(self, image: Any, target: Any) -> list[Any]:
        """What `figure` and `conclude` need of each item of a validation batch; of most nets nothing."""
        return []

    def figure(self, name: str, answers: Sequence[Any]) -> float:
        """A figure of `judged_by` over the `answers` of all validation items."""
        raise TypeError(f"{type(self).__name__} is judged by its loss alone")

    def conclude(self, answers: Sequence[Any]) -> None:
        """Find what only final weights and validation items tell: a temperature, an operating threshold."""

    def observe(self, batch: Any, target: Any) -> None:
        """Take in one batch, for closed-form nets."""
        raise TypeError(f"{type(self).__name__} is not a closed-form model")

    def solve(self, names: Sequence[str] = ()) -> None:
        """Fit what was observed and store the solution in buffers, for closed-form nets; `names` of the inputs'
        features, where they have any."""
        raise TypeError(f"{type(self).__name__} is not a closed-form model")

    def adopt(self, state: Mapping[str, Tensor]) -> None:
        """Give buffers whose shape only a solution decides the shapes that they have in `state`."""


@dataclass(frozen=True)
class Spec:
    """What `build` needs beside the model's own parameters: task, labels, graph steps of the recipe, seed."""

    task: Task
    labels: Sequence[str]
    steps: Sequence[Mapping[str, Any]] = ()
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """One model type. `learns`: by gradient, in closed form, or both, one after the other (`Net.solved_last`).
    `tiny`: parameters with which the contract tests build it in a second."""

    task: Task
    params: type[Params]
    learns: Literal["gradient", "closed-form", "both"]
    build: Callable[[Any, Spec], Net]
    tiny: Mapping[str, Any] = field(default_factory=dict)
