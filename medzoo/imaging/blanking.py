"""Blank burnt-in text of an image before it is shown to others."""

from __future__ import annotations

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.text_lines import without_text
from medzoo.types import Image


def blanked(image: Image) -> Image:
    """The image with lines of text in its picture, or in each slice along the third axis of a volume, filled with its
    lowest value; `meta` then says so as "blanked".

    Raises UserError for an image whose header says that text is burnt in (Burned In Annotation) where none is found:
    what cannot be found cannot be blanked.
    """
    if image.affine is None:
        array, count = without_text(image.array)
    else:
        array, count = image.array.copy(), 0
        for k in range(array.shape[-1]):
            array[..., k], lines = without_text(image.array[..., k])
            count += lines
    if not count and image.meta.get("burnt_in"):
        raise UserError(
            "its header says that text is burnt in (Burned In Annotation), and none was found to blank",
            image.source or "image",
            "--no-pictures leaves its picture out",
        )
    if not count:
        return image
    share = 100 * float((array != image.array).any(axis=0).mean())
    said = f"text was found burnt in and is blanked in its picture ({share:.1f} % of it); look before it leaves"
    return image.replace(array=np.ascontiguousarray(array), meta={**image.meta, "blanked": said})
