"""`medzoo evaluate`: figures of a model on a recipe's data, through the same Predictor that answers users."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import track

from medzoo.artifact import ModelFolder
from medzoo.commands.audit import as_trained
from medzoo.commands.locate import find_model, find_recipe
from medzoo.commands.model import BackendName, load
from medzoo.data.catalog import catalog
from medzoo.data.dataset import Item, Part
from medzoo.data.opened import open_data
from medzoo.data.split import SPLIT_FILE, Split
from medzoo.errors import UserError
from medzoo.evaluation import evaluate as score
from medzoo.metrics import Figure, Scores
from medzoo.recipe import load_recipe
from medzoo.report.console import Console
from medzoo.runtime.backends.devices import Device


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model on one part of one data set, and what they were computed from."""

    model: str
    split: str
    split_digest: str
    items: int
    figures: Sequence[Figure]
    scores: Scores

    def to_dict(self) -> dict[str, Any]:
        """The document of `evaluate --json`."""
        return {
            "model": self.model,
            "split": self.split,
            "split_digest": self.split_digest,
            "items": self.items,
            "figures": [figure.to_dict() for figure in self.figures],
        }


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
    >>> [figure.name for figure in evaluation.figures]
    ['auc']
    """
    console = console or Console(stderr=True)
    path = find_model(model)
    if not path.is_dir():
        raise UserError("an ONNX file alone does not say what it is evaluated on", where=str(path),
                        hint="give the model folder")  # fmt: skip
    folder = ModelFolder.open(path)
    source = find_recipe(data) if data else folder.file("recipe.yaml")
    recipe = load_recipe(source, overrides, catalog=catalog())
    predictor = load(path, backend=backend, device=device)
    if recipe.members:
        from medzoo.commands.compose import pipeline_members, unseen_data

        opened = unseen_data(recipe, pipeline_members(folder))
    else:
        opened = open_data(recipe)
    if tuple(recipe.labels) != predictor.metadata.labels:
        raise UserError(
            f"the data have the labels {', '.join(recipe.labels)}, the model answers "
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
        watch=lambda items: _track(items, console),
    )
    return Evaluation(
        predictor.metadata.name,
        split,
        opened.split.digest,
        len(scores.items),
        scores.figures(),
        scores,
    )


def require_same_split(folder: ModelFolder, split: Split) -> None:
    """Refuse data that have changed since training: their test part may hold what was trained on."""
    hint = "the data changed; evaluate with --data RECIPE to say which data are meant"
    if SPLIT_FILE in folder.manifest["files"]:
        path = folder.file(SPLIT_FILE)
        split.require_same(Split.read(path), where=str(path), hint=hint)
    elif split.digest != folder.manifest["split"]["digest"]:  # a folder without a split file
        raise UserError("the data now split differently than when it was trained", str(folder.path), hint)


def _track(items: Iterable[Item], console: Console) -> Iterable[Item]:
    return track(items, description="evaluating", console=console)
