"""`outline-features`: features of a body from its outlines alone, for a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, Field

from medzoo.errors import UserError
from medzoo.imaging.contour import single_component, trace
from medzoo.imaging.solid import SOLID_SIZE, Solid, size_of_solid, solid_features, solid_names
from medzoo.preprocess.extras import MASS, Mass, mass_hint
from medzoo.preprocess.step import HostStep, StepState
from medzoo.types import Array, Image

OUTLINES = "outlines_mm"  # key of Image.meta: {reader: [(z, (N, 2) x and y), ...]}, all in millimetres


def _groups(groups: tuple[str, ...]) -> tuple[str, ...]:
    try:
        solid_names(groups)
    except UserError as error:
        raise ValueError(str(error)) from None
    return groups


class OutlineFeatures(HostStep):
    """Features (medzoo.imaging.solid) of outlines in millimetres: image.array becomes (F,).

    Outlines come with the image (a contour file, a data set of contours), or are traced on a mask picture or
    on the slices of a mask volume. Of several readers' outlines the features are averaged.
    """

    measures: ClassVar[bool] = True
    outlines_only: ClassVar[bool] = True
    op: Literal["outline-features"] = "outline-features"
    groups: Annotated[tuple[str, ...], Field(min_length=1), AfterValidator(_groups)]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the F features."""
        return solid_names(self.groups)

    def __call__(self, state: StepState) -> StepState:
        """The features as the image's array, with the mass as an extra (`MASS`).

        Raises UserError for an image that is not a mask, an empty mask, contours of fewer than 8 points, and a feature
        that is not finite.
        """
        image, hint = state.image, mass_hint(state.extras)
        if hint.mask is not None or hint.box is not None:
            raise UserError(
                "this model takes outlines alone: the input itself is the outline", image.source, "leave out --mask"
            )
        notes: tuple[str, ...] = ()
        try:
            read: Sequence[Sequence[tuple[float, Array]]]
            if OUTLINES in image.meta:
                read = list(image.meta[OUTLINES].values())
            else:
                traced, notes = _traced(image)
                read = [traced]
            solids = [Solid.of(outlines) for outlines in read]
            values = np.mean([solid_features(solid, groups=self.groups) for solid in solids], axis=0)
        except UserError as error:
            raise error.located(image.source) from None
        size = float(np.mean([size_of_solid(solid)[SOLID_SIZE[1]] for solid in solids]))
        named = dict(zip(self.names, map(float, values), strict=True))
        mass = Mass(named, "given", image.array[0] != 0, size, notes)
        return StepState(image.replace(array=values, affine=None), state.transform, {**state.extras, MASS: mass})


def _traced(image: Image) -> tuple[list[tuple[float, Array]], tuple[str, ...]]:
    """(z, contour) of every slice of a mask volume, or of the picture, in millimetres (pixels without a scale)."""
    mask = image.array[0]
    if len(np.unique(mask)) > 2:
        raise UserError(
            "is not a mask: it has more than two values", hint="this model takes outlines: a mask or a contour file"
        )
    if not mask.any():
        raise UserError("the mask is empty", hint="mark the mass in it")
    if mask.ndim == 2:
        tidy, notes = single_component(mask)
        scale = image.meta.get("spacing", (1.0, 1.0))
        if "spacing" not in image.meta:
            notes = (*notes, "a picture has no scale: a pixel counts as 1 mm")
        return [(0.0, trace(tidy) * np.array([scale[1], scale[0]]))], notes
    from scipy.ndimage import label

    parts, count = label(mask, np.ones((3, 3, 3)))
    notes = ()
    if count > 1:
        mask = parts == 1 + int(np.bincount(parts.ravel())[1:].argmax())
        notes = (f"{count} masses in the mask: the largest is used",)
    # Slices are those of the axis with the coarsest steps, as scanners cut them.
    axis = 2 - int(np.argmax(np.round(image.spacing, 3)[::-1]))
    across = [image.spacing[a] for a in range(3) if a != axis]
    found, refused = [], None
    for index, plane in enumerate(np.moveaxis(np.asarray(mask) != 0, axis, 0)):
        if plane.any():
            try:
                contour = trace(single_component(plane)[0])
            except UserError as error:  # a slice of a pixel or two has no outline; the others have
                refused = error
                continue
            found.append((index * image.spacing[axis], contour * np.array([across[1], across[0]])))
    if refused is not None and not found:
        raise refused
    return found, notes


ENTRY = OutlineFeatures
