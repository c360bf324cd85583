"""`features`: features of a mass from the image and its outline, for a classifier."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from medzoo.errors import UserError
from medzoo.imaging.boundary import Boundary, Method, Polarity, boundary_of_mask, find_boundary
from medzoo.imaging.candidates import candidate_boundaries
from medzoo.imaging.features import feature_names, features
from medzoo.preprocess.extras import MASS, Mass, MassHint, Provenance, mass_hint
from medzoo.preprocess.step import HostStep, StepState
from medzoo.types import Array, GridTransform

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
    given. `candidates`: where nothing was given, measure this many of the most mass-like blobs instead, best
    first, each a row of image.array (R, F), so that answers are averaged over outlines nobody can be sure of,
    each weighted by how mass-like it is.
    `groups`: groups of features, in this order. `side`: pictures are measured on a grid of this many pixels
    along their longer side, so that texture does not depend on how large a picture was stored; sizes stay in
    pixels of the source. `flag`: a last feature `outline_given`, 1 for a given outline and 0 for one that was
    found, for a model that treats the two apart.
    """

    measures: ClassVar[bool] = True
    op: Literal["features"] = "features"
    groups: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_groups)]
    boundary: Method = "region-growing"
    polarity: Polarity = "auto"
    candidates: Annotated[int, Field(ge=0, le=16)] = 0
    side: Annotated[int, Field(ge=32, le=4096)] | None = None
    flag: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.candidates and self.polarity == "auto":
            raise ValueError("candidates need a polarity, dark or bright")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the F features."""
        return feature_names(self.groups) + ((FLAG,) if self.flag else ())

    def __call__(self, state: StepState) -> StepState:
        """The features as the image's array, with the mass as an extra (`MASS`; of candidates the best).

        Raises UserError for a volume, a constant image, an empty outline or one of another size, and a feature that is
        not finite.
        """
        image = state.image
        if len(image.shape) != 2:
            raise UserError("is a volume, but these features are measured on a picture", image.source)
        try:
            grey, transform = self._resize(image.array[0], state.transform)
            outlines, weights, provenance = self._outlines(grey, mass_hint(state.extras), transform)
            scale = 1 / transform.inverse[0, 0]
            rows = [self._row(grey, outline.mask, scale, provenance) for outline in outlines]
            size = float(features(grey, outlines[0].mask, groups=("size",), spacing=(scale, scale))[2])
        except UserError as error:
            raise error.located(image.source) from None
        mask = transform.mask_to_source(outlines[0].mask.astype(np.uint8)) > 0
        named = dict(zip(self.names, map(float, rows[0]), strict=True))
        vector = np.stack(rows) if self.candidates else rows[0]
        mass = Mass(named, provenance, mask, size, outlines[0].notes, weights)
        return StepState(image.replace(array=vector, affine=None), transform, {**state.extras, MASS: mass})

    def _resize(self, grey: Array, transform: GridTransform) -> tuple[Array, GridTransform]:
        if self.side is None:
            return grey, transform
        from skimage.transform import resize

        scale = max(grey.shape) / self.side
        shape = (max(1, round(grey.shape[0] / scale)), max(1, round(grey.shape[1] / scale)))
        factors = [n / m for n, m in zip(grey.shape, shape, strict=True)]
        matrix = np.diag([*factors, 1.0])
        matrix[:2, 2] = [(f - 1) / 2 for f in factors]
        small = resize(grey.astype(np.float64), shape, order=1, anti_aliasing=scale > 1)
        return np.round(small), transform.compose(matrix, shape=shape)

    def _row(self, grey: Array, mask: Array, scale: float, provenance: str) -> Array:
        values = features(grey, mask, groups=self.groups, spacing=(scale, scale))
        return np.append(values, float(provenance == "given")) if self.flag else values

    def _outlines(
        self, grey: Array, hint: MassHint, transform: GridTransform
    ) -> tuple[list[Boundary], tuple[float, ...], Provenance]:
        if hint.mask is not None:
            if hint.mask.shape != transform.source_shape:
                have, need = (f"{shape[1]} x {shape[0]}" for shape in (hint.mask.shape, transform.source_shape))
                raise UserError(f"the mask is {have} but its image is {need}", hint="give the mask drawn on this image")
            boundary_of_mask(hint.mask)  # an empty or tiny mask is named as it was given
            given = boundary_of_mask(transform.mask_from_source(hint.mask.astype(np.uint8)), shape=grey.shape)
            return [given], (1.0,), "found" if hint.found else "given"
        options: dict[str, Any] = {"method": self.boundary, "polarity": self.polarity}
        if hint.box is not None:
            box = transform.boxes_from_source(np.array([hint.box]))[0]
            return [find_boundary(grey, box=(box[0], box[1], box[2], box[3]), **options)], (1.0,), "box"
        if self.candidates:
            many = candidate_boundaries(grey, count=self.candidates, dark=self.polarity == "dark")
            if many:
                return [one for one, _ in many], tuple(score for _, score in many), "found"
        found = find_boundary(grey, **options)
        return [found], (1.0,), found.outline


ENTRY = Features
