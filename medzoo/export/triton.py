"""A Triton model repository: the ONNX file with its configuration, and a Python-backend model around it.

    NAME/1/model.onnx, NAME/config.pbtxt                  the graph: dynamic batches, instances, warm-up
    NAME-predict/1/model.py, NAME-predict/config.pbtxt    image file in, the answer of `predict --json` out

A pipeline has no graph of its own: its NAME is the second kind, beside the graphs of its members.

The second runs host steps, slices and tiles on the server and calls the first for every run of the graph: an
ensemble of fixed steps cannot, because it calls each of them once. Knows no torch.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.runtime.pipeline import KEY as PIPELINE
from medzoo.runtime.pipeline import Pipeline
from medzoo.runtime.protocol.tensors import WARM_UP_SIZE, TensorSpec, tensor_spec

MAX_BATCH = 32
MAX_ROWS = 1024
_MAX_WAITING = 64


def write_repository(graph: Path, out: Path) -> list[Path]:
    """Write both models of `graph` (an .onnx file) into the repository `out`; the models' folders.

    A model that is there already is replaced as a whole. Raises UserError if the file is no medzoo export or
    the repository cannot be written.
    """
    metadata, files_of_graph = _graph_files(graph)
    around = f"{metadata.name}-predict"
    config = predict_config(around, {"graph": metadata.name, KEY: metadata.model_dump_json()})
    return _write(out, {metadata.name: files_of_graph, around: _predict_files(config)})


def write_pipeline(name: str, members: Mapping[str, Path], out: Path) -> list[Path]:
    """Write the graphs of a pipeline's members (role to .onnx file), and the pipeline, into the repository `out`.

    Raises UserError, see write_repository.
    """
    models: dict[str, dict[str, bytes | Path]] = {}
    described = {}
    for role, graph in members.items():
        described[role], models[described[role].name] = _graph_files(graph)
    pipeline = Pipeline(name=name, members=described)
    models[name] = _predict_files(predict_config(name, {PIPELINE: pipeline.model_dump_json()}))
    return _write(out, models)


def _graph_files(graph: Path) -> tuple[Metadata, dict[str, bytes | Path]]:
    backend = OnnxBackend(graph, device="cpu")
    inputs = [tensor_spec(value) for value in backend.session.get_inputs()]
    outputs = [tensor_spec(value) for value in backend.session.get_outputs()]
    config = graph_config(backend.metadata, inputs, outputs).encode()
    return backend.metadata, {"config.pbtxt": config, "1/model.onnx": graph}


def _predict_files(config: str) -> dict[str, bytes | Path]:
    model = files("medzoo.export").joinpath("triton_model.py").read_bytes()
    return {"config.pbtxt": config.encode(), "1/model.py": model}


def _write(out: Path, models: Mapping[str, Mapping[str, bytes | Path]]) -> list[Path]:
    """Each model's folder, whole or not at all, in place of one of its name."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".staged-", dir=out))
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(out), hint="choose another -o") from error
    try:
        for name, contents in models.items():
            (stage / name / "1").mkdir(parents=True)
            for file, content in contents.items():
                if isinstance(content, Path):
                    shutil.copyfile(content, stage / name / file)
                else:
                    (stage / name / file).write_bytes(content)
        for name in models:
            if (out / name).exists():
                (out / name).rename(stage / f"{name}.old")
            (stage / name).rename(out / name)
    except OSError as error:
        raise UserError(f"could not be written: {error.strerror or error}", where=str(out)) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return [out / name for name in models]


def graph_config(metadata: Metadata, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> str:
    """config.pbtxt of the graph, from the ONNX file's own inputs and outputs (whose first axis is the batch)."""
    warm = "\n".join(
        f'    inputs {{ key: "{spec.name}" value {{ data_type: {_type(spec)} '
        f"dims: {_dims(spec, free=WARM_UP_SIZE)} zero_data: true }} }}"
        for spec in inputs
    )
    return f"""name: {_text(metadata.name)}
platform: "onnxruntime_onnx"
max_batch_size: {_most_rows(inputs)}
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


def predict_config(name: str, parameters: Mapping[str, str]) -> str:
    """config.pbtxt of the Python-backend model that takes image files; `parameters`: what it reads of its graphs."""
    outputs_text = "\n".join(
        f'parameters {{ key: "{key}" value {{ string_value: {_text(value)} }} }}' for key, value in parameters.items()
    )
    return f"""name: {_text(name)}
backend: "python"
max_batch_size: 0
# The bytes of one image file, and its name, whose suffix tells the format.
input {{ name: "file" data_type: TYPE_STRING dims: [ 1 ] }}
input {{ name: "name" data_type: TYPE_STRING dims: [ 1 ] optional: true }}
# One JSON object, as `medzoo predict --json` prints it for one input; masks are data URLs in it.
output {{ name: "answer" data_type: TYPE_STRING dims: [ 1 ] }}
# Decoding and host steps run on the CPU, several files at a time.
instance_group {{ count: 2 kind: KIND_CPU }}
{outputs_text}
"""


def _most_rows(inputs: list[TensorSpec]) -> int:
    """Rows that one run may have: as many pictures as fit a GPU, or as many rows of features as one answer asks."""
    return MAX_BATCH if any(spec.name == "image" for spec in inputs) else MAX_ROWS


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
