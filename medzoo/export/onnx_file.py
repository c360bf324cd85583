"""A Net as the bytes of an ONNX file with dynamic batch and size, its metadata inside, and medzoo's own operators."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch

from medzoo.errors import UserError
from medzoo.inputs.canvas import translate_fit
from medzoo.nn.detection.nms import translate_nms, translate_stable_top_k
from medzoo.nn.layers import translate_lrn
from medzoo.nn.net import Net
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.types import Array


def onnx_bytes(net: Net, metadata: Metadata, *, example: Mapping[str, Array]) -> bytes:
    """Export `net`; `example`: one batch of its inputs (B >= 2), every axis but channels becomes dynamic.

    Raises UserError if torch cannot export the net.
    """
    net = net.eval()
    arrays = tuple(torch.from_numpy(np.ascontiguousarray(example[name])) for name in net.inputs)
    free = torch.export.Dim.DYNAMIC
    shapes = {name: _free_axes(name, array.ndim, free) for name, array in zip(net.inputs, arrays, strict=True)}
    with _quiet():
        try:
            program = torch.onnx.export(
                net,
                arrays,
                dynamo=True,
                verbose=False,
                dynamic_shapes=tuple(shapes.values()),
                input_names=list(net.inputs),
                output_names=list(net.outputs),
                custom_translation_table=translations(),
            )
        except Exception as error:  # the exporter raises many classes, all with the cause in their text
            reason = str(error.__cause__ or error).strip().splitlines()
            raise UserError(f"torch cannot export the net: {reason[0] if reason else type(error).__name__}") from error
    assert program is not None
    model = program.model_proto
    _tidy(model, metadata)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _free_axes(name: str, ndim: int, free: object) -> dict[int, object]:
    """Batch and spatial axes are free; channels and the feature axis of vectors are the net's own."""
    if name == "features":
        return {0: free}
    if name == "regions":
        return {0: free, 1: free}
    if name == "boxes":
        return {0: free, 1: free}
    return {axis: free for axis in range(ndim) if axis != 1}


def _tidy(model: onnx.ModelProto, metadata: Metadata) -> None:
    """Name the dynamic axes, and drop the exporter's notes: they hold source lines and this machine's paths."""
    names: dict[str, list[str | None]] = {
        "image": ["batch", None, "height", "width"],
        "features": ["batch"],
        "regions": ["batch", "regions"],
        "boxes": ["batch", "regions"],
    }
    symbols: dict[str, str] = {}
    for value in [*model.graph.input, *model.graph.output]:
        del value.metadata_props[:]
    for value in model.graph.input:
        wanted = names.get(value.name, [])
        if value.name == "image" and len(value.type.tensor_type.shape.dim) == 5:
            wanted = ["batch", None, "depth", "height", "width"]
        for dim, name in zip(value.type.tensor_type.shape.dim, wanted, strict=False):
            if name and not dim.HasField("dim_value"):
                symbols[dim.dim_param] = name
    for value in [*model.graph.input, *model.graph.output]:
        for dim in value.type.tensor_type.shape.dim:
            dim_param = symbols.get(dim.dim_param)
            if dim_param:
                dim.dim_param = dim_param
    del model.graph.value_info[:]
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    model.graph.doc_string = model.doc_string = ""
    model.producer_name, model.producer_version = "medzoo", metadata.medzoo
    model.metadata_props.add(key=KEY, value=metadata.model_dump_json())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def translations() -> dict[Any, Callable[..., Any]]:
    """Operator -> function that builds it, for `torch.onnx.export(custom_translation_table=...)`."""
    return {
        torch.ops.medzoo.stable_top_k.default: translate_stable_top_k,
        torch.ops.medzoo.fit.default: translate_fit,
        torch.ops.medzoo.lrn.default: translate_lrn,
        torch.ops.medzoo.nms.default: translate_nms,
    }
