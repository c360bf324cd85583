"""A recipe in the making: fields with the reason of each, written as YAML with the reasons as comments."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medzoo.recipe.scalars import to_yaml

WIDTH = 110


@dataclass
class Draft:
    """Fields by dotted path in the order in which they are set, and their reasons."""

    fields: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)

    def set(self, path: str, value: Any, reason: str = "") -> None:
        """Set a field. A reason once given stays unless another is given."""
        self.fields[path] = value
        if reason:
            self.reasons[path] = reason

    def tree(self) -> dict[str, Any]:
        """The fields as nested mappings."""
        tree: dict[str, Any] = {}
        for path, value in self.fields.items():
            *outer, last = path.split(".")
            place = tree
            for name in outer:
                place = place.setdefault(name, {})
            place[last] = value
        return tree

    def text(self, head: Sequence[str] = ()) -> str:
        """The recipe as YAML; `head`: lines of comments before it."""
        lines = [f"# {line}" for part in head for line in textwrap.wrap(part, WIDTH)]
        return "\n".join([*lines, *self._lines(self.tree(), "", 0)]) + "\n"

    def _lines(self, tree: Mapping[str, Any], path: str, depth: int) -> Iterator[str]:
        indent = "  " * depth
        for key, value in tree.items():
            here = f"{path}.{key}" if path else str(key)
            reason = self.reasons.get(here)
            if reason:
                yield from textwrap.wrap(reason, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
            nested = isinstance(value, dict) and any(known.startswith(f"{here}.") for known in self.fields)
            if nested:
                yield f"{indent}{_flow(key)}:"
                yield from self._lines(value, here, depth + 1)
            elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
                yield f"{indent}{_flow(key)}:"
                for number, one in enumerate(value):
                    if why := self.reasons.get(f"{here}[{number}]"):
                        start = f"{indent}  # "
                        yield from textwrap.wrap(why, WIDTH, initial_indent=start, subsequent_indent=start)
                    yield f"{indent}  - {_flow(one)}"
            else:
                yield f"{indent}{_flow(key)}: {_flow(value)}"


def _flow(value: Any) -> str:
    """A value in one line, quoted as recipes want it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    # Within a flow collection text is quoted that would be bare in a block: a comma, a bracket.
    text = to_yaml({"x": [value]}).strip()
    bare = text.removeprefix("x: [").removesuffix("]") if text.startswith("x: [") else text.removeprefix("x:\n- ")
    return " ".join(line.strip() for line in bare.split("\n"))
