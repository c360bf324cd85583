"""`luma`: convert a colour picture to one channel."""

from __future__ import annotations

from typing import Literal

from medzoo.io.channels import to_channels
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class Luma(HostStep):
    """ITU-R BT.601 luma, dtype kept; a grey image passes unchanged."""

    op: Literal["luma"] = "luma"

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The grey image; nothing moves. Raises UserError for a number of channels other than 1 or 3."""
        return to_channels(image, 1), transform


ENTRY = Luma
