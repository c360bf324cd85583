"""Size limits of one input, checked against its header before anything is allocated.

Every reader asks `limits()`. The command line and Python read under `DEFAULT`; a server puts its own, smaller limits
around the reading of each request: `with limited(SERVER): read_image(path)`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on the size of one input.

    `pixels`: rows times columns of a picture. `voxels`: values of a volume or of a label map, channels and frames
    counted. `decoded_bytes`: bytes of the decoded array, as stored. `archive_entries`: files in a zip archive, and
    files of a series. `archive_bytes`: bytes that an archive, or a deflated DICOM file, may unpack to. `pages`: pages
    of a TIFF that are counted before it is refused. `detached_data`: whether a header may name a data file beside it
    (.mhd, .nhdr); a server that was sent one file has no other to give.
    """

    pixels: int = 1 << 27
    voxels: int = 1 << 31
    decoded_bytes: int = 1 << 34
    archive_entries: int = 100_000
    archive_bytes: int = 4 << 30
    pages: int = 10_000
    detached_data: bool = True


DEFAULT = Limits()
# 8192 x 4096 pixels, 512 x 512 x 128 voxels. Reading one stays below 0.6 GB above idle; what preparing it takes beside
# that depends on the model, and is bounded by the memory that the server gives its decoders.
SERVER = Limits(
    pixels=1 << 25,
    voxels=1 << 25,
    decoded_bytes=1 << 28,
    archive_entries=4096,
    archive_bytes=1 << 28,
    pages=100,
    detached_data=False,
)

_current: ContextVar[Limits] = ContextVar("medzoo_limits", default=DEFAULT)


def limits() -> Limits:
    """The limits of this thread or task; a new thread starts with `DEFAULT`."""
    return _current.get()


@contextmanager
def limited(to: Limits) -> Iterator[Limits]:
    """Set other limits inside the block, for this thread or task alone."""
    token = _current.set(to)
    try:
        yield to
    finally:
        _current.reset(token)
