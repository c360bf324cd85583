"""The command predict."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medzoo.cli.arguments import (
    Backend,
    CudaGraphs,
    Device,
    Engines,
    Gpu,
    GpuMemory,
    Json,
    Model,
    gpu_options,
    numbers,
    one_of,
)
from medzoo.cli.terminal import debugging, print_json, print_message, print_result, show_traceback
from medzoo.errors import UnexpectedError, UserError
from medzoo.escape import escaped

if TYPE_CHECKING:
    from medzoo.report.volume_progress import VolumeProgress


def predict(
    model: Model,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images, scans, DICOM folders; sequences of a scan as A,B; volume or frame N of a file, from 0, as "
            "FILE#N.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Output folder.")] = Path("predictions"),
    threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Operating threshold in place of the stored one.")
    ] = None,
    mask: Annotated[str | None, typer.Option(metavar="FILE", help="Mask of the mass in a single INPUT.")] = None,
    box: Annotated[
        str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="Box around the mass in a single INPUT.")
    ] = None,
    tile: Annotated[
        str | None, typer.Option(metavar="H,W", help="Tile size for large pictures, in pixels; or auto.")
    ] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16, int8, or bf16 (torch).")] = "auto",
    gpu: Gpu = None,
    gpu_memory_mb: GpuMemory = None,
    cuda_graphs: CudaGraphs = False,
    engines: Engines = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Batch size, for inputs of one size.")] = None,
    time_limit: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Limit of computing time per input.")
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Also draw each result as PNG.")] = True,
    surfaces: Annotated[
        bool, typer.Option("--surfaces", help="Also write the surfaces of a scan and its tissues, as GLB and PNG.")
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="auto, nifti, labels, dicom-seg, dicom-sr, coco, geojson, csv, png, yolo, labelme or labelstudio.",
        ),
    ] = "auto",
    components: Annotated[
        bool, typer.Option("--components", help="Measure the connected parts of each label of a mask.")
    ] = False,
    annotations: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="With --format coco: take the ids of this COCO file; results.json is then for loadRes."
        ),
    ] = None,
    deidentify: Annotated[
        bool, typer.Option("--deidentify", help="Remove names, dates and identifiers from the outputs.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local, or ray: folders of scans over a Ray cluster.")] = "local",
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw saliency maps of a classifier; needs PyTorch.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also answer inputs that are not what the model was trained on.")
    ] = False,
    progress: Annotated[
        bool | None, typer.Option(help="Show the progress of volumes on stderr; by default on a terminal.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Predict images: masks, boxes or probabilities, and a picture of each result."""
    from medzoo.escape import is_formula

    options: dict[str, Any] = {"mask": mask} if mask is not None else {}
    if box is not None:
        options["box"] = numbers("--box", box, 4)
    if options and len(inputs) > 1:
        raise UserError("a mask or a box applies to a single INPUT", where=f"--{next(iter(options))}")
    if tile is not None:
        options["tile"] = True if tile == "auto" else numbers("--tile", tile, 2)
    if anyway:
        options["anyway"] = True
    load_options = {
        "backend": one_of("--backend", backend, ("auto", "onnx", "torch")),
        "device": one_of("--device", device, ("auto", "cpu", "cuda", "tensorrt")),
        "precision": one_of("--precision", precision, ("auto", "fp32", "fp16", "int8", "bf16")),
        "threshold": threshold,
        "gpu": gpu_options(
            number=gpu, memory_mb=gpu_memory_mb, graphs=cuda_graphs, engines=engines, precision=precision
        ),
        "time_limit": time_limit,
    }
    files: dict[str, Any] = {"out": out, "pictures": pictures}
    digested = as_json and not deidentify  # a digest of the input tells whose it is
    found: Iterator[dict[str, Any]]
    if one_of("--engine", engine, ("local", "ray")) == "ray":
        asked = (explain, surfaces, deidentify, form != "auto", batch is not None, annotations is not None, components)
        if options or any(asked):
            raise UserError("supports only pictures, masks and JSON", "--engine ray", "omit the other options")
        found = _predictions_on_ray(model, inputs, **files, **load_options)
    elif explain:
        if form != "auto" or deidentify or annotations is not None or components:
            raise UserError("explanations are written as pictures and JSON only", "--explain", "omit the other options")
        if backend == "onnx":
            raise UserError("explanations need gradients, which only the torch backend has", "--backend", "omit it")
        one_of("--device", device, ("auto", "cpu", "cuda"))
        if time_limit is not None:
            raise UserError("explanations run in PyTorch, which cannot be interrupted", "--time-limit", "omit it")
        found = _explanations(model, inputs, options, **files, device=device, threshold=threshold)
    else:
        if deidentify:  # what libraries warn of, they quote
            logging.disable(logging.CRITICAL)
            warnings.simplefilter("ignore")
        files |= {
            "surfaces": surfaces,
            "batch": batch,
            "form": form,
            "deidentify": deidentify,
            "annotations": annotations,
            "progress": progress,
            "components": components,
        }
        found = _predictions(model, inputs, load_options, digested=digested, **files, **options)
    results: list[dict[str, Any]] = []
    try:
        _print_results(found, results, as_json=as_json)
    except UserError:
        if as_json and results:  # what was answered before, as when the last file could not be written
            print_json(results)
        raise
    if as_json:
        print_json(results)
    elif results and not all("error" in answer for answer in results):
        print_message("written to the folder of --out" if deidentify else f"written to {escaped(str(out))}")
    if form == "csv" and not deidentify and any(is_formula(escaped(one)) for one in inputs):
        print_message("note: names that begin with =, +, - or @ are prefixed by an apostrophe in predictions.csv")
    if any("error" in answer for answer in results):
        raise typer.Exit(2)


def _print_results(found: Iterator[dict[str, Any]], results: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print each result as it comes, and collect it in `results`."""
    from medzoo.report.summary import result_line

    for answer in found:
        results.append(answer)
        if "error" in answer:
            print_message(f"error: {answer['error']}")
            continue
        name = escaped(answer["input"])
        if "assumed" in answer:
            print_message(f"warning: {name}: {answer['assumed']}")
        for note in answer.get("notes", ()):
            print_message(f"note: {name}: {note}")
        if "blanked" in answer:
            print_message(f"warning: {name}: {answer['blanked']}")
        if not as_json:
            print_result(result_line(answer))


def _predictions(
    model: str,
    inputs: list[str],
    load_options: dict[str, Any],
    *,
    form: str,
    digested: bool,
    progress: bool | None,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    from medzoo import registry
    from medzoo.commands.answers import answer_digests
    from medzoo.commands.predict import predict_files
    from medzoo.io.deidentify import Deidentifier
    from medzoo.loading.load import load
    from medzoo.results import Failure, Segmentation
    from medzoo.task import task_of

    chosen = one_of("--format", form, tuple(registry.names("format")))
    predictor = load(model, **load_options)
    if options["components"] and not task_of(predictor.metadata.task).gives_mask:
        raise UserError(f"measures the parts of masks, and {model} gives none", "--components", "leave it out")
    watched = sys.stderr.isatty() if progress is None else progress
    shown = _volume_progress(named=not options["deidentify"]) if watched else None
    predictor.progress = shown
    runs = predictor.backend
    requested = [str(load_options[name]) for name in ("backend", "device", "precision")]
    description = f"ran on {runs.name}, {runs.device}, {runs.metadata.precision}"
    if set(requested) != {"auto"}:
        description += f" (requested: {', '.join(requested)})"
    if runs.device.startswith(("cuda", "tensorrt")):  # nothing else would say what is being waited for
        print_message(f"starting on {runs.device}; the first prediction takes a while")
    described = False

    def tell(line: str) -> None:
        print_message(f"note: {line}")

    for number, result in enumerate(predict_files(predictor, inputs, form=chosen, tell=tell, **options)):
        if shown is not None:
            shown.pause()
        if isinstance(result, Failure):
            _show_unexpected(result)
        elif not described:
            print_message(description)
            described = True
        parts = {"components": True} if options["components"] and isinstance(result, Segmentation) else {}
        document = result.to_dict(**parts)
        if options["deidentify"]:
            yield Deidentifier.result(document, number)
        elif digested and not isinstance(result, Failure):
            yield document | {"digests": answer_digests(predictor, result.input)}
        else:
            yield document


def _volume_progress(*, named: bool) -> VolumeProgress:
    from medzoo.report.summary import Console
    from medzoo.report.volume_progress import VolumeProgress

    return VolumeProgress(Console(stderr=True), named=named)


def _explanations(
    model: str, inputs: list[str], options: dict[str, Any], *, out: Path, pictures: bool, **load_options: Any
) -> Iterator[dict[str, Any]]:
    from medzoo.commands.explain import Explainer, explain_files

    for result, explanation in explain_files(
        Explainer(model, **load_options), inputs, out=out, pictures=pictures, **options
    ):
        _show_unexpected(result)
        yield result.to_dict() | ({"explanation": explanation.to_dict()} if explanation else {})


def _show_unexpected(result: Any) -> None:
    """Print the traceback of an unexpected error if --debug is set."""
    if isinstance(result.error, UnexpectedError) and debugging.get():
        show_traceback(result.error)


def _predictions_on_ray(model: str, inputs: list[str], **options: Any) -> Iterator[dict[str, Any]]:
    from medzoo.commands.predict import expand_folders
    from medzoo.commands.predict_ray import predict_on_ray

    return predict_on_ray(model, expand_folders(inputs), **options)
