"""`medzoo reproduce`: train a model again from its own folder and compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder
from medzoo.artifact.environment import environment
from medzoo.artifact.folder import omitted_files
from medzoo.artifact.locate import find_model
from medzoo.commands.train import train
from medzoo.data.catalog import has_torch
from medzoo.errors import UserError, missing_extra
from medzoo.report.summary import Console

_PACKAGES = "package "
_MACHINE = ("python", "system", "machine", "processor", "instructions", "cores", "threads", "gpus", "cuda")
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class Reproduction:
    """The new folder, what differed before training ({name: (then, now)}), and what came of it."""

    folder: Path
    differences: Mapping[str, tuple[Any, Any]]
    weights_identical: bool
    largest_weight_difference: float | None
    metrics: Mapping[str, tuple[float | None, float | None]]

    def to_dict(self) -> dict[str, Any]:
        """The document of `reproduce --json`."""
        return {
            "folder": str(self.folder),
            "differences": {name: {"then": then, "now": now} for name, (then, now) in self.differences.items()},
            "weights_identical": self.weights_identical,
            "largest_weight_difference": self.largest_weight_difference,
            "figures": {name: {"then": then, "now": now} for name, (then, now) in self.metrics.items()},
        }

    def lines(self) -> list[str]:
        """The report as lines of text: differences first, then their effect."""
        found = [f"{name}: {then}, now {now}" for name, (then, now) in self.differences.items()]
        found = found or ["recipe, data, split, versions and hardware are unchanged"]
        if self.weights_identical:
            found.append("weights: bit-identical")
        elif self.largest_weight_difference is None:
            found.append("weights: cannot be compared (other shapes, or not in this copy)")
        else:
            found.append(f"weights: differ by up to {self.largest_weight_difference:.3g}")
        for name, (then, now) in self.metrics.items():
            if then != now:
                found.append(f"{name}: {_number(then)}, now {_number(now)}")
        if all(then == now for then, now in self.metrics.values()):
            found.append("every metric is the same")
        return [*found, f"the new model is in {self.folder}"]


def reproduce(model: str | Path, *, out: str | Path | None = None, console: Console | None = None) -> Reproduction:
    """Train MODEL again from the recipe in its folder; what differs of versions and hardware is told of at once, of
    the data once the training has read them. Raises UserError where it cannot be trained."""
    if not has_torch():
        raise missing_extra("torch", "train")
    import torch  # noqa: F401  (its threads and devices are part of the hardware)

    console = console or Console(stderr=True)
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is an ONNX file, which does not hold its recipe", str(path), "give the model folder")
    old = ModelFolder.open(path)
    if "members" in old.manifest:
        names = ", ".join(member["name"] for member in old.manifest["members"].values())
        raise UserError("is a pipeline, which has no training of its own", str(path), f"reproduce its members: {names}")
    target = Path(out) if out is not None else Path("runs") / f"{old.name}-again"
    if target.resolve() == path.resolve():
        raise UserError("is the folder of the model itself", str(target), "choose another -o")
    for name, (then, now) in differences(old.manifest, {**old.manifest, "environment": environment()}).items():
        console.print(f"{name}: {then}, now {now}", markup=False)
    run = train(old.file("recipe.yaml"), out=target, console=console)
    new = ModelFolder.open(run.folder)
    identical = old.manifest["files"][_WEIGHTS]["sha256"] == new.manifest["files"][_WEIGHTS]["sha256"]
    largest = 0.0 if identical else _largest_difference(old, new)
    return Reproduction(run.folder, differences(old.manifest, new.manifest), identical, largest, _metrics(old, new))


def _largest_difference(old: ModelFolder, new: ModelFolder) -> float | None:
    """Largest difference between the weights of two folders; None if shapes differ, or this copy lacks the old ones."""
    from safetensors.numpy import load_file

    if _WEIGHTS in omitted_files(old.path):
        return None
    one, two = (load_file(folder.file(_WEIGHTS)) for folder in (old, new))
    if {key: value.shape for key, value in one.items()} != {key: value.shape for key, value in two.items()}:
        return None
    return max(float(abs(one[key].astype(float) - two[key]).max(initial=0)) for key in one)


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Differences of two manifests by name: recipe, data, split, versions and hardware."""

    def facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
        made = manifest["environment"]
        return {
            "recipe": manifest["recipe_digest"],
            "data": manifest["data"]["sha256"],
            "split": manifest["split"]["digest"],
            "weights started from": manifest.get("model", {}).get("started_from", {}).get("sha256"),
            "seed": manifest["seed"],
            **{name: made.get(name) for name in _MACHINE},
            **{f"{_PACKAGES}{name}": version for name, version in made["packages"].items()},
        }

    one, two = facts(old), facts(new)
    # What an older manifest does not say cannot differ.
    keys = [key for key in {**one, **two} if key.startswith(_PACKAGES) or None not in (one.get(key), two.get(key))]
    return {key: (one.get(key), two.get(key)) for key in keys if one.get(key) != two.get(key)}


def _metrics(old: ModelFolder, new: ModelFolder) -> dict[str, tuple[float | None, float | None]]:
    then, now = ({f["name"]: f["value"] for f in one.manifest["metrics"]["figures"]} for one in (old, new))
    return {name: (then[name], now.get(name)) for name in then}


def _number(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
