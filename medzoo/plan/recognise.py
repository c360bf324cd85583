"""Recognise a folder's data layout and task: every layout is asked, and nothing is guessed in silence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medzoo import registry
from medzoo.data.dataset import DataEntry
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.task import task_names

_PUBLIC = "medzoo.data.public."


@dataclass(frozen=True)
class Recognised:
    """The layout and task that a folder was taken for; `others`: what else could be made of it, in words."""

    layout: str
    task: str
    sighting: Sighting
    root: Path
    others: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The recipe's labels: of a segmentation with the background first."""
        labels = self.sighting.labels if self.task == "classify" else self.sighting.objects or self.sighting.labels
        return ("background", *labels) if self.task == "segment" else labels


def recognise(path: Path, *, task: str | None = None, layout: str | None = None) -> Recognised:
    """Look at a folder, or at a file that describes one. Raises UserError that says what was seen for nothing that a
    layout knows, for several things at once, and for a task that it is not labelled for."""
    if task is not None and task not in task_names():
        raise UserError(f"{task!r} is not one of {', '.join(task_names())}", "--task")
    listing = Listing(path)
    sighted: list[tuple[str, Sighting]] = []
    refused: list[UserError] = []
    for name in registry.names("data") if layout is None else [layout]:
        entry: DataEntry = registry.entry("data", name)
        if entry.recognise is None:
            continue
        try:
            found = entry.recognise(listing)
        except UserError as error:
            refused.append(error)
            continue
        if found is not None and found.labels:
            sighted.append((name, found))
    if not sighted and refused:
        raise refused[0].located(str(path))
    if not sighted:
        hint = "see docs/training.md for the layouts; write a recipe that names one by data.type"
        raise UserError(f"is of no layout that medzoo knows: it holds {listing.kinds}", str(path), hint)
    public = [one for one in sighted if registry.names("data")[one[0]].startswith(_PUBLIC)]
    sighted = public or sighted
    able = [one for one in sighted if task is None or task in one[1].tasks]
    if not able:
        have = ", ".join(sorted({t for _, one in sighted for t in one.tasks}))
        raise UserError(f"is not labelled to {task}: {sighted[0][1].why}", str(path), f"it can be used to {have}")
    return _chosen(able, path, listing, task)


def _chosen(sighted: list[tuple[str, Sighting]], path: Path, listing: Listing, task: str | None) -> Recognised:
    """The one layout; several are one thing where they see the same labels for other tasks (masks, and boxes of them).

    Raises UserError for two things at once.
    """
    by_task: dict[str, list[tuple[str, Sighting]]] = {}
    for name, one in sighted:
        for able in one.tasks if task is None else (task,):
            by_task.setdefault(able, []).append((name, one))
    clash = next((found for found in by_task.values() if len(found) > 1), None)
    if clash is not None:
        seen = "; ".join(f"{name} ({one.why})" for name, one in clash)
        raise UserError(f"is two things at once: {seen}", str(path), f"choose by --type {clash[0][0]}")
    several = {name for name, _ in sighted}
    if len(several) > 1 and len({one.labels for _, one in sighted}) > 1:
        seen = "; ".join(f"{name} ({one.why})" for name, one in sighted)
        raise UserError(f"is two things at once: {seen}", str(path), f"choose by --type {sighted[0][0]}, or --task")
    # Outlines say more than boxes: of a set that has both readings it is the first of each layout that counts.
    order = {"segment": 0, "detect": 1, "classify": 2} if len(several) > 1 else {}
    firsts = [(one.tasks[0] if task is None else task, name, one) for name, one in sighted]
    firsts.sort(key=lambda row: order.get(row[0], 0))
    wanted, name, one = firsts[0]
    others = [f"--task {t} ({n})" for t, found in by_task.items() for n, _ in found if t != wanted]
    root = one.root if one.root is not None else listing.root
    return Recognised(name, wanted, one, root, tuple(others))
