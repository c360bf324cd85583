"""The contract of an output format: how results are written to files, one result at a time and at the end.

A format is one module in medzoo/writers/ with `ENTRY = TheWriter`; its name is that of `predict --format`. A package of
its own registers one as an entry point under `medzoo.formats`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from medzoo import registry
from medzoo.errors import UserError
from medzoo.io.deidentify import Deidentifier
from medzoo.results import Failure, Result


@dataclass(frozen=True)
class WriterOptions:
    """The options of a writer: the output folder, and the model's name, task and labels.

    `deidentify`: hides who and when. `annotations`: the COCO file whose ids the results take. `components`: whether the
    connected parts of masks were asked for, with their measurements.
    """

    folder: Path
    model: str
    task: str
    labels: Sequence[str]
    deidentify: Deidentifier | None = None
    annotations: Path | None = None
    components: bool = False


class Writer(ABC):
    """Writes results under names that the caller has made unique, whole or not at all (medzoo.io.atomic).

    `write` may be called from several threads, in any order, unless `together`.
    """

    together: ClassVar[bool] = False
    """Results are handed over in order from one thread, since one file holds them all."""
    summaries: ClassVar[Sequence[str]] = ()
    """Names of the files in the output folder that hold the results of a whole run."""
    takes_annotations: ClassVar[bool] = False

    def __init__(self, options: WriterOptions) -> None:
        self.options = options

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """The endings that files of one result of a task add to its name."""
        return ()

    @abstractmethod
    def write(self, result: Result, base: Path) -> Result:
        """Write one result under the name `base` (no suffix); returns it with the path of its mask, if it has one.

        Raises UserError for a result that has no such form.
        """

    def fail(self, failure: Failure, name: str) -> None:  # noqa: B027
        """Take note of an input without a result, called `name` in what is written."""

    def close(self) -> None:  # noqa: B027
        """Write the files that hold the results of the whole run."""

    def notes(self) -> Sequence[str]:
        """Lines to tell the user once everything is written: what a reader of the files must know."""
        return ()


def writer_type(name: str) -> type[Writer]:
    """The writer of a format. Raises UserError for one that is not registered."""
    kind: type[Writer] = registry.entry("format", name)
    return kind


def open_writer(name: str, options: WriterOptions) -> Writer:
    """A writer of a format, opened. Raises UserError for an unknown format, or options that it does not take."""
    kind = writer_type(name)
    if options.annotations is not None and not kind.takes_annotations:
        able = [one for one in registry.names("format") if writer_type(one).takes_annotations]
        raise UserError("gives the ids of COCO results", "--annotations", f"add --format {' or '.join(able)}")
    return kind(options)
