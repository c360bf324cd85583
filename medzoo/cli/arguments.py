"""Arguments and options shared by several commands, and validation of their values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medzoo.errors import UserError

if TYPE_CHECKING:
    from medzoo.runtime.backends.devices import GpuOptions

Model = Annotated[str, typer.Argument(metavar="MODEL", help="A zoo name, a model folder, or an .onnx file.")]
RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of one in recipes/.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Fields to change, such as train.epochs=3."),
]
Json = Annotated[bool, typer.Option("--json", help="Print only one JSON document on stdout.")]
TaskName = Annotated[
    str | None, typer.Option("--task", metavar="TASK", help="classify, segment or detect, of a folder.")
]
Minutes = Annotated[float, typer.Option(min=0.2, help="Minutes that a training on a folder may take.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", metavar="FOLDER", help="Output folder.")]
Backend = Annotated[str, typer.Option(help="auto, onnx or torch.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or tensorrt.")]
Gpu = Annotated[int | None, typer.Option("--gpu", min=0, help="Index of the GPU to use.")]
GpuMemory = Annotated[int | None, typer.Option("--gpu-memory-mb", min=1, help="Limit of GPU memory.")]
CudaGraphs = Annotated[bool, typer.Option("--cuda-graphs", help="Record and replay runs of repeated shapes.")]
Engines = Annotated[Path | None, typer.Option("--engines", metavar="FOLDER", help="Cache folder of TensorRT engines.")]


def gpu_options(
    *, number: int | None, memory_mb: int | None, graphs: bool, engines: Path | None, precision: str
) -> GpuOptions | None:
    """Build the GPU options from the command line; None if none was given."""
    from medzoo.runtime.backends.devices import GpuOptions

    if number is None and memory_mb is None and not graphs and engines is None:
        return None
    memory = memory_mb << 20 if memory_mb is not None else None
    fp16 = precision in ("auto", "fp16")
    return GpuOptions(device_id=number or 0, memory_limit=memory, cuda_graphs=graphs, engine_cache=engines, fp16=fp16)


def one_of(option: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise UserError(f"{value!r} is not one of {', '.join(allowed)}", where=option)
    return value


def numbers(option: str, value: str, count: int) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise UserError(f"{value!r} is not {count} numbers separated by commas", where=option)
    return numbers
