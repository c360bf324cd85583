"""`medzoo train`: recipe -> data -> fit -> export through the gate -> evaluation -> model folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import track

from medzoo import registry
from medzoo.artifact import ModelFolder
from medzoo.artifact.environment import environment, installed_version
from medzoo.artifact.folder import finish_replacing, refuse_foreign_files
from medzoo.artifact.locate import find_recipe
from medzoo.commands.guard import guard_graphs
from medzoo.commands.plan import MINUTES, is_dataset, keep_plan, plan_text
from medzoo.commands.train_parent import beside_parent, inherited_weights, with_parent
from medzoo.data.audit.training import checked_audit, without_unreadable
from medzoo.data.catalog import Catalog, has_torch
from medzoo.data.opened import OpenData, data_digest, open_data
from medzoo.data.split import SPLIT_FILE
from medzoo.errors import UserError, missing_extra
from medzoo.evaluation.record import evaluate_test_part
from medzoo.evaluation.worst import FILES as WORST_FILES
from medzoo.export.precision import LowPrecisionExport, export_low_precision
from medzoo.metrics.scores import FILE as SCORES_FILE
from medzoo.recipe import Recipe, load_recipe, read_recipe_text
from medzoo.report.card import write_with_card
from medzoo.report.summary import Console
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import PRECISIONS, Metadata, OperatingPoint, Precision, graph_file
from medzoo.runtime.parity.gate import Golden
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.value_range import unusual_range
from medzoo.training.run_folder import check_resume, lock_run

if TYPE_CHECKING:
    from medzoo.export.checked import Exported
    from medzoo.training.fit import Launcher

CURVE_FILE = "learning-curve.png"  # as medzoo.training.curve, which needs torch


# What a training may write into its model folder; of an ensemble each member has a curve of its own.
_WRITTEN = (
    "recipe.yaml",
    "README.md",
    "model.safetensors",
    *map(graph_file, PRECISIONS),
    "golden.npz",
    SPLIT_FILE,
    SCORES_FILE,
    *WORST_FILES,
    CURVE_FILE,
    *(f"member-{number}/{CURVE_FILE}" for number in range(100)),
)


@dataclass(frozen=True)
class Run:
    """A finished training: its model folder and the manifest in it."""

    folder: Path
    manifest: Mapping[str, Any]


def train(
    recipe: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    console: Console | None = None,
    launcher: Launcher | None = None,
    minutes: float = MINUTES,
    task: str | None = None,
    parent: str | None = None,
    freeze: Sequence[str] = (),
) -> Run:
    """Train a recipe and leave a model folder in `out` (default runs/NAME).

    A folder of images with labels, or a file that describes one, is planned first (medzoo.commands.plan), for a
    training of `minutes`, and of `task` where several are possible; the plan is kept as training/plan.yaml, and a
    resumed run takes it from there.

    `parent`: a trained model whose weights it begins with (train.parent, train.freeze); of a folder, the plan takes
    preprocessing and model from it too. The manifest then sets both side by side on the same items.
    `resume`: go on from the newest whole state there, as a job does that SLURM or torchrun started again; a run of
    another recipe, other data or other versions is refused, unless `force`. Raises UserError for every fault of the
    recipe at once, data that do not fit, a loss that is not finite, an export that differs from torch, or a folder
    that cannot be written or is in use.
    `launcher`: how the processes of this training are launched, where not by Lightning; whoever launched them holds the
    folder (medzoo.training.launch).

    >>> run = medzoo.train("recipe.yaml", {"train.epochs": 2}, out="runs/mine")
    >>> run.manifest["task"]
    'classify'
    """
    if not has_torch():
        raise missing_extra("torch", "train")
    from medzoo.training.processes import is_main_process, is_restarted

    console = console or Console(stderr=True)
    planned: str | None = None
    overrides = with_parent(overrides, parent, freeze)
    if is_dataset(recipe):
        planned = plan_text(
            Path(recipe), out=out, resume=resume, minutes=minutes, task=task, console=console, parent=parent
        )
        loaded = read_recipe_text(planned, f"{recipe} (planned)", overrides, catalog=Catalog())
    else:
        loaded = load_recipe(find_recipe(recipe), overrides, catalog=Catalog())
    for line in loaded.deprecations if is_main_process() else ():
        console.print(f"warning: {line}", markup=False)
    folder = Path(out) if out is not None else Path("runs") / loaded.name
    check_writable(folder)
    if planned is not None:
        keep_plan(folder, planned)
    if loaded.members:
        from medzoo.commands.train_pipeline import build_pipeline

        if not is_main_process():
            raise SystemExit(0)
        console.print(f"[bold]{loaded.name}[/]: {', '.join(loaded.members.values())}")
        return Run(folder, build_pipeline(loaded, out=folder, console=console).manifest)
    resume = resume or is_restarted()
    with lock_run(folder) if launcher is None else nullcontext():
        return _train(loaded, folder, resume=resume, force=force, console=console, launcher=launcher)


def _train(
    loaded: Recipe, folder: Path, *, resume: bool, force: bool, console: Console, launcher: Launcher | None
) -> Run:
    from medzoo.export.checked import export_checked
    from medzoo.nn.weights import build_net, round_weights, starting_weights, weights_bytes
    from medzoo.training.autotune import autotune
    from medzoo.training.closed_form import fit_both, fit_closed_form
    from medzoo.training.curve import FILE as CURVE
    from medzoo.training.fit import fit_gradient
    from medzoo.training.launch import launch_local
    from medzoo.training.loggers import check_loggers
    from medzoo.training.processes import is_main_process

    started = time.perf_counter()
    check_loggers(loaded.train.logger)
    console.print(f"[bold]{loaded.name}[/]: reading {loaded.data.type}")
    data = open_data(loaded)
    # Data that leak or cannot be read are refused before anything is written.
    audit = checked_audit(loaded, data)
    for warning in audit.warnings():
        console.print(f"data: {warning}", markup=False)
    data = without_unreadable(loaded, data, audit, say=lambda text: console.print(text, markup=False))
    digest = data_digest(data.items)
    net = build_net(loaded)
    start = starting_weights(loaded)
    inherited = inherited_weights(net, loaded, console=console)
    asked = loaded.digest if loaded.train.find else None
    loaded = autotune(loaded, net, data, folder=folder, resume=resume, console=console)
    facts = {
        "recipe_digest": loaded.digest,
        "data_sha256": digest["sha256"],
        "split_digest": data.split.digest,
        **({"weights_sha256": start["sha256"]} if start else {}),
        **({"parent_sha256": inherited.digest} if inherited else {}),
        "medzoo": installed_version("medzoo"),
        "torch": installed_version("torch"),
    }
    check_resume(folder, facts, resume=resume, force=force, recipe=loaded.resolved(), asked=asked)
    loaders = net.training_input.open(net.geometry, loaded, data)
    work = folder / "training"
    learns = registry.entry("model", loaded.model.type).learns
    how: dict[str, Any] = {
        "folder": work,
        "console": console,
        "resume": resume,
        "name": loaded.name,
        "launcher": launcher or launch_local,
    }
    if learns == "both":
        assert loaders.solve_on is not None
        report = fit_both(net, loaded.train, loaders.train, loaders.val, loaders.solve_on, loaders.calibrate_on, **how)
    elif learns == "gradient":
        report = fit_gradient(net, loaded.train, loaders.train, loaders.val, **how)
    else:
        report = fit_closed_form(net, loaders.train)

    if not is_main_process():
        raise SystemExit(0)  # of processes that a launcher started the first alone writes, whatever was trained
    console.print("exporting to ONNX, and comparing its outputs with torch's")
    golden = loaders.golden()
    metadata = _metadata(loaded, net, golden, data)
    halved = loaded.export.store == "fp16"
    if halved:
        round_weights(net)
    if net.chooses_components:
        metadata = _with_components(metadata, net, data, console=console)
    exported = export_checked(net, metadata, golden, where=str(folder / "model.onnx"), halved=halved)

    predictor = Predictor(OnnxBackend(exported.onnx, where="model.onnx", device="cpu"))
    record = evaluate_test_part(predictor, loaded, data, console=console)
    beside = beside_parent(loaded, data, record, console=console) if inherited else None
    fewer = _low_precision_exports(loaded, data, exported, net, metadata, folder=folder, console=console)
    graphs = {"model.onnx": exported.onnx, **{graph_file(name): one.onnx for name, one in fewer.items()}}
    graphs, guarded = guard_graphs(
        graphs, data, example=exported.inputs[0].inputs, seed=loaded.train.seed, console=console
    )
    manifest = {
        "format": 1,
        "name": loaded.name,
        "task": loaded.task,
        "labels": list(loaded.labels),
        "summary": loaded.summary,
        "intended": loaded.intended,
        "license": loaded.license,
        "model": {
            "type": loaded.model.type,
            "parameters": sum(p.numel() for p in net.parameters()),
            **({"started_from": start} if start else {}),
            **({"parent": inherited.to_dict()} if inherited else {}),
        },
        "recipe_digest": loaded.digest,
        "metrics": record.metrics,
        **({"beside": beside} if beside else {}),
        "parity": exported.parity,
        **({"precisions": {name: one.report for name, one in fewer.items()}} if fewer else {}),
        "operating_point": metadata.operating_point.model_dump() if metadata.operating_point else None,
        "calibration": metadata.calibration,
        **({"guard": guarded} if guarded else {}),
        "data": {"type": loaded.data.type, **digest},
        "split": _split(data),
        "audit": {**audit.counts(), "allow_leaks": loaded.data.allow_leaks},
        "training": report.to_dict(),
        "environment": environment(),
        "seed": loaded.train.seed,
        "seconds": round(time.perf_counter() - started, 1),
    }
    written = write_with_card(
        folder,
        {
            "recipe.yaml": loaded.resolved().encode(),
            "model.safetensors": weights_bytes(net, halved=halved),
            **graphs,
            "golden.npz": exported.golden,
            SPLIT_FILE: data.split.to_bytes(),
            **record.files,
            **{path.relative_to(work).as_posix(): path for path in sorted(work.rglob(CURVE))},
        },
        manifest,
    )
    return Run(folder, written.manifest)


def _low_precision_exports(
    recipe: Recipe, data: OpenData, exported: Exported, net: Any, metadata: Metadata, *, folder: Path, console: Console
) -> dict[Precision, LowPrecisionExport]:
    """The exports beside float32 that the recipe asks for. Raises UserError if one does not pass its gate."""
    found: dict[Precision, LowPrecisionExport] = {}
    for precision in recipe.export.precision:
        if precision == "fp32":
            continue
        from medzoo.nn.torch_backend import TorchBackend

        console.print(f"exporting in {precision}, and counting what that costs on the validation part")
        found[precision] = export_low_precision(
            precision,
            exported.onnx,
            recipe=recipe,
            data=data,
            reference=TorchBackend(net, metadata, device="cpu"),
            golden=exported.inputs,
            where=str(folder / graph_file(precision)),
        )
    return found


def _with_components(metadata: Metadata, net: Any, data: OpenData, *, console: Console) -> Metadata:
    """The metadata with the rules on components that are best on the validation part. Raises UserError without one."""
    from medzoo.evaluation.components import choose_rules
    from medzoo.nn.torch_backend import TorchBackend

    items = data.part("val")
    if not items:
        way = "give data.split.val a share, or set model.components: none"
        raise UserError("components are chosen on the validation part, which is empty", "model.components", way)
    predictor = Predictor(TorchBackend(net, metadata, device="cpu"))
    rules = choose_rules(predictor, data.data, items, watch=lambda items: track(items, "components", console=console))
    found = {"components": [rule.model_dump() for rule in rules], "components_items": len(items)}
    return metadata.model_copy(update={"calibration": (metadata.calibration or {}) | found})


def _metadata(recipe: Recipe, net: Any, seen: Sequence[Golden], data: OpenData) -> Metadata:
    """`seen`: golden inputs from the data, which tell 8-bit data from 16-bit ones."""
    point = net.operating_point
    lowest, highest = net.training_input.value_range(data, seen)
    return Metadata(
        name=recipe.name,
        task=recipe.task,
        labels=tuple(recipe.labels),
        inputs=net.inputs,
        outputs=net.outputs,
        host=tuple(step.model_dump() for step in recipe.host_steps),
        geometry=net.geometry,
        operating_point=OperatingPoint(threshold=point[0], rule=point[1]) if point else None,
        calibration=net.calibration,
        bits=16 if highest > 255 else 8,
        values=unusual_range(lowest, highest),
        phases=net.phases,
        recipe_digest=recipe.digest,
        medzoo=installed_version("medzoo") or "",
    )


def _split(data: OpenData) -> dict[str, Any]:
    split = data.split
    return {
        "group": split.group,
        "digest": split.digest,
        "train": len(split.train),
        "val": len(split.val),
        "test": len(split.test),
    }


def check_writable(folder: Path) -> None:
    """Raise UserError before a training, not after it, if the folder cannot be written or holds other files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(folder), hint="choose another -o") from error
    finish_replacing(folder)
    refuse_foreign_files(folder, _WRITTEN)


__all__ = ["ModelFolder", "Run", "train"]
