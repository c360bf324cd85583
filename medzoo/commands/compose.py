"""A recipe of `members`: a pipeline folder that names its member models by digest, measured as a whole."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo.artifact import MANIFEST, ModelFolder, write_folder
from medzoo.artifact.environment import environment
from medzoo.commands.audit import checked_audit
from medzoo.commands.locate import zoo
from medzoo.data.catalog import catalog
from medzoo.data.dataset import Objects
from medzoo.data.opened import OpenData, data_digest, open_data
from medzoo.data.split import SPLIT_FILE, Split, split_digest
from medzoo.errors import UserError
from medzoo.metrics import ClassifyScores
from medzoo.metrics.match import iou
from medzoo.recipe import Recipe, load_recipe
from medzoo.report.card import render_card
from medzoo.report.console import Console
from medzoo.results import Detections
from medzoo.runtime.cascade import FINDER, Cascade

if TYPE_CHECKING:
    from medzoo.metrics import Figure


def member_folder(name: str, *, beside: Path, digest: str | None = None) -> ModelFolder:
    """A member model: a folder of that name beside the pipeline, or in the zoo.

    Raises UserError where there is none, or (`digest`: see member_digest) it is another version.
    """
    places = [beside.parent / name, *([zoo()[name]] if name in zoo() else [])]
    found = [place for place in places if (place / MANIFEST).is_file()]
    if not found:
        raise UserError(f"the member model {name!r} is not here", str(beside), f"medzoo fetch {name}, or train it")
    for place in found:
        folder = ModelFolder.open(place)
        if digest is None or member_digest(folder) == digest:
            return folder
    raise UserError(
        f"the member model {name!r} at {found[0]} is not the version that the pipeline names",
        str(beside),
        "fetch that version, or make the pipeline again with: medzoo train",
    )


def member_digest(folder: ModelFolder) -> str:
    """What names a member's version: the SHA-256 of its graph, which holds weights, preprocessing, labels and
    threshold. A figure that is measured later, as its speed, leaves the version as it is. Raises UserError."""
    if "members" in folder.manifest:
        raise UserError("is a pipeline itself, and cannot be the member of one", where=str(folder.path))
    return str(folder.manifest["files"]["model.onnx"]["sha256"])


def pipeline_members(folder: ModelFolder) -> dict[str, ModelFolder]:
    """The members of a pipeline folder by role, their digests checked. Raises UserError, see member_folder."""
    return {
        role: member_folder(member["name"], beside=folder.path, digest=member["digest"])
        for role, member in folder.manifest["members"].items()
    }


def cascade(
    name: str, members: Mapping[str, ModelFolder], *, threshold: float | None = None, **options: Any
) -> Cascade:
    """The pipeline that predicts. `options` go to `load`. Raises UserError for members that do not fit."""
    from medzoo.commands.model import load

    return Cascade.of(name, {role: load(one.path, **options) for role, one in members.items()}, threshold=threshold)


def unseen_data(recipe: Recipe, members: Mapping[str, ModelFolder]) -> OpenData:
    """The recipe's data with a test part that no member was trained or tuned on. Raises UserError if none is left."""
    data = open_data(recipe)
    seen: set[str] = set()
    for folder in members.values():
        theirs = _split_of(folder)
        seen |= {_picture(item) for item in (*theirs.train, *theirs.val)}
    test = tuple(item for item in data.split.test if _picture(item) not in seen)
    if not test:
        raise UserError("every test image was seen by one of the members", recipe.source, "give them one split")
    parts: dict[Any, tuple[str, ...]] = {"train": data.split.train, "val": data.split.val, "test": test}
    return replace(data, split=replace(data.split, test=test, digest=split_digest(parts)))


def _split_of(folder: ModelFolder) -> Split:
    if SPLIT_FILE in folder.manifest["files"]:
        return Split.read(folder.file(SPLIT_FILE))
    return open_data(load_recipe(folder.file("recipe.yaml"), catalog=catalog())).split


def _picture(item: str) -> str:
    """The image of an item, which may be one of several masses on it."""
    return item.split("#")[0]


def compose(recipe: Recipe, *, out: Path, console: Console) -> ModelFolder:
    """Write a pipeline folder: members by digest, figures of the whole on images that no member saw."""
    from medzoo.commands.assess import assess

    started = time.perf_counter()
    members = {role: member_folder(name, beside=out) for role, name in recipe.members.items()}
    predictor = cascade(recipe.name, members)
    if tuple(recipe.labels) != predictor.metadata.labels:
        raise UserError(f"{members[FINDER].name!r} answers {', '.join(predictor.metadata.labels)}", "labels")
    data = unseen_data(recipe, members)
    audit = checked_audit(recipe, data)
    found = assess(predictor, recipe, data, console=console)
    judged = [figure.to_dict() for figure in judges_figures(predictor, recipe, data)]
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
        "metrics": {**found.metrics, "judges": judged},
        "operating_point": members[FINDER].manifest["operating_point"],
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
    return write_folder(
        out,
        {
            "recipe.yaml": recipe.resolved().encode(),
            SPLIT_FILE: data.split.to_bytes(),
            **found.files,
            "README.md": render_card(manifest).encode(),
        },
        manifest,
    )


def judges_figures(predictor: Cascade, recipe: Recipe, data: OpenData) -> list[Figure]:
    """How well each judge tells the classes of the lesions that were found (IoU >= 0.5, at the operating threshold)."""
    scores: dict[str, ClassifyScores] = {}
    for item in data.part("test"):
        sample = data.data.load(item)
        assert isinstance(sample.target, Objects)
        answer = predictor.predict(sample.image)
        assert isinstance(answer, Detections)
        if not len(answer.boxes) or not len(sample.target.boxes):
            continue
        overlap = iou(np.asarray(answer.boxes, float), np.asarray(sample.target.boxes, float)).max(axis=1)
        best = int(overlap.argmax())
        if overlap[best] < 0.5:
            continue
        for role, judge in predictor.judges.items():
            labels = list(judge.metadata.labels)
            answered = answer.details[best]["members"].get(judge.metadata.name)
            if answered is None or item.stratum not in labels:
                continue
            mine = scores.setdefault(role, ClassifyScores(_classes(labels), ("auc",), seed=recipe.train.seed))
            pair = np.array([answered[label] for label in mine.labels])
            mine.add(
                mine.labels.index(item.stratum),
                (pair / pair.sum()).tolist(),
                item=item.id,
                group=item.groups.get(recipe.data.split.group),
            )
    return [
        replace(figure, name=f"{role}/{figure.name}", protocol=f"{figure.protocol}; lesions found at IoU >= 0.5")
        for role, one in scores.items()
        for figure in one.figures()
    ]


def _classes(labels: list[str]) -> list[str]:
    """The labels that a lesion can have: "normal" is a picture without one."""
    return [label for label in labels if label != "normal"]
