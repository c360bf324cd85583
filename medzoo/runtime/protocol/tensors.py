"""Requests and responses of the Open Inference Protocol over HTTP: tensors in JSON, or as bytes after a JSON header.

Shared by server and client. The protocol is KServe's "Open Inference
Protocol (v2)" with the binary tensor data extension: a tensor's bytes are little-endian and row-major, and
follow the JSON header in the order in which the header lists the tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.types import Array

HEADER_LENGTH = "Inference-Header-Content-Length"
DTYPES: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}
_ONNX_TYPES = {
    "float": "FP32",
    "float16": "FP16",
    "double": "FP64",
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_REQUEST_FIELDS = ("id", "inputs", "outputs", "parameters")
_TENSOR_FIELDS = ("data", "datatype", "name", "parameters", "shape")
_MAX_DIMS = 8
_MAX_TENSORS = 64


@dataclass(frozen=True)
class TensorSpec:
    """Name, datatype and shape of a graph's input or output; -1 is an axis of any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a model's metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class InferenceRequest:
    """An inference request: arrays by name, requested outputs (None for all), and those requested as binary data."""

    inputs: Mapping[str, Array]
    outputs: tuple[str, ...] | None = None
    id: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    binary: frozenset[str] = frozenset()
    binary_by_default: bool = False

    def wants_binary(self, name: str) -> bool:
        """Return True if output `name` was requested as binary data."""
        return name in self.binary or (self.outputs is None and self.binary_by_default)


WARM_UP_SIZE = 64
"""Length of variable axes of a warm-up input, in pixels: a multiple of the stride of every graph so far."""


def tensor_spec(value: Any) -> TensorSpec:
    """Describe an input or output of an ONNX Runtime session. Raises UserError unless it is a numeric tensor."""
    kind = _ONNX_TYPES.get(value.type.removeprefix("tensor(").removesuffix(")"))
    if kind is None:
        raise UserError(f"expected a numeric tensor, got {value.type}", where=value.name)
    return TensorSpec(value.name, kind, tuple(n if isinstance(n, int) else -1 for n in value.shape))


def datatype(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name of a NumPy dtype. Raises UserError if it has none."""
    name = _NAMES.get(dtype)
    if name is None:
        raise UserError(f"tensors of dtype {dtype} are not supported by the protocol")
    return name


def check_tensor(name: str, kind: Any, shape: Any) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Parse a message's datatype and shape. Raises UserError if they are invalid."""
    if not isinstance(kind, str) or kind not in DTYPES:
        raise UserError(
            f"unknown datatype {str(kind)[:40]!r}; expected one of {', '.join(DTYPES)}", where=f"tensor {name!r}"
        )
    if (
        not isinstance(shape, list | tuple)
        or len(shape) > _MAX_DIMS
        or not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for n in shape)
    ):
        raise UserError("'shape' must be a list of at most 8 non-negative integers", where=f"tensor {name!r}")
    return np.dtype(DTYPES[kind]), tuple(shape)


def from_bytes(name: str, raw: Any, kind: Any, shape: Any) -> Array:
    """Make an array of a tensor's bytes, a view if they are aligned. Raises UserError if their number is wrong."""
    dtype, size = check_tensor(name, kind, shape)
    wanted = dtype.itemsize * math.prod(size)
    if len(raw) != wanted:
        raise UserError(f"got {len(raw)} bytes; its datatype and shape need {wanted}", where=f"tensor {name!r}")
    array = np.frombuffer(raw, dtype).reshape(size)
    # Graph engines may load whole vector registers from the first element on.
    return array if array.flags.aligned else array.copy()


def to_bytes(array: Array) -> memoryview | bytes:
    """Return the little-endian, row-major bytes of an array, without a copy if possible."""
    flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return flat.reshape(-1).view(np.uint8).data if flat.size else b""


def from_json(name: str, data: Any, kind: Any, shape: Any) -> Array:
    """Make an array of a tensor's JSON values, flat or nested. Raises UserError if they do not match its shape."""
    dtype, size = check_tensor(name, kind, shape)
    where = f"tensor {name!r}"
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError) as error:
        raise UserError("'data' must be a list of numbers, flat or evenly nested", where=where) from error
    if array.size != math.prod(size) or array.dtype.kind not in ("biuf" if array.size else "biufO"):
        raise UserError(f"'data' must contain the {math.prod(size)} numbers of its shape", where=where)
    if array.ndim > 1 and array.shape != size:
        raise UserError(f"'data' is nested as {list(array.shape)}, but 'shape' is {list(size)}", where=where)
    if dtype.kind in "biu" and array.size:
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if array.dtype.kind == "f" or int(array.min()) < low or int(array.max()) > high:
            raise UserError(f"'data' contains values that {kind} cannot hold", where=where)
    with np.errstate(over="ignore"):
        return array.astype(dtype).reshape(size)


def parse_request(body: memoryview, header_length: int | None) -> InferenceRequest:
    """Parse a request body; `header_length`: bytes of its JSON header, None if the whole body is JSON.

    Raises UserError that names the tensor or the field.
    """
    document = _document(body if header_length is None else body[:header_length])
    rest = None if header_length is None else body[header_length:]
    _require_known(document, _REQUEST_FIELDS, "field", where="request")
    tensors = document.get("inputs")
    if not isinstance(tensors, list) or not tensors or len(tensors) > _MAX_TENSORS:
        raise UserError("'inputs' must be a list of tensors")
    for tensor in tensors:
        if isinstance(tensor, dict):
            where = f"tensor {str(tensor.get('name'))[:80]!r}"
            _require_known(tensor, _TENSOR_FIELDS, "field", where=where)
            _require_known(_parameters(tensor, where), ("binary_data_size",), "parameter", where=where)
    arrays, used = _tensors(tensors, rest)
    if rest is not None and used != len(rest):
        raise UserError(f"the body has {len(rest) - used} extra bytes after the last tensor")
    parameters = _parameters(document, "request")
    wanted = document.get("outputs")
    by_default = parameters.get("binary_data_output") is True
    names, binary = (None, frozenset[str]()) if wanted is None else _wanted(wanted, by_default)
    given = document.get("id", "")
    if not isinstance(given, str):
        raise UserError("'id' must be a string")
    return InferenceRequest(arrays, names, given, parameters, binary, by_default)


def build_response(
    model: str, arrays: Mapping[str, Array], *, request: InferenceRequest, listed: bool = True
) -> tuple[dict[str, Any], list[memoryview | bytes]]:
    """Build the JSON header of a response, and the binary tensors that follow it.

    `listed`: put tensors into the header as flat lists of numbers; else as arrays, for the caller to serialise.
    Raises UserError for NaN or infinite values that were requested as JSON.
    """
    outputs = []
    tails = []
    for name, array in arrays.items():
        one: dict[str, Any] = {"name": name, "datatype": datatype(array.dtype), "shape": list(array.shape)}
        if request.wants_binary(name):
            tails.append(to_bytes(array))
            one["parameters"] = {"binary_data_size": array.nbytes}
        else:
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise UserError(
                    "contains NaN or infinity, which JSON cannot represent: request binary data",
                    where=f"output {name!r}",
                )
            one["data"] = array.ravel().tolist() if listed else array
        outputs.append(one)
    header = {"model_name": model, "model_version": "1", "outputs": outputs}
    if request.id:
        header["id"] = request.id
    return header, tails


def build_request(inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> tuple[bytes, list[memoryview | bytes]]:
    """Build the JSON header of a request, and the binary tensors that follow it."""
    arrays = {name: np.asarray(array) for name, array in inputs.items()}
    document: dict[str, Any] = {
        "inputs": [
            {
                "name": name,
                "datatype": datatype(array.dtype),
                "shape": list(array.shape),
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in arrays.items()
        ]
    }
    if outputs is None:
        document["parameters"] = {"binary_data_output": True}
    else:
        document["outputs"] = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return json.dumps(document).encode(), [to_bytes(array) for array in arrays.values()]


def parse_response(body: memoryview, header_length: int | None) -> dict[str, Array]:
    """Parse a response; return its arrays by name. Raises UserError if it is malformed."""
    document = _document(body if header_length is None else body[:header_length])
    rest = None if header_length is None else body[header_length:]
    tensors = document.get("outputs")
    if not isinstance(tensors, list):
        raise UserError("the response has no outputs")
    return _tensors(tensors, rest)[0]


def _document(raw: memoryview) -> dict[str, Any]:
    try:
        document = json.loads(bytes(raw))
    except (ValueError, RecursionError) as error:
        raise UserError("the body is not valid JSON") from error
    if not isinstance(document, dict):
        raise UserError("the body must be a JSON object")
    return document


def _tensors(tensors: Sequence[Any], rest: memoryview | None) -> tuple[dict[str, Array], int]:
    arrays: dict[str, Array] = {}
    used = 0
    for tensor in tensors:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise UserError("a tensor has no 'name'")
        name = tensor["name"]
        if name in arrays:
            raise UserError("duplicate name", where=f"tensor {name!r}")
        size = _parameters(tensor, f"tensor {name!r}").get("binary_data_size")
        kind, shape = tensor.get("datatype"), tensor.get("shape")
        if size is None:
            if "data" not in tensor:
                raise UserError("needs either 'data' or 'binary_data_size'", where=f"tensor {name!r}")
            arrays[name] = from_json(name, tensor["data"], kind, shape)
            continue
        if rest is None or not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest) - used:
            raise UserError(
                f"binary_data_size does not match the bytes after the JSON header (see {HEADER_LENGTH})",
                where=f"tensor {name!r}",
            )
        arrays[name] = from_bytes(name, rest[used : used + size], kind, shape)
        used += size
    return arrays, used


def _require_known(given: Mapping[str, Any], known: Sequence[str], kind: str, *, where: str) -> None:
    for name in given:
        if name not in known:
            raise UserError(f"the {kind} {name[:80]!r} is unknown (known: {', '.join(known)})", where=where)


def _parameters(document: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    parameters = document.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise UserError("'parameters' must be an object", where=where)
    return parameters


def _wanted(wanted: Any, by_default: bool) -> tuple[tuple[str, ...], frozenset[str]]:
    if (
        not isinstance(wanted, list)
        or not 0 < len(wanted) <= _MAX_TENSORS
        or not all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in wanted)
    ):
        raise UserError("'outputs' must be a list of objects with a 'name'")
    for one in wanted:
        where = f"output {one['name'][:80]!r}"
        _require_known(one, ("name", "parameters"), "field", where=where)
        _require_known(_parameters(one, where), ("binary_data",), "parameter", where=where)
    binary = {
        one["name"]
        for one in wanted
        if _parameters(one, f"output {one['name']!r}").get("binary_data", by_default) is True
    }
    return tuple(dict.fromkeys(one["name"] for one in wanted)), frozenset(binary)
