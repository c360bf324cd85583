"""`medzoo ensemble`: the folds of a cross-validation of a segmenter as one model, so as one ONNX file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder
from medzoo.artifact.environment import environment
from medzoo.data.catalog import Catalog, has_torch
from medzoo.data.split import SPLIT_FILE
from medzoo.errors import UserError, missing_extra
from medzoo.metrics import Scores, read_scores, restore_records
from medzoo.metrics.scores import FILE
from medzoo.recipe import Recipe, load_recipe
from medzoo.report.card import write_with_card
from medzoo.runtime.backends.onnx import read_metadata
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.parity.gate import load_golden

_SHARED = ("task", "labels", "summary", "intended", "license", "data", "audit", "operating_point")


def ensemble(folds: str | Path, *, out: str | Path) -> ModelFolder:
    """Make one model folder in `out` of the folds in `folds` (what `medzoo train --folds K` writes).

    The graph averages the probabilities of all members. Its metrics are those of the cross-validation: every item
    answered by the one member that had not seen it. A rule on components stays where all folds chose it. Raises
    UserError for folds that do not belong together, or an export that differs from torch.
    """
    if not has_torch():
        raise missing_extra("torch", "ensemble")
    from medzoo.export.checked import export_checked
    from medzoo.nn.weights import build_net, load_weights, round_weights, weights_bytes

    started = time.perf_counter()
    folders = _folds(Path(folds))
    recipe = _common_recipe(folders)
    net = build_net(recipe, fresh=False)
    for member, folder in zip(net.parts, folders, strict=True):
        load_weights(member, folder.file("model.safetensors"))
    net.eval()
    halved = recipe.export.store == "fp16"
    if halved:
        round_weights(net)
    stored = [read_metadata(folder.file("model.onnx")) for folder in folders]
    metadata = stored[0].model_copy(update={"recipe_digest": recipe.digest, "calibration": _common_rules(stored)})
    golden = [one for folder in folders for one in load_golden(folder.file("golden.npz").read_bytes())[0]]
    golden = list({one.name: one for one in golden}.values())
    exported = export_checked(net, metadata, golden, where=str(Path(out) / "model.onnx"), halved=halved)
    scores = _pooled(folders)
    first = folders[0].manifest
    manifest: dict[str, Any] = {
        "format": 1,
        "name": recipe.name,
        **{key: first[key] for key in _SHARED if key in first},
        "model": {"type": recipe.model.type, "parameters": sum(p.numel() for p in net.parameters())},
        "recipe_digest": recipe.digest,
        "metrics": {
            "split": "held-out fold",
            "scored": first["metrics"].get("scored", ""),
            "items": len(scores.items),
            "figures": [metric.to_dict() for metric in scores.metrics()],
        },
        "parity": exported.parity,
        "calibration": metadata.calibration,
        "split": {**first["split"], "folds": len(folders)},
        "training": {
            **first["training"],
            "steps": sum(folder.manifest["training"]["steps"] for folder in folders),
            "seconds": sum(folder.manifest["training"]["seconds"] for folder in folders),
        },
        "environment": environment(),
        "seed": recipe.train.seed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    files: dict[str, bytes | Path] = {
        "recipe.yaml": recipe.resolved().encode(),
        "model.safetensors": weights_bytes(net, halved=halved),
        "model.onnx": exported.onnx,
        "golden.npz": exported.golden,
        SPLIT_FILE: folders[0].file(SPLIT_FILE),
        FILE: scores.to_bytes(),
    }
    return write_with_card(Path(out), files, manifest)


def _folds(place: Path) -> list[ModelFolder]:
    found = sorted(place.glob("fold-*"), key=lambda path: (len(path.name), path.name))
    if len(found) < 2:
        way = "give the folder that medzoo train RECIPE --folds K wrote"
        raise UserError(f"holds {len(found)} folds, an ensemble needs two or more", str(place), way)
    return [ModelFolder.open(path) for path in found]


def _common_recipe(folders: Sequence[ModelFolder]) -> Recipe:
    """The recipe of all folds, with as many members. Raises UserError where one was trained by another recipe."""
    apart = [f"model.members={len(folders)}", "data.split.fold=0"]
    if folders[0].manifest["task"] != "segment":
        way = "a classifier is trained as one with model.members"
        raise UserError("only segmenters are joined from folds", str(folders[0].path), way)
    recipes = [load_recipe(folder.file("recipe.yaml"), apart, catalog=Catalog()) for folder in folders]
    for folder, recipe in zip(folders, recipes, strict=True):
        if recipe.digest != recipes[0].digest:
            raise UserError("was trained by another recipe than the first fold", str(folder.path), "train it again")
    return recipes[0]


def _common_rules(stored: Sequence[Metadata]) -> dict[str, Any] | None:
    """The first fold's calibration, with the rules on components that every fold has."""
    calibration = stored[0].calibration
    if calibration is None or "components" not in calibration:
        return calibration
    kept = [rule for rule in stored[0].components if all(rule in one.components for one in stored)]
    items = sum(int((one.calibration or {}).get("components_items", 0)) for one in stored)
    return {**calibration, "components": [rule.model_dump() for rule in kept], "components_items": items}


def _pooled(folders: Sequence[ModelFolder]) -> Scores:
    """The scores of all folds as one."""
    parts = [read_scores(folder.file(FILE)) for folder in folders]
    everything = Scores(parts[0].scope)
    for part in parts:
        everything.facts.update(part.facts)
        for protocol, scores in part.protocols.items():
            restore_records(everything.accumulator_of(protocol), scores.records())
    return everything
