"""`medzoo export`: weights to ONNX again, through the parity gate; or a Triton model repository."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from medzoo.artifact import MANIFEST, ModelFolder
from medzoo.artifact.locate import find_model
from medzoo.artifact.pipeline import pipeline_members
from medzoo.data.catalog import catalog
from medzoo.errors import UserError
from medzoo.export.checked import export_checked
from medzoo.export.guarded import add_guard, guarded_as, without_guard
from medzoo.export.triton import write_pipeline, write_repository
from medzoo.io.atomic import atomic_write, protect_inputs
from medzoo.loading.backend import torch_backend
from medzoo.recipe import load_recipe
from medzoo.report.card import update_folder
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Precision, graph_file
from medzoo.runtime.parity.gate import check_golden_file


def export(
    model: str | Path,
    *,
    out: str | Path | None = None,
    precision: Precision = "fp32",
    say: Callable[[str], None] | None = None,
) -> Path:
    """Write `out`/NAME.onnx, or NAME.PRECISION.onnx (default: the current folder), from a model folder's recipe
    and safetensors.

    The graph is compared with torch on fresh probes and with the answers stored in the folder; one of fewer bits
    is made from the folder's own ONNX file and compared on validation data as well, where its metric may fall no
    further than stated. If `out` is the model folder itself, the file becomes part of it: in its manifest and its
    card. bf16 has no file: torch computes in it, and the model folder says what that loses. `say` is told what
    fewer bits lose. Raises UserError, and leaves no file, if anything differs by more than is allowed.
    """
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is not a model folder, so it cannot be exported", where=str(path))
    folder = ModelFolder.open(path)
    home = Path(out or ".")
    inside = home.resolve() == path.resolve()
    if precision == "fp32":
        if inside:
            raise UserError("the model folder already has its float32 file", where=str(path), hint="choose another -o")
        target = home / f"{folder.name}.onnx"
        _protect_folder(target, folder)
        return _write(target, _export_anew(folder, str(target)))
    if precision == "bf16" and not inside:
        raise UserError(
            "bf16 is not written as a file of its own",
            where=str(path),
            hint=f"record it in the model folder: -o {path}",
        )
    target = home / (graph_file(precision) if inside else f"{folder.name}.{precision}.onnx")
    if not inside:
        _protect_folder(target, folder)
    made = _low_precision(folder, precision, where=str(target), say=say)
    if say is not None:
        metric = made.report["metric"]
        say(
            f"{metric['name']} on {metric['items']} validation items: {metric['fp32']:.4f} in float32, "
            f"{metric[precision]:.4f} in {precision}, loss {metric['loss']:.4f}, allowed {metric['allowed']:g}"
        )
    if not inside:
        return _write(target, made.onnx)
    reports = {**folder.manifest.get("precisions", {}), precision: made.report}
    update_folder(folder, files={target.name: made.onnx} if made.onnx else None, precisions=reports)
    return target if made.onnx else path


def export_triton(model: str | Path, *, out: str | Path | None = None, precision: Precision = "fp32") -> Path:
    """Write the model's folders (of a pipeline: also its members' graphs) into `out` (default: triton) and return it.

    Raises UserError.
    """
    path = find_model(model)
    repository = Path(out or "triton")
    if not path.is_dir():
        write_repository(path, repository)
        return repository
    folder = ModelFolder.open(path)
    if "members" in folder.manifest:
        members = pipeline_members(folder)
        graphs = {role: member.file(graph_file(precision)) for role, member in members.items()}
        write_pipeline(folder.name, graphs, repository)
    else:
        write_repository(folder.file(graph_file(precision)), repository)
    return repository


def _protect_folder(target: Path, folder: ModelFolder) -> None:
    """Raises UserError if `target` is one of the folder's own files, through a link too."""
    protect_inputs(target, *(folder.path / name for name in (*folder.manifest["files"], MANIFEST)))


def _export_anew(folder: ModelFolder, where: str) -> bytes:
    backend = torch_backend(folder, device="cpu")
    store = load_recipe(folder.file("recipe.yaml"), catalog=catalog()).export.store
    metadata = backend.metadata.model_copy(update={"guard": None})
    exported = export_checked(backend.net, metadata, [], where=where, halved=store == "fp16")
    made = guarded_as(exported.onnx, folder.file(graph_file("fp32")).read_bytes(), where=where)
    check_golden_file(OnnxBackend(made, where=where, device="cpu"), folder.file("golden.npz"))
    return made


def _low_precision(folder: ModelFolder, precision: Precision, *, where: str, say: Callable[[str], None] | None) -> Any:
    from medzoo.data.audit.training import as_trained
    from medzoo.data.opened import open_data
    from medzoo.export.precision import LowPrecisionExport, export_low_precision, measured_bf16
    from medzoo.runtime.parity.gate import load_golden

    reference = torch_backend(folder, device="cpu")
    recipe = load_recipe(folder.file("recipe.yaml"), catalog=catalog())
    data = open_data(recipe)
    if data.split.digest != folder.manifest["split"]["digest"]:
        raise UserError(
            "the data are now split differently from the training, so the loss of precision cannot be measured on them",
            where=str(folder.path),
        )
    data = as_trained(recipe, data, say=say or (lambda _: None))
    golden, _ = load_golden(folder.file("golden.npz").read_bytes())
    if precision == "bf16":
        fewer = torch_backend(folder, device="cpu", bf16=True)
        return LowPrecisionExport(
            b"", measured_bf16(reference, fewer, recipe=recipe, data=data, golden=golden, where=where)
        )
    raw = folder.file(graph_file("fp32")).read_bytes()
    bare = without_guard(raw)
    made = export_low_precision(
        precision, bare, recipe=recipe, data=data, reference=reference, golden=golden, where=where
    )
    if bare == raw:
        return made
    # Its arithmetic changes the embedding, so it has a guard of its own.
    return replace(made, onnx=add_guard(made.onnx, data, example=golden[0].inputs, where=where))


def _write(target: Path, raw: bytes) -> Path:
    return atomic_write(target, lambda file: file.write(raw))
