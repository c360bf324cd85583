"""`features`: an image and the outline of a mass in it, to one row of numbers for a classifier."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from medzoo.errors import UserError
from medzoo.imaging.boundary import Boundary, Method, Polarity, boundary_of_mask, find_boundary
from medzoo.imaging.features import feature_names, features
from medzoo.preprocess.mass import Hint, Measured, hint_of, with_measured
from medzoo.preprocess.step import HostStep
from medzoo.types import Array, Frame, Image

FLAG = "outline_given"


def _groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    try:
        feature_names(groups)
    except UserError as error:
        raise ValueError(str(error)) from None
    return groups


class Features(HostStep):
    """Hand-made features (medzoo.imaging.features) of the mass in a grey picture: image.array becomes (F,).

    The outline is the one given with the image; else `boundary` looks for it, inside the box if one was
    given. `groups`: groups of features, in this order. `flag`: a last feature `outline_given`, 1 for a given
    outline and 0 for one that was found, for a model that treats the two apart.
    """

    measures: ClassVar[bool] = True
    op: Literal["features"] = "features"
    groups: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_groups)]
    boundary: Method = "region-growing"
    polarity: Polarity = "auto"
    flag: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the F features."""
        return feature_names(self.groups) + ((FLAG,) if self.flag else ())

    def apply(self, image: Image, frame: Frame) -> tuple[Image, Frame]:
        """The vector of features; `measured_of(image)` tells the rest. Raises UserError for a volume, a constant
        image, an empty outline or one of another size, and a feature that is not finite."""
        if len(image.shape) != 2:
            raise UserError("is a volume, the features are those of a picture", image.source)
        grey = image.array[0]
        hint = hint_of(image)
        try:
            found, provenance = self._outline(grey, hint, frame)
            values = features(grey, found.mask, groups=self.groups)
            size = float(features(grey, found.mask, groups=("size",))[2])
        except UserError as error:
            fault = error.faults[0]
            raise UserError(fault.message, fault.where or image.source, fault.hint) from None
        if self.flag:
            values = np.append(values, float(provenance == "given"))
        mask = frame.mask_to_source(found.mask.astype(np.uint8)) > 0
        named = dict(zip(self.names, map(float, values), strict=True))
        return with_measured(image, values, Measured(named, provenance, mask, size, found.notes)), frame

    def _outline(self, grey: Array, hint: Hint, frame: Frame) -> tuple[Boundary, Any]:
        if hint.mask is not None:
            if hint.mask.shape != frame.source_shape:
                have, need = (f"{shape[1]} x {shape[0]}" for shape in (hint.mask.shape, frame.source_shape))
                raise UserError(f"the mask is {have} but its image is {need}", hint="give the mask drawn on this image")
            return boundary_of_mask(frame.mask_from_source(hint.mask), shape=grey.shape), "given"
        options: dict[str, Any] = {"method": self.boundary, "polarity": self.polarity}
        if hint.box is None:
            found = find_boundary(grey, **options)
            return found, found.outline
        box = frame.boxes_from_source(np.array([hint.box]))[0]
        return find_boundary(grey, box=(box[0], box[1], box[2], box[3]), **options), "box"
