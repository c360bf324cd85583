"""The base of every host step: a pydantic model whose fields are the step's options in a recipe.

A step is one class with a literal `op` and `apply`, in a file of that name in `medzoo/preprocess/host/` that ends with
`ENTRY = TheStep`; a package of its own registers it as an entry point under `medzoo.steps`.
Steps that only change values pass the transform on; steps that move voxels multiply its matrix
(`GridTransform.compose`), which is all that masks and boxes need to find their way back.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from medzoo.types import GridTransform, Image


class HostStep(BaseModel):
    """One host step; `op` is its name in recipes and in the ONNX metadata.

    `measures`: it turns the image into a vector of named features (F,), with or without the outline of a mass
    (medzoo.preprocess.mass). `outlines_only`: it takes outlines in place of an image. `scales`: it brings grey values
    to a scale of its own, so that it does not matter in how many bits they were stored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    measures: ClassVar[bool] = False
    outlines_only: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    op: str

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the features, of a step that measures."""
        return ()

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The image after the step, and the transform that leads back to the source. Raises UserError."""
        raise TypeError(f"{type(self).__name__} does not define apply")
