"""A Triton model repository: the ONNX file with its configuration, and a Python-backend model around it.

    NAME/1/model.onnx, NAME/config.pbtxt                  the graph: dynamic batches, instances, warm-up
    NAME-predict/1/model.py, NAME-predict/config.pbtxt    image file in, the answer of `predict --json` out

The second runs host steps, slices and tiles on the server and calls the first for every run of the graph: an
ensemble of fixed steps cannot, because it calls each of them once. Knows no torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from medzoo.errors import UserError
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.runtime.onnx_backend import OnnxBackend
from medzoo.runtime.tensors import TensorSpec, graph_spec

MAX_BATCH = 32
_MAX_WAITING = 64
_WARM_SIDE = 64  # pixels; a multiple of every graph's coarsest step so far


def write_repository(graph: Path, out: Path) -> list[Path]:
    """Write both models of `graph` (an .onnx file) into the repository `out`; the models' folders.

    A model that is there already is replaced as a whole. Raises UserError if the file is no medzoo export or
    the repository cannot be written.
    """
    backend = OnnxBackend(graph, device="cpu")
    metadata = backend.metadata
    model = files("medzoo.export").joinpath("triton_model.py").read_text("utf-8")
    inputs = [graph_spec(value) for value in backend.session.get_inputs()]
    outputs = [graph_spec(value) for value in backend.session.get_outputs()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".staged-", dir=out))
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(out), hint="choose another -o") from error
    try:
        around = f"{metadata.name}-predict"
        for name in (metadata.name, around):
            (stage / name / "1").mkdir(parents=True)
        shutil.copyfile(graph, stage / metadata.name / "1" / "model.onnx")
        (stage / metadata.name / "config.pbtxt").write_text(graph_config(metadata, inputs, outputs), "utf-8")
        (stage / around / "1" / "model.py").write_text(model, "utf-8")
        (stage / around / "config.pbtxt").write_text(predict_config(metadata), "utf-8")
        for name in (metadata.name, around):
            if (out / name).exists():
                (out / name).rename(stage / f"{name}.old")
            (stage / name).rename(out / name)
    except OSError as error:
        raise UserError(f"could not be written: {error.strerror or error}", where=str(out)) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return [out / metadata.name, out / around]


def graph_config(metadata: Metadata, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> str:
    """config.pbtxt of the graph, from the ONNX file's own inputs and outputs (whose first axis is the batch)."""
    warm = "\n".join(
        f'    inputs {{ key: "{spec.name}" value {{ data_type: {_type(spec)} '
        f"dims: {_dims(spec, free=_WARM_SIDE)} random_data: true }} }}"
        for spec in inputs
    )
    return f"""name: {_text(metadata.name)}
platform: "onnxruntime_onnx"
max_batch_size: {MAX_BATCH}
{_tensors("input", inputs)}
{_tensors("output", outputs)}
dynamic_batching {{
  max_queue_delay_microseconds: 200
  default_queue_policy {{
    max_queue_size: {_MAX_WAITING}
    timeout_action: REJECT
    default_timeout_microseconds: 60000000
    allow_timeout_override: true
  }}
}}
# One instance on each GPU, or one on the CPU where there is none.
instance_group {{ count: 1 kind: KIND_AUTO }}
model_warmup {{
    name: "one"
    batch_size: 1
{warm}
}}
# What clients read to prepare images and to name answers.
parameters {{ key: "{KEY}" value {{ string_value: {_text(metadata.model_dump_json())} }} }}
"""


def predict_config(metadata: Metadata) -> str:
    """config.pbtxt of the Python-backend model that takes image files."""
    return f"""name: {_text(metadata.name + "-predict")}
backend: "python"
max_batch_size: 0
# The bytes of one image file, and its name, whose suffix tells the format.
input {{ name: "file" data_type: TYPE_STRING dims: [ 1 ] }}
input {{ name: "name" data_type: TYPE_STRING dims: [ 1 ] optional: true }}
# One JSON object, as `medzoo predict --json` prints it for one input; masks are data URLs in it.
output {{ name: "answer" data_type: TYPE_STRING dims: [ 1 ] }}
# Decoding and host steps run on the CPU, several files at a time.
instance_group {{ count: 2 kind: KIND_CPU }}
parameters {{ key: "graph" value {{ string_value: {_text(metadata.name)} }} }}
parameters {{ key: "{KEY}" value {{ string_value: {_text(metadata.model_dump_json())} }} }}
"""


def _tensors(side: str, specs: list[TensorSpec]) -> str:
    return "\n".join(
        f"{side} {{ name: {_text(spec.name)} data_type: {_type(spec)} dims: {_dims(spec)} }}" for spec in specs
    )


def _type(spec: TensorSpec) -> str:
    return f"TYPE_{spec.datatype}"


def _dims(spec: TensorSpec, *, free: int = -1) -> str:
    """The axes after the batch; a tensor of the batch alone has one axis of length 1 that is reshaped away."""
    if len(spec.shape) == 1:
        return "[ 1 ] reshape: { shape: [ ] }"
    return f"[ {', '.join(str(free if n == -1 else n) for n in spec.shape[1:])} ]"


def _text(text: str) -> str:
    """A text-format string: JSON's escapes are among its own, but for the solidus and \\uXXXX of old parsers."""
    return json.dumps(text, ensure_ascii=False)
