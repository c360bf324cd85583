"""What a manifest says was measured, and the files that show it: after a training, and again on request."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from medzoo import registry
from medzoo.artifact import ModelFolder, write_folder
from medzoo.commands.audit import checked_audit, readable
from medzoo.commands.evaluate import require_same_split
from medzoo.commands.locate import find_model
from medzoo.data.catalog import catalog
from medzoo.data.dataset import Item
from medzoo.data.opened import OpenData, open_data
from medzoo.data.split import SPLIT_FILE
from medzoo.errors import UserError
from medzoo.evaluation import evaluate
from medzoo.evaluation.worst import worst_cases
from medzoo.metrics.scores import FILE as EVALUATION
from medzoo.metrics.subgroups import subgroups
from medzoo.recipe import Recipe, load_recipe
from medzoo.report.card import render_card
from medzoo.report.console import Console
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.predictor import Predictor


@dataclass(frozen=True)
class Assessment:
    """`metrics` of a manifest, and the files that belong to it."""

    metrics: dict[str, Any]
    files: dict[str, bytes]


def assess(predictor: Predictor, recipe: Recipe, data: OpenData, *, console: Console) -> Assessment:
    """Score the test part: figures, subgroups, reliability, answers item by item, worst cases."""
    items = data.part("test")
    scores = evaluate(
        predictor,
        data.data,
        items,
        metrics=recipe.metrics,
        group=recipe.data.split.group,
        seed=recipe.train.seed,
        split_digest=data.split.digest,
        watch=lambda items: _track(items, console),
    )
    metrics: dict[str, Any] = {
        "split": "test",
        "scored": registry.entry("data", recipe.data.type).scored,
        "items": len(items),
        "figures": [figure.to_dict() for figure in scores.figures()],
    }
    files = {EVALUATION: scores.to_bytes()}
    if rows := scores.reliability():
        metrics["reliability"] = rows
    if scores.items:
        metrics["subgroups"] = subgroups(scores)
        worst = worst_cases(predictor, data.data, items, scores)
        metrics["worst"] = worst.cases
        files |= worst.files
    return Assessment(metrics, files)


def assess_again(model: str | Path, *, console: Console | None = None) -> ModelFolder:
    """Measure a model folder's test part again, and write figures, answers, worst cases, audit and card into it.

    Weights, graph and recipe stay as they are. Raises UserError if the data are not those of the training.
    """
    console = console or Console(stderr=True)
    path = find_model(model)
    if not path.is_dir():
        raise UserError("only a model folder can be measured again", where=str(path))
    folder = ModelFolder.open(path)
    recipe = load_recipe(folder.file("recipe.yaml"), catalog=catalog())
    data = open_data(recipe)
    require_same_split(folder, data.split)
    backend = OnnxBackend(folder.file("model.onnx"), device="cpu")
    predictor = Predictor(backend)
    audited = checked_audit(recipe, data)
    data = readable(recipe, data, audited, say=lambda text: console.print(text, markup=False))
    found = assess(predictor, recipe, data, console=console)
    files = found.files | {SPLIT_FILE: data.split.to_bytes()}
    audit = {**audited.counts(), "allow_leaks": recipe.data.allow_leaks}
    # The graph's own word on its calibration, which manifests of old did not repeat.
    calibration = backend.metadata.calibration
    return rewrite(folder, metrics=found.metrics, audit=audit, calibration=calibration, files=files)


def record_speed(model: str | Path, measured: Mapping[str, Any]) -> ModelFolder:
    """What `medzoo benchmark` measured, into the manifest and card of a model folder."""
    machine = {name: measured["environment"][name] for name in ("processor", "cores")}
    machine["load"] = round(os.getloadavg()[1], 1) if hasattr(os, "getloadavg") else None  # Windows does not count it
    kept = {name: measured[name] for name in ("input", "rounds", "rows", "metric")}
    return rewrite(ModelFolder.open(find_model(model)), speed={**kept, "environment": machine})


def rewrite(folder: ModelFolder, *, files: dict[str, bytes] | None = None, **changes: Any) -> ModelFolder:
    """A model folder with some of its manifest and files exchanged, and the card that follows from it."""
    manifest = {name: value for name, value in folder.manifest.items() if name != "files"} | changes
    kept: dict[str, bytes] = {name: folder.file(name).read_bytes() for name in folder.manifest["files"]}
    card = {"README.md": render_card(manifest).encode()}
    return write_folder(folder.path, kept | (files or {}) | card, manifest)


def _track(items: Iterable[Item], console: Console) -> Iterable[Item]:
    return track(items, description="evaluating", console=console)
