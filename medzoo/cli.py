"""The command line: parses and calls. Every command imports what it needs when it runs.

Results go to stdout; words, progress and errors go to stderr. Exit code 0, or 2 with one line a fault.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from medzoo.errors import UserError

app = typer.Typer(
    help="A declarative model zoo for medical images.",
    epilog="--debug, anywhere, shows the traceback of an error.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help: drawing it with rich takes longer than everything else that --help does.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A zoo name, a model folder, or an .onnx file.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one in recipes/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Fields to change, such as train.epochs=3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="Where the output goes.")]
Backend = Annotated[str, typer.Option(help="auto, onnx or torch.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Zoo models, recipes, model and data types."""
    from medzoo.commands.show import list_all

    document = list_all()
    if as_json:
        _print_json(document)
        return
    from rich.console import Console
    from rich.table import Table

    from medzoo.report.figure import figure_text

    # Whole names, however narrow the terminal.
    console = Console(width=max(Console().width, 200))
    if document["models"]:
        table = Table(box=None, pad_edge=False)
        for column in ("model", "task", "input", "measured on", "figure (95 % interval)", "MB", "licence"):
            table.add_column(column, no_wrap=True)
        for model in document["models"]:
            figure = model["figure"]
            words = f"{figure['name']} {figure_text(figure)}" if figure else ""
            size = f"{model['bytes'] / 1e6:.1f}"
            row = (model["name"], model["task"], model["input"], model["measured_on"], words, size)
            table.add_row(*row, _short(model["license"]))
        console.print(table)
    else:
        console.print("no zoo models on this machine yet: medzoo train RECIPE makes one")
    for kind in ("recipes", "model_types", "data_types"):
        console.print(f"\n[bold]{kind.replace('_', ' ')}[/]: {', '.join(document[kind]) or 'none'}")


@app.command()
def show(model: Model, as_json: Json = False) -> None:
    """Card, inputs, outputs, metrics and provenance of a model."""
    from medzoo.commands.show import show as show_model

    document = show_model(model)
    if as_json:
        _print_json(document)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    console = Console()
    if "card" in document:
        console.print(Markdown(document["card"]))
    described = document.get("model", {})
    for name, value in described.items():
        if value not in (None, "", (), []):
            console.print(f"[bold]{name}[/]: {json.dumps(value) if isinstance(value, dict | tuple) else value}")


@app.command()
def validate(recipe: RecipeName, overrides: Overrides = None) -> None:
    """Check a recipe; every error at once, as file:line:column."""
    from medzoo.commands.catalog import catalog
    from medzoo.commands.locate import find_recipe
    from medzoo.recipe import load_recipe

    known = catalog()
    loaded = load_recipe(find_recipe(recipe), overrides or (), catalog=known)
    _say(f"{recipe}: valid ({loaded.name}, task {loaded.task}, digest {loaded.digest[:16]})")
    if known is None:
        _say("torch is not installed, so the parameters of data, model and steps were not checked")


@app.command()
def schema() -> None:
    """JSON Schema of a recipe, for editors."""
    from medzoo.commands.catalog import Catalog
    from medzoo.recipe import json_schema

    _print_json(json_schema(Catalog()))


@app.command()
def data(recipe: RecipeName, overrides: Overrides = None, as_json: Json = False) -> None:
    """Audit a recipe's data: geometry, labels, splits, leakage."""
    from medzoo.commands.audit import audit
    from medzoo.report.summary import audit_summary

    found = audit(recipe, overrides or ())
    if as_json:
        _print_json(found.to_json())
    else:
        from rich.console import Console

        audit_summary(found.to_json(), console=Console())


@app.command()
def train(
    recipe: RecipeName,
    overrides: Overrides = None,
    out: Out = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last state that is whole.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Resume though recipe, data or versions differ.")] = False,
    folds: Annotated[int, typer.Option(min=0, help="Cross-validate: so many trainings.")] = 0,
    jobs: Annotated[int, typer.Option(min=0, help="Folds at once; 0: as many as there is room for.")] = 0,
) -> None:
    """Train a recipe and leave a model folder."""
    from rich.console import Console

    from medzoo.commands.train import train as run_training
    from medzoo.report.summary import training_summary

    console = Console(stderr=True)
    if folds:
        from medzoo.commands.folds import cross_validate
        from medzoo.report.summary import figures_table

        found = cross_validate(
            recipe, overrides or (), folds=folds, out=out, resume=resume, force=force, jobs=jobs, console=console
        )
        console.print(figures_table(found.figures))
        console.print(f"\nfolds and cross-validation.json are in {found.folder}")
        return
    run = run_training(recipe, overrides or (), out=out, resume=resume, force=force, console=console)
    training_summary(run.folder, run.manifest, console=console)


@app.command()
def reproduce(model: Model, out: Out = None, as_json: Json = False) -> None:
    """Train a model again from its folder, and name whatever differs."""
    from rich.console import Console

    from medzoo.commands.reproduce import reproduce as run_again

    found = run_again(model, out=out, console=Console(stderr=True))
    if as_json:
        _print_json(found.to_dict())
        return
    for line in found.lines():
        typer.echo(line)


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Two or more zoo names or model folders.")],
    as_json: Json = False,
) -> None:
    """Metrics of models on the same items, with paired intervals, and the differences of their recipes."""
    from medzoo.commands.compare import compare as run_compare

    found = run_compare(models)
    if as_json:
        _print_json(found.to_dict())
        return
    from rich.console import Console

    from medzoo.report.summary import comparison_tables

    console = Console()
    for table in comparison_tables(found.to_dict()):
        console.print(table)


@app.command()
def evaluate(
    model: Model,
    overrides: Overrides = None,
    data: Annotated[str | None, typer.Option(metavar="RECIPE", help="Score on this recipe's data.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    backend: Backend = "auto",
    device: Device = "auto",
    record: Annotated[
        bool, typer.Option("--record", help="Write its own test part's figures and card into the model folder.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Figures of a model on its test part, or on another recipe's data."""
    if record:
        if data or overrides or split != "test":
            raise UserError("only a model's own test part is recorded", where="--record", hint="give MODEL alone")
        from medzoo.commands.assess import assess_again

        folder = assess_again(model)
        _say(f"figures, answers, worst cases and card are in {folder.path}")
        _show_figures(folder.manifest["metrics"], as_json=as_json)
        return
    from medzoo.commands.evaluate import evaluate as run_evaluation

    result = run_evaluation(
        model,
        data=data,
        split=_one_of("--split", split, ("train", "val", "test")),
        overrides=overrides or (),
        backend=_one_of("--backend", backend, ("auto", "onnx", "torch")),
        device=_one_of("--device", device, ("auto", "cpu", "cuda", "tensorrt")),
    )
    _show_figures(result.to_dict(), as_json=as_json)


@app.command()
def predict(
    model: Model,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Images, scans, or DICOM folders.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FOLDER", help="Where masks and pictures go.")] = Path(
        "predictions"
    ),
    threshold: Annotated[float | None, typer.Option(min=0, max=1, help="In place of the stored one.")] = None,
    mask: Annotated[str | None, typer.Option(metavar="FILE", help="The outline of the mass in the one INPUT.")] = None,
    box: Annotated[str | None, typer.Option(metavar="X0,Y0,X1,Y1", help="A box around the mass in it.")] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    batch: Annotated[int | None, typer.Option(min=1, help="Inputs of one size that share a run.")] = None,
    pictures: Annotated[bool, typer.Option(help="Also draw each answer as PNG.")] = True,
    surfaces: Annotated[
        bool, typer.Option("--surfaces", help="Also write the surfaces of a scan and its tissues, as GLB and PNG.")
    ] = False,
    form: Annotated[str, typer.Option("--format", help="auto, nifti, dicom-seg, dicom-sr, coco, csv or png.")] = "auto",
    deidentify: Annotated[bool, typer.Option("--deidentify", help="Outputs say neither who nor when.")] = False,
    engine: Annotated[str, typer.Option(help="local, or ray: folders of scans over a Ray cluster.")] = "local",
    explain: Annotated[bool, typer.Option("--explain", help="Draw where a classifier looked; needs torch.")] = False,
    as_json: Json = False,
) -> None:
    """Answer images: masks, boxes or probabilities, and a picture of each."""
    from medzoo.commands.explain import Explainer, explain_files
    from medzoo.commands.model import load
    from medzoo.commands.outputs import FORMATS
    from medzoo.commands.predict import predict_files
    from medzoo.report.summary import result_line
    from medzoo.runtime.predictor import Failure

    options: dict[str, Any] = {"mask": mask} if mask is not None else {}
    if box is not None:
        options["box"] = _numbers("--box", box, 4)
    if options and len(inputs) > 1:
        raise UserError("an outline or a box belongs to one INPUT", where=f"--{next(iter(options))}")
    load_options = {
        "backend": _one_of("--backend", backend, ("auto", "onnx", "torch")),
        "device": _one_of("--device", device, ("auto", "cpu", "cuda", "tensorrt")),
        "precision": _one_of("--precision", precision, ("auto", "fp32", "fp16", "int8")),
        "threshold": threshold,
    }
    results: Any
    if _one_of("--engine", engine, ("local", "ray")) == "ray":
        from medzoo.commands.predict import scans_of
        from medzoo.commands.predict_ray import predict_on_ray

        if options or explain or surfaces or deidentify or form != "auto" or batch is not None:
            raise UserError("writes pictures, masks and JSON alone", "--engine ray", "leave out the other options")
        answers = list(predict_on_ray(model, scans_of(inputs), out=out, pictures=pictures, **load_options))
        _print_answers(answers, out=out, as_json=as_json, lines=True)
        return
    if explain:
        if form != "auto" or deidentify:
            raise UserError("explanations leave pictures and JSON alone", "--explain", "leave out --format")
        if backend == "onnx":
            raise UserError(
                "explanations need the network itself, ONNX Runtime only answers", "--backend", "leave it out"
            )
        explainer = Explainer(model, device=_one_of("--device", device, ("auto", "cpu", "cuda")), threshold=threshold)
        results = explain_files(explainer, inputs, out=out, pictures=pictures, **options)
    else:
        predictor = load(model, **load_options)
        answered = predict_files(
            predictor,
            inputs,
            out=out,
            pictures=pictures,
            surfaces=surfaces,
            batch=batch,
            form=_one_of("--format", form, FORMATS),
            deidentify=deidentify,
            **options,
        )
        results = ((result, None) for result in answered)
    answers = []
    for result, explanation in results:
        answers.append(result.to_dict() | ({"explanation": explanation.to_dict()} if explanation else {}))
        if isinstance(result, Failure):
            _say(f"error: {result.error}")
        elif not as_json:
            typer.echo(result_line(answers[-1]))
    _print_answers(answers, out=out, as_json=as_json)


def _print_answers(answers: list[dict[str, Any]], *, out: Path, as_json: bool, lines: bool = False) -> None:
    """What ends `predict`; `lines`: with a line for each answer, which has none yet."""
    from medzoo.report.summary import result_line

    for answer in answers if lines else ():
        if "error" in answer:
            _say(f"error: {answer['error']}")
        elif not as_json:
            typer.echo(result_line(answer))
    if as_json:
        _print_json(answers)
    elif answers and not all("error" in answer for answer in answers):
        _say(f"written to {out}")
    if any("error" in answer for answer in answers):
        raise typer.Exit(2)


@app.command()
def export(
    model: Model,
    out: Out = None,
    to: Annotated[str, typer.Option(help="onnx or triton.")] = "onnx",
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
) -> None:
    """Export a model folder's weights to ONNX again, through the parity gate; or a Triton repository.

    With the model folder itself as -o, a file of fewer bits becomes part of it.
    """
    chosen = _one_of("--precision", precision, ("fp32", "fp16", "int8"))
    if _one_of("--to", to, ("onnx", "triton")) == "triton":
        from medzoo.commands.triton import export_triton

        _say(f"written to {export_triton(model, out=out, precision=chosen)}: a Triton model repository")
        return
    from medzoo.commands.export import export as run_export

    written = run_export(model, out=out, precision=chosen)
    within = "as torch does" if chosen == "fp32" else f"within what {chosen} is allowed"
    _say(f"written to {written}: ONNX Runtime answers {within}")


@app.command()
def benchmark(
    model: Model,
    out: Out = None,
    size: Annotated[int | None, typer.Option(min=8, help="Side of the inputs in pixels; 256, volumes 64.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="About how long to measure.")] = 20,
    record: Annotated[bool, typer.Option("--record", help="Write it into the model folder and its card.")] = False,
    as_json: Json = False,
) -> None:
    """Latency, throughput and memory of every backend and precision here, beside the parity error."""
    from medzoo.commands.benchmark import benchmark as run_benchmark
    from medzoo.report.speed import speed_table, write_speed

    found = run_benchmark(model, size=size, seconds=seconds).to_dict()
    if record:
        from medzoo.commands.assess import record_speed

        _say(f"written to the card in {record_speed(model, found).path}")
    if out is not None:
        write_speed(found, out)
        _say(f"written to {out}")
    if as_json:
        _print_json(found)
        return
    from rich.console import Console

    Console().print(speed_table(found))
    for name, reason in found["absent"].items():
        _say(f"not measured: {name} ({reason})")


@app.command()
def serve(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Zoo names, model folders, .onnx files.")],
    host: Annotated[str, typer.Option(help="Address to listen on; the default is this machine alone.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")] = 8000,
    grpc_port: Annotated[int, typer.Option(min=-1, max=65535, help="-1 for no gRPC.")] = 8001,
    token_file: Annotated[Path | None, typer.Option(help="Bearer token; $MEDZOO_TOKEN works as well.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows that share a run.")] = 8,
    max_delay_ms: Annotated[float, typer.Option(min=0, help="How long a request waits for company.")] = 0,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests that may wait; more are refused.")] = 64,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Largest request.")] = 256,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds before a waiting request is refused.")] = 60,
    drain: Annotated[float, typer.Option(min=0, help="Seconds to end what is in hand on SIGTERM.")] = 30,
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, fp16 or int8.")] = "auto",
    supervise: Annotated[bool, typer.Option(help="Start the server again if it dies.")] = True,
) -> None:
    """Serve models by the Open Inference Protocol, HTTP and gRPC, with a page to try them."""
    from medzoo.commands.serve import read_token
    from medzoo.commands.serve import serve as run_server
    from medzoo.serve.settings import Settings

    settings = Settings(
        host=host,
        http_port=http_port,
        grpc_port=None if grpc_port < 0 else grpc_port,
        token=read_token(token_file),
        certificate=tls_certificate,
        key=tls_key,
        max_rows=max_batch,
        max_delay=max_delay_ms / 1000,
        max_queue=max_queue,
        max_body=max_body_mb << 20,
        timeout=timeout,
        drain=drain,
    )
    code = run_server(
        models,
        settings,
        device=_one_of("--device", device, ("auto", "cpu", "cuda", "tensorrt")),
        precision=_one_of("--precision", precision, ("auto", "fp32", "fp16", "int8")),
        supervised=supervise,
    )
    raise typer.Exit(code)


@app.command()
def report(
    model: Model,
    out: Annotated[Path | None, typer.Option("-o", "--out", metavar="FILE.html", help="Default: NAME.html.")] = None,
) -> None:
    """One self-contained page about a model: figures, curves, worst cases, its worst scan in a viewer."""
    from medzoo.commands.report import report as run_report

    path, lacks = run_report(model, out=out)
    if lacks:
        _say(lacks)
    typer.echo(str(path))


@app.command()
def fetch(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Names in the index.")],
    base: Annotated[
        str | None, typer.Option("--from", metavar="BASE", help="http(s)://..., a folder, or a .zip or .tar of one.")
    ] = None,
    index_sha256: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Trust this index, not the one of this release.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring models of the zoo index to this machine."""
    from medzoo.commands.fetch import fetch as run_fetch

    found = run_fetch(models, base=base, index_sha256=index_sha256)
    if as_json:
        _print_json({name: str(path) for name, path in found.items()})
        return
    for name, path in found.items():
        typer.echo(f"{name}: {path}")


@app.command()
def verify(model: Model, as_json: Json = False) -> None:
    """Digests, parity and card of a model folder: all still true."""
    from medzoo.commands.verify import verify as run_verify

    checks = run_verify(model)
    if as_json:
        _print_json([{"check": check.name, "words": check.words} for check in checks])
        return
    for check in checks:
        typer.echo(f"ok  {check.name}: {check.words}")


def main(arguments: list[str] | None = None) -> NoReturn:
    """The entry point; `--debug` anywhere shows tracebacks."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"]
    try:
        code = app(given, prog_name="medzoo", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except UserError as error:
        if debug:
            raise
        _fail("\n".join(f"error: {fault}" for fault in error.faults))
    except KeyboardInterrupt:
        _fail("error: interrupted", code=130)
    except BrokenPipeError:
        # The reader of stdout went away, as with `| head`; nothing is left to say to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if debug or not hasattr(error, "format_message"):
            if debug:
                raise
            _fail(f"error: {type(error).__name__}: {' '.join(str(error).split())} (--debug shows where)")
        # A usage error of the command-line parser: its own message, in our one line.
        _fail(f"error: {error.format_message()} (medzoo --help)")


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise UserError(f"{value!r} is not one of {', '.join(allowed)}", where=option)
    return value


def _numbers(option: str, value: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise UserError(f"{value!r} is not {count} numbers with commas between them", where=option)
    return numbers


def _short(licence: str) -> str:
    """The licence's or the data set's own name; the card has the rest."""
    return re.split(r" \(|[,;]", licence)[0]


def _show_figures(document: Any, *, as_json: bool) -> None:
    if as_json:
        _print_json(document)
        return
    from rich.console import Console

    from medzoo.report.summary import figures_table

    Console().print(figures_table(document["figures"]))


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False, default=str))


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _fail(words: str, *, code: int = 2) -> NoReturn:
    typer.echo(words, err=True)
    sys.exit(code)
