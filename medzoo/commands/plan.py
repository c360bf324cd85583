"""`medzoo plan`: a folder of images and labels to a commented recipe that fits the data and this machine."""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medzoo import registry
from medzoo.artifact.locate import zoo_recipes
from medzoo.artifact.manifest import MANIFEST
from medzoo.data.catalog import catalog, has_torch
from medzoo.data.dataset import DataEntry, Item
from medzoo.data.opened import OpenData
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.plan.draft import Draft
from medzoo.plan.fingerprint import Fingerprint, describe, take_fingerprint
from medzoo.plan.pictures import plan_pictures
from medzoo.plan.recognise import Recognised, recognise
from medzoo.plan.split import choose_split
from medzoo.plan.volumes import plan_volumes
from medzoo.recipe import Recipe, read_recipe_text
from medzoo.report.summary import Console

MINUTES = 15.0
PLAN_FILE = Path("training/plan.yaml")  # in the folder of a run
_MEASURED = 4.0  # seconds of steps
_MOST_EPOCHS = {"detect": 60, "classify": 60, "segment": 160}
_START, _EPOCH, _EXPORT = (
    14.0,
    2.0,
    12.0,
)  # seconds of imports, of a checkpoint with its curve, of an export and its gate


@dataclass(frozen=True)
class Budget:
    """Expected cost of a training: `seconds` in all, `epoch` for each of `epochs`; `memory` in bytes."""

    seconds: float
    epoch: float
    epochs: int
    step: float
    memory: int
    max_steps: int | None = None


@dataclass(frozen=True)
class Plan:
    """A planned training: the recipe's text and what it rests on."""

    text: str
    recipe: Recipe
    recognised: Recognised
    fingerprint: Fingerprint
    sentences: tuple[str, ...]
    budget: Budget | None
    seconds: float
    reasons: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        budget = self.budget
        return {
            "data": str(self.recognised.root),
            "layout": self.recognised.layout,
            "task": self.recognised.task,
            "labels": list(self.recipe.labels),
            "why": self.recognised.sighting.why,
            "others": list(self.recognised.others),
            "fingerprint": self.fingerprint.to_dict(),
            "reasons": self.reasons,
            "recipe": self.text,
            "predicted": None
            if budget is None
            else {
                "seconds": round(budget.seconds),
                "epochs": budget.epochs,
                "seconds_per_step": round(budget.step, 4),
                "memory_mb": budget.memory >> 20,
            },
            "seconds": round(self.seconds, 1),
        }


def plan(
    data: str | Path,
    *,
    task: str | None = None,
    layout: str | None = None,
    minutes: float = MINUTES,
    name: str | None = None,
    parent: str | None = None,
) -> Plan:
    """Plan a training on a folder, or on a file that describes one, so that it ends after `minutes` on this machine.

    `parent`: a trained model that it is to go on from, whose preprocessing and model are taken as they are.
    Raises UserError for a folder that is of no layout, or of two at once, and says what was seen.
    """
    started = time.perf_counter()
    path = Path(data)
    found = recognise(path, task=task, layout=layout)
    entry: DataEntry = registry.entry("data", found.layout)
    params = {"root": _as_given(path, found.root), **found.sighting.params}
    opened = _open(entry, params, found)
    items = opened.items()
    if not items:
        raise UserError("holds no image with a label", str(path))
    seen = take_fingerprint(opened, items, found.labels)
    if not seen.read:
        raise UserError(f"none of {len(seen.unreadable)} images could be read: {seen.unreadable[0]}", str(path))
    takes_patient = "patient" in entry.params.model_fields

    def reopen(pattern: str) -> Sequence[Item]:
        again: Sequence[Item] = _open(entry, {**params, "patient": pattern}, found).items()
        return again

    split = choose_split(items, volumes=seen.volumes, takes_patient=takes_patient, reopen=reopen)
    if split.patient is not None:
        params["patient"] = split.patient
        opened = _open(entry, params, found)
        items = opened.items()
    classes = dict(sorted(Counter(item.stratum for item in items if item.stratum).items()))
    sentences = (found.sighting.why, *describe(seen, classes if found.task == "classify" else {}), split.reason)
    draft = _draft(found, params, split.section, split.reason, name or _slug(path), seen)
    if seen.volumes:
        plan_volumes(draft, found.task, found.labels, seen, found.sighting.modality)
    else:
        plan_pictures(draft, found.task, found.labels, seen, classes)
    budget = None
    if parent is not None:
        _take_over(draft, parent, found.task)
    if has_torch():
        recipe = _read(draft, path)
        made = make_split(items, recipe.data.split.model_copy(update=recipe.data.split.amounts))
        budget = _budget(recipe, OpenData(opened, items, made), seen, minutes=minutes)
        _set_length(draft, budget, minutes)
    draft.set("metrics", [], "the usual figures of the task")
    text = draft.text(_head(path, found, sentences))
    recipe = read_recipe_text(text, str(path), catalog=catalog())
    seconds = time.perf_counter() - started
    return Plan(text, recipe, found, seen, sentences, budget, seconds, dict(draft.reasons))


def is_dataset(data: str | Path) -> bool:
    """True for a path that is neither a recipe nor a model: a folder, or a file that describes one."""
    path = Path(data)
    if path.is_dir():
        return not (path / MANIFEST).exists() and str(data) not in zoo_recipes()
    if not path.is_file():
        return False
    if path.suffix.lower() not in (".yaml", ".yml"):
        return path.suffix.lower() in (".json", ".geojson", ".csv", ".tsv", ".xml")
    keys = [line.partition(":")[0].strip() for line in path.read_text(errors="replace").splitlines()]
    return "names" in keys and "medzoo" not in keys and "extends" not in keys


def plan_text(
    data: Path,
    *,
    out: str | Path | None,
    resume: bool,
    minutes: float,
    task: str | None,
    console: Console,
    parent: str | None = None,
) -> str:
    """The text of a planned recipe; with `resume` that of the run, since another would be another run."""
    kept = (Path(out) if out is not None else Path("runs") / _slug(data)) / PLAN_FILE
    if resume and kept.is_file():
        return kept.read_text(encoding="utf-8")
    console.print(f"planning a training of {minutes:g} minutes on {data}", markup=False)
    made = plan(data, minutes=minutes, task=task, parent=parent)
    for sentence in made.sentences:
        console.print(sentence, markup=False)
    if made.recognised.others:
        console.print(f"also possible: {', '.join(made.recognised.others)}", markup=False)
    if made.budget is not None:
        console.print(made.reasons.get("train.epochs", made.reasons.get("train.max_steps", "")), markup=False)
    return made.text


def keep_plan(folder: Path, text: str) -> None:
    """Write the plan into a run's folder."""
    path = folder / PLAN_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, lambda file: file.write(text.encode()))


def write_plan(made: Plan, path: Path) -> Path:
    """Write a planned recipe. Raises UserError for a file that is there already and is no recipe of the same name."""
    if path.exists() and not path.read_text(errors="replace").startswith("# Planned by medzoo plan"):
        raise UserError("exists, and was not planned", str(path), "choose another -o")
    return atomic_write(path, lambda file: file.write(made.text.encode()))


def explain_plan(made: Plan, out: Path | None) -> Path:
    """Draw what was seen as a PNG beside the recipe, or in the working folder."""
    from medzoo.plan.sheet import fingerprint_sheet

    path = out.with_suffix(".png") if out is not None else Path(f"{made.recipe.name}-plan.png")
    return fingerprint_sheet(made.fingerprint, made.recipe.labels, path)


def _open(entry: DataEntry, params: dict[str, Any], found: Recognised) -> Any:
    checked = entry.params.model_validate({key: _tupled(value) for key, value in params.items()})
    return entry.open(checked, found.task, found.labels)


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _draft(
    found: Recognised, params: dict[str, Any], split: dict[str, Any], reason: str, name: str, seen: Fingerprint
) -> Draft:
    draft = Draft()
    draft.set("medzoo", 1)
    draft.set("name", name)
    draft.set("task", found.task, found.sighting.why)
    draft.set("labels", list(found.labels), "as the data call them; name them as you like where they are numbers")
    draft.set("data.type", found.layout)
    for key, value in params.items():
        draft.set(f"data.{key}", str(value) if isinstance(value, Path) else value)
    for key, value in split.items():
        draft.set(f"data.split.{key}", value)
    draft.reasons["data.split"] = reason
    if seen.unreadable:
        draft.set("train.on_bad_image", "skip", f"{len(seen.unreadable)} of {seen.read} images cannot be read")
    return draft


def _take_over(draft: Draft, parent: str, task: str) -> None:
    """Replace preprocessing and model by those of a trained model. Raises UserError for a model of another task."""
    from medzoo.training.parent import open_parent

    folder, theirs = open_parent(parent)
    if theirs.task != task:
        raise UserError(f"is a model to {theirs.task}, the folder is labelled to {task}", str(folder.path))
    for path in [one for one in draft.fields if one.startswith(("preprocess.", "model."))]:
        del draft.fields[path]
        draft.reasons.pop(path, None)
    tree = yaml.safe_load(theirs.resolved())
    for section in ("preprocess", "model"):
        for key, value in tree.get(section, {}).items():
            if (section, key) not in (("model", "weights"), ("model", "freeze")):
                draft.set(f"{section}.{key}", value)
    draft.reasons["model"] = f"as {folder.name} has it, whose weights the training begins with"
    draft.reasons["preprocess"] = f"as {folder.name} has it"
    rate = float(draft.fields["train.lr"])
    draft.set("train.lr", rate / 2, "half of the rate from scratch: what was learnt is to be kept")


def _read(draft: Draft, path: Path) -> Recipe:
    return read_recipe_text(draft.text(), str(path), catalog=catalog())


def _budget(recipe: Recipe, data: OpenData, seen: Fingerprint, *, minutes: float) -> Budget:
    from medzoo.training.pace import measure_pace

    pace = measure_pace(recipe, data, seconds=_MEASURED, volumes=seen.volumes)
    counts = {part: len(getattr(data.split, part)) for part in ("train", "val", "test")}
    batch, drawn = recipe.train.batch, recipe.train.steps_per_epoch
    steps = drawn or math.ceil(counts["train"] / batch)
    validated = min(10, steps) * batch if drawn or recipe.task == "segment" else counts["val"]
    if recipe.task == "segment" and not drawn:
        steps = 100
    epoch = steps * pace.step + validated * pace.val_item + _EPOCH
    windows = _windows(recipe, seen)
    answer = windows * pace.answer + seen.seconds
    # The audit reads every image and compares it; opening reads those of training and validation once more.
    reading = sum(counts.values()) * (seen.seconds * 1.5 + 0.02) + (counts["train"] + counts["val"]) * pace.open_item
    fixed = _START + reading + _EXPORT + 40 * pace.answer + counts["val"] * windows * pace.answer
    fixed += counts["test"] * answer * 1.3
    left = 60 * minutes - fixed
    epochs = max(1, min(int(left / epoch), _MOST_EPOCHS[recipe.task]))
    max_steps = None
    if left < epoch:
        max_steps = max(10, int((left - validated * pace.val_item) / pace.step))
        max_steps = min(max_steps, steps)
    total = fixed + (epochs * epoch if max_steps is None else max_steps * pace.step + validated * pace.val_item)
    item = 4 * float(np.prod(seen.size)) * (3 if seen.colours else seen.channels)
    held = min(1 << 30, (counts["train"] + counts["val"]) * item * (1.5 if seen.volumes else 0.5))
    return Budget(total, epoch, epochs, pace.step, pace.memory + int(held), max_steps)


def _windows(recipe: Recipe, seen: Fingerprint) -> float:
    """Number of inputs of the timed size that one item's prediction needs."""
    params = recipe.model.params
    if recipe.task != "segment":
        return float(seen.size[-1]) if seen.volumes else 1.0
    if recipe.model.type == "unet":
        size = seen.size
        for step in recipe.host_steps:
            if step.op == "limit-size":
                size = tuple(n * min(1.0, step.side / max(seen.size)) for n in size)
        return float(max(1.0, float(np.prod(size)) / params.crop**2))
    patch = params.patch
    counts = [1 + math.ceil(max(0, n - p) / (p * (1 - params.overlap))) for n, p in zip(seen.size, patch, strict=True)]
    return float(np.prod(counts)) * (1 + len(params.mirror))


def _set_length(draft: Draft, budget: Budget, minutes: float) -> None:
    clock = f"{budget.seconds / 60:.1f} minutes and {budget.memory / 2**30:.1f} GB"
    why = f"measured here: {budget.step:.2f} s a step, {budget.epoch:.1f} s an epoch; the whole takes about {clock}"
    if budget.max_steps is not None:
        draft.set("train.epochs", 1)
        draft.set("train.max_steps", budget.max_steps, f"{why}; {minutes:g} minutes are less than an epoch")
    else:
        draft.set("train.epochs", budget.epochs, why)
    if draft.fields["task"] != "segment":
        steps = budget.max_steps or budget.epochs * 50
        draft.set("train.ema", 0.98 if steps > 200 else 0.9, "a moving average of the weights answers more steadily")


def _head(path: Path, found: Recognised, sentences: Sequence[str]) -> list[str]:
    others = f"Also possible: {', '.join(found.others)}." if found.others else ""
    lines = [f"Planned by medzoo plan {path}. Train it: medzoo train RECIPE", ". ".join(sentences[:-1]) + "."]
    return [*lines, *([others] if others else [])]


def _slug(path: Path) -> str:
    name = path.stem if path.is_file() else path.resolve().name
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "planned"


def _as_given(path: Path, root: Path) -> Path:
    """The root as the user wrote it, not resolved: a recipe counts from where it is used."""
    return root if root != Path() else path
