"""The contract of a task: everything that differs between classifying, segmenting and detecting, in one object.

A task is one module in medzoo/tasks/ with `ENTRY = TheTask()`, found by the registry; a package of its own registers
one as an entry point under `medzoo.tasks`. The rest of medzoo asks `task_of(name)` and knows no task by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from medzoo import registry
from medzoo.types import Array


class Task(ABC):
    """One task. Types of higher rooms (Predictor, Accumulator, ...) are `Any` here; see medzoo/tasks/ for examples."""

    name: ClassVar[str]
    least_labels: ClassVar[int] = 1
    """Labels that a recipe must name, at least."""
    gives_mask: ClassVar[bool] = False
    """Its result is a label for every pixel; the first label of a recipe is then the background."""
    gives_boxes: ClassVar[bool] = False
    """Its result is boxes with scores, also in the graph's outputs."""
    composes: ClassVar[bool] = False
    """A recipe of this task can be a pipeline of members."""
    primary_metric: ClassVar[str]
    """The metric by which precisions and backends are compared."""
    headline: ClassVar[tuple[str, ...]] = ()
    """Metrics that a report leads with; none: those that the recipe names first."""
    validation_items: ClassVar[int] = 100
    """Items that the primary metric is computed on, at most."""
    benchmark_items: ClassVar[int] = 60
    """Items that `medzoo benchmark` computes it on, at most."""
    allowed_loss: ClassVar[Mapping[str, float]] = {"fp16": 0.005, "bf16": 0.005, "int8": 0.02}
    """Loss of the primary metric that an export may have by precision."""

    @property
    @abstractmethod
    def metrics(self) -> tuple[str, ...]:
        """Names that a recipe's `metrics` may hold."""

    # ---- prediction

    @abstractmethod
    def decode(self, predictor: Any, prepared: Any, start: float) -> Any:
        """Run the predictor's graph on a prepared input and return the result on the source's own grid.

        `start`: time.perf_counter() when the prediction began.
        """

    @abstractmethod
    def only_pictures(self, metadata: Any, *, has_steps: bool) -> bool:
        """True if an image that is still a volume after the host steps cannot be predicted by a 2D graph."""

    def arrays_are_pictures(self, metadata: Any) -> bool:
        """True if an array of three axes given to a 2D graph can only be a picture."""
        return bool(metadata.geometry.dims == 2 and metadata.geometry.slices == 1)

    def has_threshold(self, metadata: Any) -> bool:
        """True if an operating threshold changes predictions."""
        return False

    # ---- evaluation

    @abstractmethod
    def accumulator(self, labels: Sequence[str], names: Sequence[str] | None, **options: Any) -> Any:
        """An empty accumulator of the metrics `names` (None: all). Options are those of its class; `threshold`, the
        operating threshold, and `conformal`, (threshold, coverage) of a classifier's sets, are dropped where they mean
        nothing."""

    @abstractmethod
    def prediction(self, result: Any, labels: Sequence[str]) -> Any:
        """A result as the accumulator's `add` takes it."""

    def for_scoring(self, predictor: Any) -> Any:
        """The predictor whose results are scored; a detector's at threshold 0."""
        return predictor

    def steady_inputs(self, reference: Any, goldens: Sequence[Any]) -> tuple[list[Any], int]:
        """Golden inputs on which the reference's outputs do not depend on rounding, and how many images were moved."""
        return list(goldens), 0

    def cheap_outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array] | None:
        """Outputs of the right shape for a run of which only the inputs are wanted; None: run the graph."""
        return None

    # ---- report

    @abstractmethod
    def draw_case(self, result: Any, sample: Any) -> Any:
        """The result beside (or over) the truth, as a Pillow image."""

    def case_masks(self, result: Any, sample: Any) -> tuple[Array, Array] | None:
        """Prediction and truth of a volume as masks (*spatial) uint8 for the viewer; None where there are none."""
        return None

    def mask_names(self, labels: Sequence[str]) -> Sequence[str]:
        """Names of the values of `case_masks`, from 1 on."""
        return ("box",)

    def curves(self, scores: Any, protocol: str) -> list[str]:
        """HTML of the plots of an evaluation under one protocol."""
        return []

    def calibration_words(self, calibration: Mapping[str, Any] | None) -> str | None:
        """One sentence on how scores were calibrated; None for the general one."""
        return None


def task_of(name: str) -> Task:
    """The task of a name. Raises UserError for one that is not registered."""
    task: Task = registry.entry("task", name)
    return task


def task_names() -> tuple[str, ...]:
    """Names of all registered tasks."""
    return tuple(registry.names("task"))
