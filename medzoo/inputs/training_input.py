"""The contract of a kind of training input: how it is declared, loaded, probed and exemplified, all in one class.

A net says what it is trained on by `Net.training_input`, an instance of a subclass: patches, crops, whole images,
images with boxes, regions, feature vectors, or what another package defines. Training, export and the contract tests
ask it for everything else, so a new kind is one file beside this one (or in a package of its own).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from medzoo.data.opened import OpenData
from medzoo.inputs.batches import Batches
from medzoo.inputs.probes import image_probes
from medzoo.io.cache import code_digest
from medzoo.recipe import Recipe
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.parity.gate import Golden

VALIDATION_STEPS = 10
"""Batches of a validation that has no natural end."""


@dataclass(frozen=True)
class Loaders:
    """Batches for training and validation, and a function that reads golden inputs for the export's parity check,
    which the first step does not wait for.

    `solve_on`, `calibrate_on`: of a net that is trained by gradient and then solved in closed form, the batches for
    the second part.
    """

    train: Batches
    val: Batches | None
    golden: Callable[[], list[Golden]]
    solve_on: Batches | None = None
    calibrate_on: Batches | None = None


@dataclass(frozen=True)
class TrainingInput(ABC):
    """A kind of training input. Subclasses are frozen dataclasses of their options (a patch size, a canvas)."""

    host_example: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    """Host steps that turn an image into the graph's inputs, for contract tests; none where it takes images."""

    @abstractmethod
    def open(self, geometry: Geometry, recipe: Recipe, data: OpenData) -> Loaders:
        """Open a recipe's data for a net of `geometry`. Raises UserError for data that do not fit."""

    @abstractmethod
    def example(self, geometry: Geometry, *, labels: int, size: int = 8) -> tuple[Any, ...]:
        """A made-up batch (input, target) of `size` samples in which brightness gives the label away.

        Contract tests train every registered model on it, and expect the loss to fall.
        """

    def closed_form_examples(self, geometry: Geometry, *, labels: int) -> list[tuple[Any, ...]]:
        """Made-up batches for a net that is solved in closed form."""
        return [self.example(geometry, labels=labels)]

    def probes(self, net: Any, metadata: Metadata, golden: Sequence[Golden]) -> list[Golden]:
        """Seeded inputs whose predictions are stored in the model folder and repeated by `medzoo verify`.

        `golden`: inputs from the data, whose range of values the probes take.
        """
        values = [value for one in golden for value in one.inputs.values()]
        low = min((float(value.min()) for value in values), default=0.0)
        high = max((float(value.max()) for value in values), default=255.0)
        return image_probes(metadata.geometry, low=low, high=high)

    def value_range(self, data: OpenData, golden: Sequence[Golden]) -> tuple[float, float]:
        """The lowest (at most 0) and highest stored value among some of the training images, which tell 8-bit data
        from 16-bit ones and from floats of 0 to 1."""
        return range_of(value for one in golden for value in one.inputs.values())


def range_of(arrays: Iterable[Any]) -> tuple[float, float]:
    """The lowest value, at most 0, and the highest, at least 0, of all arrays."""
    low = high = 0.0
    for array in arrays:
        low, high = min(low, float(array.min(initial=0))), max(high, float(array.max(initial=0)))
    return low, high


def cache_key(recipe: Recipe) -> str:
    """Everything beside the files themselves that decides a dataset's samples, as a key for caches."""
    return repr((code_digest(), recipe.task, recipe.labels, recipe.data.type, recipe.data.params))


def golden_batches(pick: Callable[[int], np.ndarray[Any, Any]]) -> list[Golden]:
    """Batches of 1, 2, 3 and 5 images in four sizes that all of a batch have; `pick(n)` gives image n (C, H, W)."""
    found = []
    for batch, part in ((1, 1.0), (2, 0.8), (3, 0.61), (5, 0.43)):
        arrays = [pick(index) for index in range(batch)]
        height, width = (max(8, round(min(a.shape[axis] for a in arrays) * part)) for axis in (1, 2))
        images = np.stack([a[:, :height, :width] for a in arrays]).astype(np.float32)
        found.append(Golden(f"data {'x'.join(map(str, images.shape))}", {"image": images}))
    return found


def brightness_examples(classes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """(N, *shape) float32 random images whose brightness tells their class (N,)."""
    base = (classes.float() + 1) * 40
    return base.view(-1, *[1] * len(shape)) + torch.rand(len(classes), *shape)
