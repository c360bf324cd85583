"""Errors that a user can mend, each in one printable line with its cause, its place and the way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from medzoo.escape import escaped


@dataclass(frozen=True)
class Fault:
    """One cause of an error: the message, its place (file, line, field, image) and the way out.

    `private`: parts of `message` quoted from the input that may identify a patient (descriptions, names).
    """

    message: str
    where: str | None = None
    hint: str | None = None
    private: tuple[str, ...] = ()

    def __str__(self) -> str:
        head = f"{escaped(self.where)}: " if self.where else ""
        tail = f" ({_one_line(self.hint)})" if self.hint else ""
        return f"{head}{_one_line(self.message)}{tail}"


def _one_line(words: str) -> str:
    """Join lines, such as those of a message from a library."""
    return escaped(" ".join(words.split()))


class UserError(Exception):
    """An error in the input, recipe or options; the command line prints one line for each cause and exits 2."""

    def __init__(
        self, message: str, where: str | None = None, hint: str | None = None, *, private: Sequence[str] = ()
    ) -> None:
        self.faults: tuple[Fault, ...] = (Fault(message, where, hint, tuple(private)),)
        super().__init__(str(self.faults[0]))

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> Self:
        """One error with several causes, such as all mistakes of a recipe."""
        error = cls(faults[0].message, faults[0].where, faults[0].hint)
        error.faults = tuple(faults)
        error.args = ("\n".join(str(f) for f in faults),)
        return error

    def located(self, where: str | None) -> Self:
        """The same error with `where` as the place of each fault that names none."""
        return type(self).of([replace(fault, where=fault.where or where) for fault in self.faults])


class OffGridError(UserError):
    """A label map or channel on another grid than its image."""


class EmptyMaskError(UserError):
    """An empty mask where an object is required."""


class UnfamiliarError(UserError):
    """An input of another kind than the model was trained on; `familiar`: the guard's verdict (medzoo.guard)."""

    familiar: Any = None


class UnexpectedError(UserError):
    """An unexpected exception while one input was processed; `__cause__` is that exception."""


def as_user_error(error: Exception, where: str | None = None) -> UserError:
    """Convert an exception that one input caused to the UserError reported in its place.

    A UserError is returned unchanged; any other exception becomes the cause of a new one.
    """
    if isinstance(error, UserError):
        return error
    found: UserError
    if isinstance(error, MemoryError):
        found = UserError("not enough memory", where, "use a smaller image, or fewer at once")
    else:
        message = " ".join(str(error).split())
        hint = "this is a bug in medzoo: --debug shows the traceback, please report it"
        found = UnexpectedError(f"unexpected {type(error).__name__}: {message}", where, hint)
    found.__cause__ = error
    return found


def missing_extra(package: str, extra: str) -> UserError:
    """The error for a feature whose optional `package` is not installed."""
    return UserError(
        f"the package {package!r} is not installed", hint=f"install it with: pip install 'medzoo[{extra}]'"
    )
