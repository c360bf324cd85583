"""`medzoo evaluate`: metrics of a model on a recipe's data, through the same Predictor that users call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model, find_recipe
from medzoo.artifact.pipeline import pipeline_members
from medzoo.data.audit.training import as_trained, checked_audit, without_unreadable
from medzoo.data.catalog import catalog
from medzoo.data.dataset import Part
from medzoo.data.opened import open_data, require_same_split
from medzoo.data.split import SPLIT_FILE
from medzoo.errors import UserError
from medzoo.evaluation import evaluate as score
from medzoo.evaluation.pipeline import unseen_data
from medzoo.evaluation.record import evaluate_test_part, show_progress
from medzoo.loading.backend import BackendName
from medzoo.loading.load import load
from medzoo.metrics import Metric, Scores
from medzoo.recipe import load_recipe
from medzoo.report.card import update_folder
from medzoo.report.summary import Console
from medzoo.runtime.backends.devices import Device
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.predictor import Predictor


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one model on one part of one dataset, and the scores that they were computed from."""

    model: str
    split: str
    split_digest: str
    items: int
    metrics: Sequence[Metric]
    scores: Scores

    def to_dict(self) -> dict[str, Any]:
        """The document of `evaluate --json`."""
        return {
            "model": self.model,
            "split": self.split,
            "split_digest": self.split_digest,
            "items": self.items,
            "figures": [metric.to_dict() for metric in self.metrics],
        }

    @property
    def figures(self) -> Sequence[Metric]:
        """Deprecated name of `metrics`."""
        return self.metrics


def evaluate(
    model: str | Path,
    *,
    data: str | Path | None = None,
    split: Part = "test",
    overrides: Sequence[str] | Mapping[str, Any] = (),
    backend: BackendName = "auto",
    device: Device = "auto",
    console: Console | None = None,
) -> Evaluation:
    """Score MODEL on one part of its own data, or of another recipe's (`data`).

    Raises UserError if the model folder's own split can no longer be made (the data changed).

    >>> evaluation = medzoo.evaluate("runs/mine", split="val")
    >>> [metric.name for metric in evaluation.metrics]
    ['auc']
    """
    console = console or Console(stderr=True)
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is an ONNX file, which does not say which data to evaluate on", where=str(path),
                        hint="give the model folder")  # fmt: skip
    folder = ModelFolder.open(path)
    source = find_recipe(data) if data else folder.file("recipe.yaml")
    recipe = load_recipe(source, overrides, catalog=catalog())
    predictor = load(path, backend=backend, device=device)
    opened = unseen_data(recipe, pipeline_members(folder)) if recipe.members else open_data(recipe)
    if tuple(recipe.labels) != predictor.metadata.labels:
        raise UserError(
            f"the data have the labels {', '.join(recipe.labels)}, but the model predicts "
            f"{', '.join(predictor.metadata.labels)}",
            where=str(source),
        )
    if not data and not overrides:
        require_same_split(folder, opened.split)
    opened = as_trained(recipe, opened, say=lambda text: console.print(text, markup=False))
    scores = score(
        predictor,
        opened.data,
        opened.part(split),
        metrics=recipe.metrics,
        group=recipe.data.split.group,
        seed=recipe.train.seed,
        split=split,
        split_digest=opened.split.digest,
        watch=lambda items: show_progress(items, console),
    )
    return Evaluation(
        predictor.metadata.name,
        split,
        opened.split.digest,
        len(scores.items),
        scores.metrics(),
        scores,
    )


def record_evaluation(model: str | Path, *, console: Console | None = None) -> ModelFolder:
    """Evaluate a model folder's test part again and write metrics, predictions, worst cases, audit and card into it.

    Weights, graph and recipe stay as they are. Raises UserError if the data are not those of the training.
    """
    console = console or Console(stderr=True)
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is an ONNX file, which cannot hold an evaluation", str(path), "give the model folder")
    folder = ModelFolder.open(path)
    recipe = load_recipe(folder.file("recipe.yaml"), catalog=catalog())
    data = open_data(recipe)
    require_same_split(folder, data.split)
    backend = OnnxBackend(folder.file("model.onnx"), device="cpu")
    audited = checked_audit(recipe, data)
    data = without_unreadable(recipe, data, audited, say=lambda text: console.print(text, markup=False))
    record = evaluate_test_part(Predictor(backend), recipe, data, console=console)
    return update_folder(
        folder,
        files={**record.files, SPLIT_FILE: data.split.to_bytes()},
        metrics=record.metrics,
        audit={**audited.counts(), "allow_leaks": recipe.data.allow_leaks},
        # From the graph itself: older manifests did not repeat it.
        calibration=backend.metadata.calibration,
    )
