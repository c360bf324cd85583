"""What a user did that cannot be answered, said in one line. Knows nothing of the rest of medzoo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where it is (file, line, field, image), what it is, and the way out.

    `private`: pieces of `message` that stand in the input itself and may say whose it is (descriptions, names).
    """

    message: str
    where: str | None = None
    hint: str | None = None
    private: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{self.where}: " if self.where else ""
        tail = f" ({self.hint})" if self.hint else ""
        return " ".join(f"{head}{self.message}{tail}".split())


class UserError(Exception):
    """A mistake in what medzoo was given; the command line prints it in one line a fault and exits 2."""

    def __init__(
        self, message: str, where: str | None = None, hint: str | None = None, *, private: Sequence[str] = ()
    ) -> None:
        self.faults: tuple[Fault, ...] = (Fault(message, where, hint, tuple(private)),)
        super().__init__(str(self.faults[0]))

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> UserError:
        """All `faults` as one error, in their order (for a recipe, whose errors come at once)."""
        error = cls(faults[0].message, faults[0].where, faults[0].hint)
        error.faults = tuple(faults)
        error.args = ("\n".join(str(f) for f in faults),)
        return error


class OffGridError(UserError):
    """A label map or channel that does not lie on the grid of its image."""


class EmptyMaskError(UserError):
    """A mask in which nothing is marked where something must be."""


def missing_extra(package: str, extra: str) -> UserError:
    """The error for a feature whose optional `package` is not installed."""
    return UserError(
        f"the package {package!r} is not installed", hint=f"install it with: pip install 'medzoo[{extra}]'"
    )
