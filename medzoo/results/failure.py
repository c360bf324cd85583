"""An input without a prediction, and the reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medzoo.errors import UnfamiliarError, UserError
from medzoo.results.result import Result


@dataclass(frozen=True, eq=False)
class Failure:
    """Stands among results in the place of an input that could not be predicted.

    `error` gives the reason in one line; that of a `Result` is None. Any other attribute of a result (`mask`, `label`,
    `save`, ...) raises that error, so that a script which overlooks a failure stops there.
    """

    input: str
    error: UserError

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`."""
        document: dict[str, Any] = {"input": self.input, "error": str(self.error).replace("\n", "; ")}
        if isinstance(self.error, UnfamiliarError) and self.error.familiar is not None:
            document["familiar"] = self.error.familiar.to_dict()
        return document

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and any(
            name in dir(kind) or name in kind.__dataclass_fields__ for kind in _kinds()
        ):
            raise self.error
        raise AttributeError(f"a Failure has no attribute {name!r}")


def _kinds() -> Iterator[type[Result]]:
    """All types of results, those of other packages included."""
    waiting: list[type[Result]] = [*Result.__subclasses__()]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        yield kind
