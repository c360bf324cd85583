"""${NAME} and ${NAME:-default} in text. Knows nothing of recipes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from medzoo.recipe.faults import Faults
from medzoo.recipe.scalars import check_scalar
from medzoo.recipe.tree import Leaf, Node, Path, Series, Table

LONGEST = 10_000  # characters of a text after its variables are filled in
_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<body>[^{}]*)\}|\$\{")
_BODY = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)


def expand(node: Node, environ: Mapping[str, str], faults: Faults, path: Path = ()) -> Node:
    """The tree with the variables in its text values filled in from `environ`; a faulty text stays as it is.

    As in a shell, `:-default` also stands in for a variable that is set but empty. `$${` means `${`.
    """
    if isinstance(node, Leaf):
        if not isinstance(node.value, str) or "${" not in node.value:
            return node
        text, wrong = expand_text(node.value, environ)
        for message, hint in wrong:
            faults.add(node.place, path, message, hint)
        return node if wrong else Leaf(text, node.place)
    if isinstance(node, Series):
        items = [expand(item, environ, faults, (*path, i)) for i, item in enumerate(node.items)]
        return Series(items, node.place)
    values = {key: expand(value, environ, faults, (*path, key)) for key, value in node.values.items()}
    return Table(values, node.keys, node.place)


def expand_text(text: str, environ: Mapping[str, str]) -> tuple[str, list[tuple[str, str | None]]]:
    """`text` with its variables filled in, and (message, hint) of everything that is wrong with them."""
    pieces: list[str] = []
    wrong: list[tuple[str, str | None]] = []
    end = length = 0
    for match in _VARIABLE.finditer(text):
        pieces.append(text[end : match.start()])
        end = match.end()
        try:
            pieces.append("${" if match[0] == "$${" else _lookup(match["body"], environ))
        except KeyError as error:
            name = error.args[0]
            wrong.append((f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}"))
        except ValueError as error:
            wrong.append((str(error), None))
        length += len(pieces[-1])
        if length > LONGEST:
            return text, [
                *wrong,
                (f"is longer than {LONGEST:,} characters with its variables filled in", None),
            ]
    return "".join([*pieces, text[end:]]), wrong


def _lookup(body: str | None, environ: Mapping[str, str]) -> str:
    """Raises KeyError for a variable that is not set, ValueError for one that cannot be used."""
    match = _BODY.fullmatch(body or "")
    if match is None:
        raise ValueError("a variable is written ${NAME} or ${NAME:-default} ($${ for a plain ${)")
    value = environ.get(match["name"])
    if match["default"] is not None and not value:
        return match["default"][2:]
    if value is None:
        raise KeyError(match["name"])
    try:
        check_scalar(value)
    except ValueError as error:
        raise ValueError(f"the environment variable {match['name']} {error}") from None
    return value
