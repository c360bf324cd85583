"""`medzoo train` of a recipe with `members`: a pipeline folder that names its member models by digest."""

from __future__ import annotations

import time
from pathlib import Path

from medzoo.artifact import ModelFolder
from medzoo.artifact.environment import environment
from medzoo.artifact.pipeline import member_digest, member_folder
from medzoo.data.audit.training import checked_audit
from medzoo.data.opened import data_digest
from medzoo.data.split import SPLIT_FILE
from medzoo.errors import UserError
from medzoo.evaluation.pipeline import judge_metrics, unseen_data
from medzoo.evaluation.record import evaluate_test_part
from medzoo.loading.load import load_cascade
from medzoo.recipe import Recipe
from medzoo.report.card import write_with_card
from medzoo.report.summary import Console
from medzoo.runtime.cascade import DETECTOR


def build_pipeline(recipe: Recipe, *, out: Path, console: Console) -> ModelFolder:
    """Write a pipeline folder: members by digest, metrics of the whole on images that no member saw.

    Raises UserError for members that are missing or do not fit, and for data that leak.
    """
    started = time.perf_counter()
    members = {role: member_folder(name, beside=out) for role, name in recipe.members.items()}
    predictor = load_cascade(recipe.name, members)
    if tuple(recipe.labels) != predictor.metadata.labels:
        raise UserError(f"{members[DETECTOR].name!r} predicts {', '.join(predictor.metadata.labels)}", "labels")
    data = unseen_data(recipe, members)
    audit = checked_audit(recipe, data)
    record = evaluate_test_part(predictor, recipe, data, console=console)
    judges = [metric.to_dict() for metric in judge_metrics(predictor, recipe, data)]
    manifest = {
        "format": 1,
        "name": recipe.name,
        "task": recipe.task,
        "labels": list(recipe.labels),
        "summary": recipe.summary,
        "intended": recipe.intended,
        "license": recipe.license,
        "members": {role: {"name": folder.name, "digest": member_digest(folder)} for role, folder in members.items()},
        "recipe_digest": recipe.digest,
        "metrics": {**record.metrics, "judges": judges},
        "operating_point": members[DETECTOR].manifest["operating_point"],
        "data": {"type": recipe.data.type, **data_digest(data.items)},
        "split": {
            "group": data.split.group,
            "digest": data.split.digest,
            **{part: len(getattr(data.split, part)) for part in ("train", "val", "test")},
        },
        "audit": {**audit.counts(), "allow_leaks": recipe.data.allow_leaks},
        "environment": environment(),
        "seed": recipe.train.seed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    files = {"recipe.yaml": recipe.resolved().encode(), SPLIT_FILE: data.split.to_bytes(), **record.files}
    return write_with_card(out, files, manifest)
