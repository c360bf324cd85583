"""The base of every host step: a pydantic model whose fields are the step's options in a recipe.

A step is one class with a literal `op` and `apply`, in a file of that name in `medzoo/preprocess/host/` that ends with
`ENTRY = TheStep`; another package registers its own as an entry point under `medzoo.steps`.
Steps that only change values return the transform as it is. Steps that move pixels compose it with their own
(`GridTransform.compose`), and masks and boxes return to the source through it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from medzoo.errors import UserError
from medzoo.preprocess.extras import Extras
from medzoo.types import Array, GridTransform, Image


@dataclass(frozen=True, eq=False)
class StepState:
    """An image between two host steps.

    `transform`: from the image's grid to that of the source; `extras`: what steps pass on beside the image, by name
    (medzoo.preprocess.extras). A step leaves extras that it does not know as they are.
    """

    image: Image
    transform: GridTransform
    extras: Extras = field(default_factory=dict)


class HostStep(BaseModel):
    """One host step; `op` is its name in recipes and in the ONNX metadata.

    `measures`: it takes hints about a mass, and turns the image into a vector of named features (F,) or crops it.
    `outlines_only`: it takes outlines in place of an image. `scales`: it brings grey values to a scale of its own, so
    that the number of stored bits does not matter.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    measures: ClassVar[bool] = False
    outlines_only: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    op: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, of a step that measures."""
        return ()

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The image after the step, and the transform from its grid to the source's. Raises UserError."""
        raise TypeError(f"{type(self).__name__} does not define apply")

    def __call__(self, state: StepState) -> StepState:
        """Apply the step and keep the extras. A step that reads or adds extras overrides this in place of `apply`.

        Raises UserError.
        """
        image, transform = self.apply(state.image, state.transform)
        return replace(state, image=image, transform=transform)


def slicewise(image: Image, function: Callable[[Array], Array]) -> Array:
    """Apply `function` to each (H, W) plane of an image (C, H, W), or (C, I, J, K) cut along its last axis.

    Raises UserError, with the image's name where the function gave none.
    """
    planes = image.array if image.affine is None else np.moveaxis(image.array, -1, 1).reshape(-1, *image.shape[:2])
    try:
        done = np.stack([function(plane) for plane in planes])
    except UserError as error:
        raise error.located(image.source) from None
    if image.affine is None:
        return done
    back: Array = np.moveaxis(done.reshape(len(image.array), -1, *image.shape[:2]), 1, -1)
    return np.ascontiguousarray(back)
