"""What a user did that cannot be answered, said in one printable line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from medzoo.escape import escaped


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
        head = f"{escaped(self.where)}: " if self.where else ""
        tail = f" ({_one_line(self.hint)})" if self.hint else ""
        return f"{head}{_one_line(self.message)}{tail}"


def _one_line(words: str) -> str:
    """Words, such as a library's over several lines, on one."""
    return escaped(" ".join(words.split()))


class UserError(Exception):
    """A mistake in what medzoo was given; the command line prints it in one line a fault and exits 2."""

    def __init__(
        self, message: str, where: str | None = None, hint: str | None = None, *, private: Sequence[str] = ()
    ) -> None:
        self.faults: tuple[Fault, ...] = (Fault(message, where, hint, tuple(private)),)
        super().__init__(str(self.faults[0]))

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> Self:
        """All `faults` as one error, in their order (for a recipe, whose errors come at once)."""
        error = cls(faults[0].message, faults[0].where, faults[0].hint)
        error.faults = tuple(faults)
        error.args = ("\n".join(str(f) for f in faults),)
        return error

    def located(self, where: str | None) -> Self:
        """The same error with `where` as the place of each fault that names none."""
        return type(self).of([replace(fault, where=fault.where or where) for fault in self.faults])


class OffGridError(UserError):
    """A label map or channel that does not lie on the grid of its image."""


class EmptyMaskError(UserError):
    """A mask in which nothing is marked where something must be."""


class UnexpectedError(UserError):
    """An input that medzoo could not answer for a reason it did not foresee; `__cause__` is the exception."""


def as_user_error(error: Exception, where: str | None = None) -> UserError:
    """Any exception that one input caused as the error that stands in the place of its answer.

    A UserError is returned as it is, another exception becomes the cause of a new one.
    """
    if isinstance(error, UserError):
        return error
    found: UserError
    if isinstance(error, MemoryError):
        found = UserError("needs more memory than there is", where, "give it a smaller image, or fewer at once")
    else:
        said = " ".join(str(error).split())
        hint = "this is a fault of medzoo: --debug shows where, please report it"
        found = UnexpectedError(f"could not be answered, {type(error).__name__}: {said}", where, hint)
    found.__cause__ = error
    return found


def missing_extra(package: str, extra: str) -> UserError:
    """The error for a feature whose optional `package` is not installed."""
    return UserError(
        f"the package {package!r} is not installed", hint=f"install it with: pip install 'medzoo[{extra}]'"
    )
