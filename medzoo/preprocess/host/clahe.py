"""`clahe`: contrast-limited adaptive histogram equalisation."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medzoo.imaging.histogram import clahe
from medzoo.preprocess.step import HostStep, slicewise
from medzoo.types import Array, GridTransform, Image


class Clahe(HostStep):
    """CLAHE (medzoo.imaging.clahe) of every channel; a volume is taken slice by slice of its last axis."""

    scales: ClassVar[bool] = True
    op: Literal["clahe"] = "clahe"
    tiles: Annotated[int, Field(ge=1, le=256)] = 8
    clip_limit: Annotated[float, Field(gt=0, le=1)] = 0.01

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The equalised image; nothing moves. Raises UserError for a constant picture."""
        whole = image.affine is None

        def equalised(plane: Array) -> Array:
            # A volume may well have empty slices; a picture without contrast is a mistake.
            if not whole and plane.min() == plane.max():
                return plane
            return clahe(plane, tiles=self.tiles, clip_limit=self.clip_limit)

        return image.replace(array=slicewise(image, equalised)), transform


ENTRY = Clahe
