"""Reading images of every format, writing masks, and atomic writes.

Importing this package is light, since the command line takes the limits from it: a reader, and numpy with it, is
imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOME = {
    "FORMATS": "medzoo.io.formats",
    "atomic_path": "medzoo.io.atomic",
    "atomic_write": "medzoo.io.atomic",
    "format_of": "medzoo.io.formats",
    "from_array": "medzoo.io.array",
    "luma": "medzoo.io.channels",
    "read_image": "medzoo.io.read",
    "read_labels": "medzoo.io.read",
    "stem": "medzoo.io.formats",
    "suffix": "medzoo.io.formats",
    "to_channels": "medzoo.io.channels",
    "write_mask": "medzoo.io.mask",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medzoo.io' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
