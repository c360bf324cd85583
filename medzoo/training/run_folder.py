"""The folder of a run: held by one process at a time, and what a resumed run must still agree with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from medzoo.errors import Fault, UserError
from medzoo.io.atomic import atomic_write
from medzoo.io.durable import sync_folder
from medzoo.training.processes import is_main_process

_WORDS = {
    "recipe_digest": "another recipe",
    "data_sha256": "other data",
    "split_digest": "another split of the data",
    "weights_sha256": "other weights to start from",
    "medzoo": "another version of medzoo",
    "torch": "another version of torch",
}


_handles: set[IO[str]] = set()


def _release_in_child() -> None:
    """In a process that branches off (a reader of data): the hold is its parent's, and must end with its parent."""
    while _handles:
        _handles.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


@contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Hold `folder/training` for this process; the system lets go when it ends, however it ends.

    Processes that a launcher started beside the first share its hold. Raises UserError where another run has it.
    """
    if not is_main_process():
        yield
        return
    if os.name == "nt":  # has no flock
        yield
        return
    import fcntl

    path = folder / "training" / "lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            raise UserError(
                f"another training is writing to this folder (process {handle.read().strip() or 'unknown'})",
                where=str(folder),
                hint="wait for it, stop it, or choose another -o",
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        for staged in folder.glob(".staged-*"):  # what a kill left of an earlier run
            shutil.rmtree(staged, ignore_errors=True)
        _handles.add(handle)
        try:
            yield
        finally:
            _handles.discard(handle)


def previous_autotune(folder: Path, requested: str) -> str | None:
    """The resolved recipe that a run into `folder` went on with, after it had looked for what the recipe of the digest
    `requested` left to it; None where there was no such run."""
    before = _previous_record(folder)
    return before["recipe"] if before.get("asked") == requested else None


def check_resume(
    folder: Path, facts: Mapping[str, Any], *, resume: bool, force: bool, recipe: str, asked: str | None = None
) -> None:
    """Write what a run is made of; with `resume`, first compare it with what was written when the run began.

    `recipe`: the resolved text; `asked`: the digest of the recipe before what it left open was found. Raises UserError
    that names each thing which differs, unless `force`.
    """
    if not is_main_process():
        return
    if resume and not force:
        before = _previous_record(folder)
        changed = [name for name in facts if name in before and before[name] != facts[name]]
        if changed:
            lines = _lines(before.get("recipe", ""), recipe) if "recipe_digest" in changed else []
            raise UserError.of([_fault(name, before[name], facts[name], lines, folder) for name in changed])
    document = json.dumps({**facts, "recipe": recipe, **({"asked": asked} if asked else {})}, indent=1) + "\n"
    atomic_write(_file(folder), lambda handle: handle.write(document.encode()))
    sync_folder(_file(folder).parent)


def _file(folder: Path) -> Path:
    return folder / "training" / "run.json"


def _previous_record(folder: Path) -> dict[str, Any]:
    """The record written when the run began; empty if there is none, or no whole one."""
    try:
        found = json.loads(_file(folder).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _fault(name: str, before: Any, now: Any, lines: Sequence[str], folder: Path) -> Fault:
    short = [str(value)[:12] for value in (before, now)]
    detail = "; ".join(lines[:3]) if name == "recipe_digest" and lines else f"{short[0]}, now {short[1]}"
    return Fault(
        f"the run was started with {_WORDS.get(name, name)}: {detail}",
        str(folder),
        "resume with what it was started with, train anew without --resume, or pass --force",
    )


def _lines(before: str, now: str) -> list[str]:
    """Lines of the resolved recipe that are not in both."""
    old, new = before.splitlines(), now.splitlines()
    gone = [line.strip() for line in old if line not in new]
    come = [line.strip() for line in new if line not in old]
    return [f"{a!r}, now {b!r}" for a, b in zip(gone, come, strict=False)] or [*gone, *come]
