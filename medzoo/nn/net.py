"""The contract of a model type: an Entry that builds a Net, which says what it is trained on and what it predicts.

A model type is one file in medzoo/models/ with one public name, `ENTRY`. Training, export, prediction and
the contract tests know nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from medzoo.inputs.training_input import TrainingInput
from medzoo.runtime.metadata import Geometry

__all__ = ["Entry", "Geometry", "Net", "Params", "Spec"]


class Params(BaseModel):
    """Base of every model type's parameters; an unknown field is an error of the recipe.

    A field `weights` names what training starts from; a net whose own weights follow is built without it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


class Net(nn.Module):
    """A model with its preprocessing and postprocessing in one graph.

    `forward(image)` always means inference: float32 (B, C, H, W) or (B, C, D, H, W) of stored values after
    the host steps -> dict of named tensors, in the order in which they become ONNX outputs:
    classify `probabilities` (B, K); segment `labels` uint8 (B, *spatial), `probabilities` (B, K, *spatial);
    detect `boxes` (B, N, 4), `scores` (B, N), `labels` (B, N) int64, `count` (B,) int64, of a net with masks also
    `masks` (B, N, m, m), probabilities inside each box.
    Nets that are trained by gradient also have `loss(image, target) -> {name: scalar}` (the sum is minimised; the same
    graph steps run on `image` first), and where validation needs more than the loss `predictions`, `metric` and
    `calibrate`; nets in closed form have `partial_fit(batch, target)` and `fit()`. A graph of several inputs is given a
    tuple of them.
    """

    training_input: TrainingInput
    geometry: Geometry
    inputs: tuple[str, ...] = ("image",)
    outputs: tuple[str, ...] = ()
    operating_point: tuple[float, str] | None = None
    """A threshold on scores and the rule by which it was chosen on validation data."""
    fit_report: Mapping[str, Any] = MappingProxyType({})
    """Results of a closed-form fit, for the manifest and the card."""
    calibration: dict[str, Any] | None = None
    """Results of `calibrate`, for the ONNX metadata."""
    metrics: tuple[str, ...] = ()
    """Names that `metric` computes and a recipe's train.monitor may name, beside the loss."""
    chooses_components: bool = False
    """Rules on the connected components of its labels are chosen on the validation part after training."""
    phases: tuple[str, ...] = ()
    """Labels whose volumes in several phases of one scan give an ejection fraction (runtime.metadata)."""
    fit_after_gradient: bool = False
    """The net is trained by gradient first, then fitted in closed form with those weights, and calibrated."""

    frozen: Sequence[nn.Module] = ()
    """Modules that do not learn, beyond those that the model's own parameters name: they keep their statistics too."""

    def train(self, mode: bool = True) -> Self:
        """As in torch, but what is frozen stays as in inference."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, *args: Tensor) -> dict[str, Tensor]:
        """Inference; see the class."""
        raise TypeError(f"{type(self).__name__} does not define forward")

    def loss(self, image: Tensor, target: Any) -> dict[str, Tensor]:
        """Named scalar losses of one batch, for nets that learn by gradient."""
        raise TypeError(f"{type(self).__name__} does not learn by gradient")

    @property
    def parts(self) -> Sequence[Net]:
        """Members of an ensemble, each trained without its fold of the training items; of most nets none."""
        return ()

    def configure_loss(self, settings: Any, counts: Sequence[int]) -> None:
        """Set the loss up from a recipe's train section; `counts`: training items of each class."""

    def predictions(self, image: Any, target: Any) -> list[Any]:
        """Per item of a validation batch its truth and prediction, as `metric` and `calibrate` take them; of most nets
        nothing."""
        return []

    def metric(self, name: str, predictions: Sequence[Any]) -> float:
        """One of `metrics` over the `predictions` of all validation items."""
        raise TypeError(f"{type(self).__name__} has no metric but its loss")

    def calibrate(self, predictions: Sequence[Any]) -> None:
        """Set a temperature, an operating threshold or the like from the `predictions` of final weights on validation
        items."""

    def partial_fit(self, batch: Any, target: Any) -> None:
        """Collect one batch, for nets in closed form (as scikit-learn's partial_fit)."""
        raise TypeError(f"{type(self).__name__} is not a closed-form model")

    def fit(self, names: Sequence[str] = ()) -> None:
        """Fit the collected batches and store the solution in buffers, for nets in closed form; `names`: of the input's
        features, where it has any."""
        raise TypeError(f"{type(self).__name__} is not a closed-form model")

    def resize_buffers(self, state: Mapping[str, Tensor]) -> None:
        """Resize buffers whose shape only a fit decides to the shapes in `state`, before it is loaded."""


@dataclass(frozen=True)
class Spec:
    """The arguments of `build` beside the model's own parameters: task, labels, graph steps of the recipe, seed."""

    task: str
    labels: Sequence[str]
    steps: Sequence[Mapping[str, Any]] = ()
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """One model type. `learns`: by gradient, in closed form, or both, one after the other (`Net.fit_after_gradient`).
    `tiny`: parameters with which the contract tests build it in a second."""

    task: str
    params: type[Params]
    learns: Literal["gradient", "closed-form", "both"]
    build: Callable[[Any, Spec], Net]
    tiny: Mapping[str, Any] = field(default_factory=dict)
    tiny_variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further tiny parameters by name, for parts of the type that `tiny` leaves out."""
