"""`medzoo compare`: paired differences of models scored on the same items, and of their recipes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model
from medzoo.errors import UserError
from medzoo.metrics import Metric, Scores, paired_differences, read_scores
from medzoo.metrics.scores import FILE


@dataclass(frozen=True)
class Comparison:
    """Metrics by model; the paired differences of each later model to the first; recipe fields that differ."""

    models: Sequence[str]
    items: int
    metrics: Mapping[str, Sequence[Metric]]
    differences: Mapping[str, Sequence[Metric]]
    recipes: Mapping[str, Mapping[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """The document of `compare --json`."""
        return {
            "models": list(self.models),
            "items": self.items,
            "figures": {name: [metric.to_dict() for metric in found] for name, found in self.metrics.items()},
            "differences": {name: [metric.to_dict() for metric in found] for name, found in self.differences.items()},
            "recipes": {field: dict(values) for field, values in self.recipes.items()},
        }


def compare(models: Sequence[str | Path]) -> Comparison:
    """Compare model folders by their predictions for every test item (evaluation.json); nothing is run.

    Raises UserError for fewer than two models, one without its answers, or items that are not the same.

    >>> compare(["breast-ultrasound-cnn", "breast-ultrasound-alexnet"]).items
    126
    """
    if len(models) < 2:
        raise UserError("a comparison needs at least two models", hint="give two or more")
    folders = [_opened(model) for model in models]
    names = _names([folder.name for folder in folders])
    scores = [read_scores(folder.file(FILE)) for folder in folders]
    first = scores[0]
    for name, one in zip(names[1:], scores[1:], strict=True):
        if one.scope.task != first.scope.task or one.scope.labels != first.scope.labels:
            raise UserError(
                f"predicts {one.scope.task} with {', '.join(one.scope.labels)}, {names[0]} {first.scope.task} with "
                f"{', '.join(first.scope.labels)}",
                where=name,
                hint="compare models of one task and the same labels",
            )
    recipes = {
        name: _flat(yaml.safe_load(folder.file("recipe.yaml").read_text()))
        for name, folder in zip(names, folders, strict=True)
    }
    fields = dict.fromkeys(key for recipe in recipes.values() for key in recipe)
    return Comparison(
        names,
        len(first.items),
        {name: one.metrics() for name, one in zip(names, scores, strict=True)},
        {name: _difference_to_first(first, one) for name, one in zip(names[1:], scores[1:], strict=True)},
        {
            field: {name: recipe.get(field) for name, recipe in recipes.items()}
            for field in fields
            if len({repr(recipe.get(field)) for recipe in recipes.values()}) > 1
        },
    )


def _opened(model: str | Path) -> ModelFolder:
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is an ONNX file, which holds no evaluation", str(path), "give the model folder")
    return ModelFolder.open(path)


def _difference_to_first(first: Scores, other: Scores) -> list[Metric]:
    """Other minus first, under every protocol that both have."""
    found = []
    for protocol in first.protocols:
        if protocol in other.protocols:
            metrics = paired_differences(other.protocols[protocol], first.protocols[protocol])
            prefix = f"{protocol}/" if protocol else ""
            found += [Metric(f"{prefix}{f.name}", f.value, f.low, f.high, f.protocol, f.n, f.groups) for f in metrics]
    return found


def _names(names: Sequence[str]) -> list[str]:
    """Names that tell the models apart: with a number where two have the same."""
    return [name if names.count(name) == 1 else f"{name}-{names[: k + 1].count(name)}" for k, name in enumerate(names)]


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(tree, dict):
        return {key: value for name, part in tree.items() for key, value in _flat(part, f"{prefix}{name}.").items()}
    return {prefix[:-1]: tree}
