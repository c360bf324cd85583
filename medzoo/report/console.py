"""A rich console for text from outside: control characters are shown, not obeyed."""

from __future__ import annotations

from typing import Any

import rich.console
from rich.text import Text

from medzoo.escape import printable


class Console(rich.console.Console):
    """A console that prints no control characters but those of its own styles and new lines.

    A new line in a name must be escaped by whoever puts the name into a text, see `medzoo.escape`.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich.console.Console."""
        return super().render_str(printable(text, keep="\n\t"), **options)
