"""`medzoo train --from MODEL`: begin with the weights of a trained model, and set both side by side at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medzoo import registry
from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model
from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.evaluation.record import EvaluationRecord, show_progress
from medzoo.evaluation.score import evaluate
from medzoo.loading.load import load
from medzoo.metrics import Scores, paired_differences
from medzoo.metrics.scores import FILE
from medzoo.recipe import Recipe
from medzoo.report.summary import Console
from medzoo.runtime.predictor import Predictor
from medzoo.task import task_of

if TYPE_CHECKING:
    from medzoo.training.parent import Inherited

FALLING = ("hd95", "assd", "volume-error", "ece", "brier", "false-positives")  # metrics of which less is better


def with_parent(
    overrides: Sequence[str] | Mapping[str, Any], parent: str | None, freeze: Sequence[str]
) -> Sequence[str] | Mapping[str, Any]:
    """Overrides of a recipe with the parent and the frozen parts of the command line."""
    if parent is None:
        if freeze:
            raise UserError("holds what a trained model gave", "--freeze", "name the model by --from")
        return overrides
    if isinstance(overrides, Mapping):
        return {**overrides, "train.parent": parent, **({"train.freeze": list(freeze)} if freeze else {})}
    frozen = [f"train.freeze=[{', '.join(freeze)}]"] if freeze else []
    return [*overrides, f"train.parent={parent}", *frozen]


def inherited_weights(net: Any, recipe: Recipe, *, console: Console) -> Inherited | None:
    """Put the weights of the recipe's parent into `net`, and say what was taken; None of a recipe without one."""
    if recipe.train.parent is None:
        return None
    if registry.entry("model", recipe.model.type).learns != "gradient":
        hint = "take train.parent out"
        raise UserError(
            f"{recipe.model.type} is fitted in closed form: it begins with no weights", "train.parent", hint
        )
    from medzoo.training.parent import inherit

    found = inherit(net, recipe, recipe.train.parent, freeze=recipe.train.freeze)
    for line in found.lines():
        console.print(line, markup=False)
    return found


def beside_parent(
    recipe: Recipe, data: OpenData, record: EvaluationRecord, *, console: Console
) -> dict[str, Any] | None:
    """The parent's figures on the same test items beside the tuned model's, with paired intervals of the differences,
    and which of the two to keep. None where the parent predicts other labels, which is said.
    """
    assert recipe.train.parent is not None
    parent = load(recipe.train.parent, backend="onnx", device="cpu")
    assert isinstance(parent, Predictor)
    if tuple(parent.metadata.labels) != tuple(recipe.labels):
        console.print(f"{parent.metadata.name} predicts other labels: the two are not compared", markup=False)
        return None
    items = data.part("test")
    theirs = evaluate(
        parent,
        data.data,
        items,
        metrics=recipe.metrics,
        group=recipe.data.split.group,
        seed=recipe.train.seed,
        split_digest=data.split.digest,
        watch=lambda rows: show_progress(rows, console),
    )
    mine = Scores.from_bytes(record.files[FILE], where=FILE)
    rows = _rows(mine, theirs)
    main = task_of(recipe.task).primary_metric
    words = f"{_verdict(rows, main, parent.metadata.name)}{_seen_before(recipe.train.parent, data)}"
    console.print(words, markup=False)
    return {"parent": parent.metadata.name, "items": len(items), "rows": rows, "words": words}


def _rows(mine: Scores, theirs: Scores) -> list[dict[str, Any]]:
    ours, others = ({m.name: m.value for m in scores.metrics()} for scores in (mine, theirs))
    rows = []
    for protocol, accumulator in mine.protocols.items():
        if protocol not in theirs.protocols:
            continue
        for metric in paired_differences(accumulator, theirs.protocols[protocol]):
            name = f"{protocol}/{metric.name}" if protocol else metric.name
            values = {"parent": others.get(name), "tuned": ours.get(name), "difference": metric.value}
            rows.append({"name": name, **values, "low": metric.low, "high": metric.high})
    return rows


def _verdict(rows: Sequence[Mapping[str, Any]], main: str, parent: str) -> str:
    """Say which of the two models to keep, by the task's primary metric."""
    row = next((row for row in rows if row["name"].split("/")[-1] == main), None)
    if row is None or row["difference"] is None or row["low"] is None:
        return f"No interval of {main} could be had on these items: keep {parent} until more are measured."
    sign = -1 if main in FALLING else 1
    low, high = sorted((sign * row["low"], sign * row["high"]))
    span = f"{row['difference']:+.3f} in {main} ({row['low']:+.3f} to {row['high']:+.3f}, paired)"
    if low > 0:
        return f"Take the tuned model: {span}."
    if high < 0:
        return f"Keep the parent: the tuned model is worse by {span}."
    return f"Keep the parent, {parent}: no difference can be told ({span})."


def _seen_before(parent: str, data: OpenData) -> str:
    """A warning where the parent was trained on items of this test part."""
    folder = ModelFolder.open(find_model(Path(parent)))
    if "split.json" not in folder.manifest["files"]:
        return ""
    from medzoo.data.split import Split

    known = set(Split.read(folder.file("split.json")).train)
    seen = sum(item.id in known for item in data.part("test"))
    return f" {seen} of the items are named like items that it was trained on." if seen else ""
