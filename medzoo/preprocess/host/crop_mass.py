"""`crop-mass`: crop a picture to the square around a mass."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from medzoo.boxes import mask_to_box
from medzoo.errors import UserError
from medzoo.imaging.boundary import Method, Polarity, find_boundary
from medzoo.imaging.contour import single_component
from medzoo.preprocess.extras import MASS, Mass, MassHint, Provenance, mass_hint
from medzoo.preprocess.step import HostStep, StepState
from medzoo.types import Array, GridTransform, Image


class CropMass(HostStep):
    """Cut out the square around a mass, `context` times its longer side wider on every side; what lies beyond
    the picture is left out, never made up.

    The mass is that of the outline given with the image, else of the box, else of the outline that `boundary` finds.
    """

    measures: ClassVar[bool] = True
    op: Literal["crop-mass"] = "crop-mass"
    context: Annotated[float, Field(ge=0, le=4)] = 0.25
    boundary: Method = "region-growing"
    polarity: Polarity = "auto"

    def __call__(self, state: StepState) -> StepState:
        """The cropped image, with the mass as an extra (`MASS`).

        Raises UserError for a volume, a constant image, an empty outline, or one of another size.
        """
        image, transform = state.image, state.transform
        if len(image.shape) != 2:
            raise UserError("is a volume, but a mass is cropped from a picture", image.source)
        try:
            box, mask, provenance = self._find(image, transform, mass_hint(state.extras))
        except UserError as error:
            raise error.located(image.source) from None
        x0, y0, x1, y1 = box
        half = max(x1 - x0, y1 - y0) * (0.5 + self.context)
        window = []
        matrix = np.eye(3)
        for axis, (low, high) in enumerate(((y0, y1), (x0, x1))):
            middle, limit = (low + high) / 2, image.shape[axis]
            first = min(max(0, math.floor(middle - half)), limit - 1)
            window.append(slice(first, max(first + 1, min(limit, math.ceil(middle + half)))))
            matrix[axis, 2] = first
        array = np.ascontiguousarray(image.array[(slice(None), *window)])
        size = 2 * math.sqrt(mask.sum() / math.pi) if mask is not None else math.sqrt((x1 - x0) * (y1 - y0))
        outline = None if mask is None else transform.mask_to_source(mask.astype(np.uint8)) > 0
        cropped = image.replace(array=array)
        extras = {**state.extras, MASS: Mass({}, provenance, outline, size)}
        return StepState(cropped, transform.compose(matrix, shape=cropped.shape), extras)

    def _find(
        self, image: Image, transform: GridTransform, hint: MassHint
    ) -> tuple[tuple[float, ...], Array | None, Provenance]:
        """The box [x0, y0, x1, y1] around the mass, its outline if it has one, and where they come from."""
        if hint.box is not None:
            return tuple(map(float, transform.boxes_from_source(np.array([hint.box]))[0])), None, "box"
        if hint.mask is None:
            found = find_boundary(image.array[0], method=self.boundary, polarity=self.polarity)
            return _box(found.mask), found.mask, "found"
        if hint.mask.shape != transform.source_shape:
            have, need = (f"{shape[1]} x {shape[0]}" for shape in (hint.mask.shape, transform.source_shape))
            raise UserError(f"the mask is {have} but its image is {need}", hint="give the mask drawn on this image")
        mask, _ = single_component(transform.mask_from_source(hint.mask), shape=image.shape)
        return _box(mask), mask, "found" if hint.found else "given"


def _box(mask: Array) -> tuple[float, ...]:
    box = mask_to_box(mask)
    assert box is not None
    return tuple(map(float, box))


ENTRY = CropMass
