"""A model in fewer bits: converted, held against torch output by output, and against its own metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medzoo.data.dataset import Item
from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.evaluation import protocols
from medzoo.evaluation.score import primary_metric, subsample
from medzoo.recipe import Recipe
from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata, Precision
from medzoo.runtime.parity.gate import Golden, check_parity
from medzoo.runtime.predictor import Predictor
from medzoo.task import task_of
from medzoo.types import Array

_CALIBRATION, _RUNS = 32, 2  # training items that ranges are measured on, and runs of the graph from each
_GOLDEN = 4


@dataclass(frozen=True)
class LowPrecisionExport:
    """An export in fewer bits: the ONNX file, and what the manifest says of it."""

    onnx: bytes
    report: Mapping[str, Any]


def export_low_precision(
    precision: Precision,
    raw: bytes,
    *,
    recipe: Recipe,
    data: OpenData,
    reference: Backend,
    golden: Sequence[Golden],
    where: str,
) -> LowPrecisionExport:
    """`raw` (the checked float32 ONNX file) in `precision`, through the gate.

    `reference`: torch. `golden`: inputs to compare on, to which some of the validation part are added. Raises
    UserError that names output, input and difference, or the metric and what was lost, if it is refused.
    """
    from medzoo.export.stored import unpack_half_weights

    raw = unpack_half_weights(raw)
    whole = OnnxBackend(raw, where=where, device="cpu")
    items = subsample(data.part("val"), task_of(recipe.task).validation_items)
    if not items:
        raise UserError(
            "there are no validation items to check the precision on",
            where=where,
            hint="data.split.val",
        )
    if precision == "fp16":
        from medzoo.export.half import half_bytes

        made = half_bytes(raw)
    else:
        from medzoo.export.integer import integer_bytes

        calibration = graph_inputs(whole, data, subsample(data.part("train"), _CALIBRATION), runs=_RUNS)
        made = integer_bytes(raw, calibration)
    made = _precision_name(made, whole.metadata.model_copy(update={"precision": precision}))
    exported = OnnxBackend(made, where=where, device="cpu")
    own = graph_inputs(whole, data, items[:_GOLDEN], runs=1)
    inputs = [*golden, *(Golden(f"validation input {n}", one) for n, one in enumerate(own))]
    parity, _ = check_parity(reference, exported, inputs, where=where)
    return LowPrecisionExport(
        made, _check_tolerance(whole, exported, recipe=recipe, data=data, items=items, parity=parity, where=where)
    )


def measured_bf16(
    reference: Backend,
    fewer: Backend,
    *,
    recipe: Recipe,
    data: OpenData,
    golden: Sequence[Golden],
    where: str,
) -> Mapping[str, Any]:
    """The report on torch in bfloat16 (`fewer`) for the manifest, checked against float32 as an export is.

    Raises UserError that names output, input and difference, or the metric and what was lost, if it is refused.
    """
    items = subsample(data.part("val"), task_of(recipe.task).validation_items)
    if not items:
        raise UserError(
            "there are no validation items to check the precision on",
            where=where,
            hint="data.split.val",
        )
    parity, _ = check_parity(reference, fewer, golden, where=where)
    return _check_tolerance(reference, fewer, recipe=recipe, data=data, items=items, parity=parity, where=where)


def _check_tolerance(
    whole: Backend,
    fewer: Backend,
    *,
    recipe: Recipe,
    data: OpenData,
    items: Sequence[Item],
    parity: Mapping[str, Any],
    where: str,
) -> dict[str, Any]:
    """The report on fewer bits with what they lose of the task's metric. Raises UserError if that is too much."""
    precision = fewer.metadata.precision
    name, before = primary_metric(whole, recipe, data, items)
    _, after = primary_metric(fewer, recipe, data, items)
    loss, allowed = before - after, task_of(recipe.task).allowed_loss[precision]
    # Not-a-number is a loss too.
    if not loss <= allowed:
        raise UserError(
            f"{name} on {len(items)} validation items falls from {before:.4f} to {after:.4f} in {precision}, "
            f"allowed is a loss of {allowed:g}",
            where=where,
            hint="the export is refused",
        )
    metric = {"name": name, "split": "val", "items": len(items), "fp32": before, precision: after, "allowed": allowed}
    return {"parity": parity, "metric": {**metric, "loss": loss}}


def _precision_name(raw: bytes, metadata: Metadata) -> bytes:
    import onnx

    from medzoo.runtime.metadata import KEY

    model = onnx.load_from_string(raw)
    onnx.helper.set_model_props(model, {KEY: metadata.model_dump_json()})
    return bytes(model.SerializeToString())


def graph_inputs(backend: Backend, data: OpenData, items: Sequence[Item], *, runs: int) -> list[dict[str, Array]]:
    """Inputs of the graph for `items`: of each at most `runs` of its slices or tiles, the same every time."""
    rng = np.random.default_rng(0)
    overheard = _RecordingBackend(backend)
    predictor = Predictor(overheard)
    found: list[dict[str, Array]] = []
    for item in items:
        sample = data.data.load(item)
        options = next(iter(protocols(predictor, sample).values()))
        overheard.given = []
        predictor.predict_prepared(predictor.prepare(sample.image, **options))
        chosen = rng.permutation(len(overheard.given))[:runs]
        found += [overheard.given[int(index)] for index in sorted(chosen)]
    return found


class _RecordingBackend:
    """A backend that remembers what it was given."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.metadata, self.name, self.device = backend.metadata, backend.name, backend.device
        self.given: list[dict[str, Array]] = []

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        self.given.append({name: np.array(array) for name, array in inputs.items()})
        # The outputs are not read.
        cheap = task_of(self.metadata.task).cheap_outputs(inputs)
        return self._backend.run(inputs, outputs) if cheap is None else cheap
