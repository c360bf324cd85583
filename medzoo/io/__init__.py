"""Between paths and Images: readers of every format, writers of masks, files that are whole or not there."""

from medzoo.io.array import from_array
from medzoo.io.atomic import atomic_path, atomic_write
from medzoo.io.channels import luma, to_channels
from medzoo.io.formats import FORMATS, format_of, stem, suffix
from medzoo.io.mask import write_mask
from medzoo.io.read import read_image, read_labels

__all__ = [
    "FORMATS",
    "atomic_path",
    "atomic_write",
    "format_of",
    "from_array",
    "luma",
    "read_image",
    "read_labels",
    "stem",
    "suffix",
    "to_channels",
    "write_mask",
]
