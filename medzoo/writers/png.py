"""Format `png`: the picture of each result alone, which the caller draws for every format."""

from __future__ import annotations

from pathlib import Path

from medzoo.results import Result
from medzoo.writer import Writer


class PngWriter(Writer):
    """See Writer."""

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write; nothing is left to write."""
        return result


ENTRY = PngWriter
