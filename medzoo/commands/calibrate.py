"""`medzoo calibrate`: temperature, threshold, conformal sets and guard from local labelled cases; weights untouched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model, find_recipe
from medzoo.commands.guard import parent_of
from medzoo.data.catalog import catalog
from medzoo.data.dataset import Dataset, Item
from medzoo.data.opened import open_data
from medzoo.data.split import SPLIT_FILE, Split
from medzoo.errors import UserError
from medzoo.evaluation.site import answer_items, guard_at_home, local_probabilities, local_score
from medzoo.export.recalibrated import with_temperature
from medzoo.guard.wire import read_property, with_property
from medzoo.metrics.calibration import tempered
from medzoo.recipe import Recipe, load_recipe
from medzoo.report.card import write_with_card
from medzoo.report.summary import Console
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY, PRECISIONS, Metadata, OperatingPoint, graph_file
from medzoo.runtime.parity.gate import check_golden_file, dump_golden, load_golden
from medzoo.runtime.predictor import Predictor


@dataclass(frozen=True)
class SiteData:
    """Labelled items of a site, read with a recipe's data section; `source`: the file or folder that was named."""

    recipe: Recipe
    data: Dataset
    items: list[Item]
    source: str


def site_data(folder: ModelFolder, on: str | Path) -> SiteData:
    """The labelled items of a recipe, or of a folder that lies as the model's own data do.

    Items that the model was trained on are left out. The labels may be some of the model's. Raises UserError for
    others.
    """
    own = folder.file("recipe.yaml")
    if Path(on).is_dir():
        recipe = load_recipe(own, {"data.root": str(on)}, catalog=catalog())
    else:
        recipe = load_recipe(find_recipe(on), catalog=catalog())
    labels = list(folder.manifest["labels"])
    if unknown := [label for label in recipe.labels if label not in labels]:
        said = f"the data have the label {unknown[0]!r}, the model has {', '.join(labels)}"
        raise UserError(said, str(on), "give data with the model's labels, or some of them")
    opened = open_data(recipe)
    items = list(opened.items)
    if opened.split.digest == folder.manifest.get("split", {}).get("digest"):
        trained = Split.read(folder.file(SPLIT_FILE)).train
        items = [item for item in items if item.id not in set(trained)]
    return SiteData(recipe, opened.data, items, str(on))


def calibrate(
    model: str | Path, *, on: str | Path, out: str | Path | None = None, console: Console | None = None
) -> ModelFolder:
    """Write MODEL as it answers best at a site to `out` (default: NAME-local), a new folder that names its parent.

    `on`: a recipe whose data are local labelled cases, 50 to 100 of them, or a folder that lies as the model's own
    data do. Temperature, operating threshold and conformal sets of a classifier, the threshold of a detector, and the
    guard are set anew; network and weights stay as they are. Raises UserError.
    """
    console = console or Console(stderr=True)
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is an ONNX file; a new folder is made of a model folder", str(path), "give the model folder")
    folder = ModelFolder.open(path)
    if "members" in folder.manifest:
        raise UserError("is a pipeline, whose members are calibrated one by one", str(path))
    target = Path(out) if out is not None else Path(f"{folder.name}-local")
    if target.resolve() == path.resolve():
        raise UserError("is the model itself; a calibration makes another model of it", str(out), "choose another -o")
    local = site_data(folder, on)
    names = [graph_file(one) for one in PRECISIONS if graph_file(one) in folder.manifest["files"]]
    graphs = {name: folder.file(name).read_bytes() for name in names}
    made: dict[str, bytes] = {}
    facts: dict[str, Any] = {}
    for name, raw in graphs.items():
        predictor = Predictor(OnnxBackend(raw, where=name, device="cpu"))
        found = answer_items(
            predictor,
            local.data,
            local.items,
            labels=local.recipe.labels,
            group=local.recipe.data.split.group,
            watch=lambda items: track(items, "local cases", console=console),
        )
        metadata = predictor.metadata
        changes: dict[str, Any] = {}
        said: dict[str, Any] = {}
        if found.probabilities is not None:
            sets = metadata.conformal
            point = metadata.operating_point
            said = local_probabilities(
                found, rule=point.rule if point else "", coverage=sets.coverage if sets else None
            )
            raw = with_temperature(raw, said["temperature"])
        elif found.scores is not None:
            said = local_score(found)
        elif metadata.guard is None:
            raise UserError(f"{folder.name} has nothing to calibrate: no probabilities, no scores, no guard", str(path))
        changes |= _changes(metadata, said, local, len(local.items))
        if metadata.guard is not None and found.embeddings is not None:
            changes["guard"] = guard_at_home(metadata.guard, found)
        made[name] = with_property(raw, KEY, metadata.model_copy(update=changes).model_dump_json())
        facts = facts or {"items": len(local.items), "on": local.recipe.data.type, **said}
    files: dict[str, bytes | Path] = {name: folder.file(name) for name in folder.manifest["files"] if name not in made}
    if "temperature" in facts and "golden.npz" in files:
        files["golden.npz"] = _tempered_golden(folder.file("golden.npz"), facts["temperature"])
    changed = Metadata.read({KEY: read_property(made[names[0]], KEY)}, where=names[0])
    manifest = {key: value for key, value in folder.manifest.items() if key != "files"}
    manifest |= {
        "parent": parent_of(folder),
        "local": facts,
        "operating_point": changed.operating_point.model_dump() if changed.operating_point else None,
        "calibration": changed.calibration,
    }
    written = write_with_card(target, {**files, **made}, manifest)
    if "golden.npz" in files:
        for name in names:
            check_golden_file(OnnxBackend(written.file(name), device="cpu"), written.file("golden.npz"))
    return written


def _changes(metadata: Metadata, said: Mapping[str, Any], local: SiteData, count: int) -> dict[str, Any]:
    """Fields of the metadata that a site sets anew."""
    changes: dict[str, Any] = {}
    if "threshold" in said:
        rule = f"{said['rule']}: on {count} local items of {local.recipe.data.type}"
        changes["operating_point"] = OperatingPoint(threshold=float(np.clip(said["threshold"], 0, 1)), rule=rule)
    stored = dict(metadata.calibration or {})
    if "temperature" in said:
        before = float(stored.get("local_temperature", 1.0))
        stored |= {
            "local_temperature": before * said["temperature"],
            "method": "temperature scaling on local items",
            "items": count,
        }
        stored.pop("temperature", None)
    if "conformal" in said:
        stored["conformal"] = {**said["conformal"], "method": "split conformal, least sets, on local items"}
    changes["calibration"] = stored or None
    return changes


def _tempered_golden(path: Path, temperature: float) -> bytes:
    """The golden file with PyTorch's probabilities at the local temperature."""
    goldens, answers = load_golden(path.read_bytes())
    changed = [
        {**one, "probabilities": tempered(one["probabilities"], temperature).astype(np.float32)} for one in answers
    ]
    return dump_golden(goldens, changed)
