"""`medzoo list` and `medzoo show`: the models on this machine, and the card of one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medzoo import registry
from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model, zoo_models, zoo_recipes
from medzoo.artifact.manifest import is_non_commercial
from medzoo.runtime.backends.onnx import read_metadata


def list_all() -> dict[str, Any]:
    """Zoo models on this machine with their first metric, recipes, and the registered types."""
    models = []
    for name, path in zoo_models().items():
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        metrics = manifest["metrics"]["figures"]
        models.append({
            "name": name,
            "task": manifest["task"],
            "labels": manifest["labels"],
            "input": describe_input(manifest),
            "data": manifest["data"]["type"],
            "measured_on": describe_evaluation(manifest),
            "figure": metrics[0] if metrics else None,
            "bytes": sum(facts["bytes"] for facts in manifest["files"].values()),
            "license": manifest.get("license", ""),
            "non_commercial": is_non_commercial(manifest.get("license", "")),
        })  # fmt: skip
    return {
        "models": models,
        "recipes": list(zoo_recipes()),
        "model_types": list(registry.names("model")),
        "data_types": list(registry.names("data")),
    }


def show(model: str | Path) -> dict[str, Any]:
    """The card, inputs, outputs, metrics and provenance of one model."""
    path = find_model(model)
    if path.is_file():
        return {"model": _described(path)}
    folder = ModelFolder.open(path)
    document: dict[str, Any] = {
        "card": folder.file("README.md").read_text(encoding="utf-8"),
        "manifest": dict(folder.manifest),
    }
    if "model.onnx" in folder.manifest["files"]:
        document["model"] = _described(folder.file("model.onnx"))
    return document


def _described(path: Path) -> dict[str, Any]:
    """The metadata of an ONNX file, and of its guard what can be read."""
    found = read_metadata(path).model_dump()
    if found.get("guard"):
        read = ("items", "unsure", "refuse", "size", "spacing", "rates")
        found["guard"] = {name: found["guard"][name] for name in read}
    return found


def describe_input(manifest: Mapping[str, Any]) -> str:
    """Describe a model's input in a few words for tables."""
    kind = manifest["data"]["type"]
    words = (registry.entry("data", kind).image if kind in registry.names("data") else "") or kind
    by_itself = any(metric["name"].startswith("machine-outline/") for metric in manifest["metrics"]["figures"])
    return f"{words}, alone or with an outline or box" if by_itself else str(words)


def describe_evaluation(manifest: Mapping[str, Any]) -> str:
    """Describe the data of a model's evaluation in a few words for tables."""
    metrics = manifest["metrics"]
    return f"{manifest['data']['type']} {metrics['split']}, {metrics['items']} items"
