"""An exported ONNX file with the output `embedding` and a guard in its metadata; no PyTorch, no onnx package."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medzoo.data.opened import OpenData
from medzoo.evaluation.guard import Watch, fit_guard
from medzoo.export.embedding import add_embedding, find_taps, strip_embedding
from medzoo.guard.record import Guard
from medzoo.guard.wire import read_property, read_tensor, with_property
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array

_LOOKED_AT = 8  # volumes that the value range is taken from


def add_guard(
    raw: bytes, data: OpenData, *, example: Mapping[str, Array], where: str, seed: int = 0, watch: Watch = iter
) -> bytes:
    """The ONNX file with a guard that is fitted to the training and validation parts of its data.

    `example`: inputs of the graph, as golden inputs are. Raises UserError for too few images, or a graph that cannot be
    extended.
    """
    raw = without_guard(raw)
    plain = OnnxBackend(raw, device="cpu", where=where)
    metadata, values = plain.metadata, value_range(Predictor(plain), data)
    taps = find_taps(raw, example, where=where) if metadata.inputs[0] != "features" else ()
    extended = _extended(raw, metadata, taps, values, where)
    predictor = Predictor(OnnxBackend(extended, device="cpu", where=where))
    return with_guard(extended, fit_guard(predictor, data, taps=taps, values=values, seed=seed, watch=watch))


def with_guard(raw: bytes, guard: Guard) -> bytes:
    """The ONNX file, whose graph gives an embedding, with `guard` in its metadata."""
    metadata = _metadata(raw)
    return with_property(raw, KEY, metadata.model_copy(update={"guard": guard}).model_dump_json())


def guarded_as(raw: bytes, other: bytes, *, where: str) -> bytes:
    """The ONNX file with the guard of `other`, an export of the same network; as it is where that has none."""
    guard = _metadata(other).guard
    if guard is None:
        return raw
    low, span = (read_tensor(other, f"guard_{name}") for name in ("low", "span"))
    values = (0.0, 255.0) if low is None or span is None else (float(low[0]), float(low[0] + span[0]))
    return with_guard(_extended(raw, _metadata(raw), guard.taps, values, where), guard)


def without_guard(raw: bytes) -> bytes:
    """The ONNX file without embedding and guard; any other file as it is."""
    metadata = _metadata(raw)
    if metadata.guard is None:
        return strip_embedding(raw)
    return with_property(strip_embedding(raw), KEY, metadata.model_copy(update={"guard": None}).model_dump_json())


def value_range(predictor: Predictor, data: OpenData) -> tuple[float, float]:
    """Lowest and highest value that the statistics of an embedding count from and to: of a file's pictures those of
    its bits, of volumes those that nearly all voxels lie between after the host steps."""
    metadata = predictor.metadata
    if metadata.values is not None:
        return metadata.values
    stored = (0.0, 65535.0 if metadata.bits == 16 else 255.0)
    if metadata.inputs[0] != "image":
        return stored
    lows, highs = [], []
    for item in data.part("train")[:_LOOKED_AT]:
        prepared = predictor.prepare(data.data.load(item).image)
        if prepared.source.affine is None:
            return stored
        lows.append(float(np.percentile(prepared.image.array, 0.5)))
        highs.append(float(np.percentile(prepared.image.array, 99.5)))
    return (float(np.median(lows)), float(np.median(highs))) if lows else stored


def _extended(raw: bytes, metadata: Metadata, taps: tuple[str, ...], values: tuple[float, float], where: str) -> bytes:
    geometry = metadata.geometry
    return add_embedding(
        raw,
        taps=taps,
        inputs=metadata.inputs,
        values=values,
        channels=geometry.channels * geometry.slices,
        dims=geometry.dims,
        where=where,
    )


def _metadata(raw: bytes) -> Metadata:
    return Metadata.read({KEY: read_property(raw, KEY)}, where="ONNX file")
