"""The parity gate: an export whose outputs differ from PyTorch's is rejected, naming output, input and difference.

Golden inputs are batches of several sizes and shapes. Some come from the model's own data during training; others are
probes drawn from a seed, whose PyTorch outputs are stored in the model folder (`golden.npz`), so that `medzoo verify`
can repeat the comparison anywhere, without PyTorch and without data.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import Fault, UserError
from medzoo.runtime.backends import Backend, detection_outputs
from medzoo.runtime.familiarity import OUTPUT as EMBEDDING
from medzoo.runtime.metadata import Metadata, Precision
from medzoo.runtime.parity.detections import compare_confident, compare_detections
from medzoo.runtime.parity.tolerance import TOLERANCES
from medzoo.types import Array


@dataclass(frozen=True)
class Golden:
    """A named batch of inputs."""

    name: str
    inputs: Mapping[str, Array]


@dataclass(frozen=True)
class Difference:
    """The largest difference of one output on one golden input, and the allowed one."""

    input: str
    output: str
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        """True if the difference is allowed."""
        return self.difference <= self.allowed


def compare(
    golden: Golden, expected: Mapping[str, Array], got: Mapping[str, Array], *, precision: Precision = "fp32"
) -> list[Difference]:
    """Compare outputs; for a label map, the share of labels that differ where PyTorch is confident.

    Detections are matched image by image first, so that equal scores may come in either order.
    """
    tolerance = TOLERANCES[precision]
    expected, got = detection_outputs(expected), detection_outputs(got)
    # The graph alone gives it, so there is nothing of PyTorch's to compare it with.
    expected = {name: value for name, value in expected.items() if name != EMBEDDING}
    if "count" in expected and all(got[name].shape == reference.shape for name, reference in expected.items()):
        if tolerance.sure is not None:
            apart = compare_confident(expected, got, tolerance, tolerance.sure)
        else:
            apart = compare_detections(expected, got, tolerance)
        allowance = {**tolerance.allowed, "labels": tolerance.lost}
        return [Difference(golden.name, name, value, allowance[name]) for name, value in apart.items()]
    found = []
    for name, reference in expected.items():
        allowed = tolerance.allowed.get(name, 0)
        value = got[name]
        if value.shape != reference.shape:
            found.append(Difference(golden.name, f"{name} (shape)", float("inf"), allowed))
        elif name == "labels" and "probabilities" in expected:
            best = np.sort(expected["probabilities"], axis=1)[:, -2:]
            sure = best[:, 1] - best[:, 0] > tolerance.close
            found.append(Difference(golden.name, name, float(((value != reference) & sure).mean()), allowed))
        else:
            gap = np.abs(value.astype(np.float64) - reference.astype(np.float64))
            largest = float(gap.max()) if gap.size else 0.0
            found.append(Difference(golden.name, name, largest if np.isfinite(largest) else float("inf"), allowed))
    return found


def check_parity(
    reference: Backend, exported: Backend, goldens: Sequence[Golden], *, where: str
) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """Return the parity report for the manifest and the reference's outputs; tolerances follow `exported`'s precision.

    Raises UserError with one fault for each output of each input that differs by more than is allowed.
    """
    precision = exported.metadata.precision
    differences: list[Difference] = []
    references = []
    for golden in goldens:
        expected = reference.run(golden.inputs)
        references.append(expected)
        differences += compare(golden, expected, exported.run(golden.inputs), precision=precision)
    faults = [
        Fault(
            f"output {d.output!r} differs from PyTorch by {d.difference:.3g} on {d.input}; {d.allowed:g} is allowed",
            where,
            "the export was rejected",
        )
        for d in differences
        if not d.holds
    ]
    if faults:
        raise UserError.of(faults)
    outputs = sorted({d.output for d in differences})
    return {
        "inputs": len(goldens),
        "precision": precision,
        "largest": {name: max(d.difference for d in differences if d.output == name) for name in outputs},
        "allowed": {name: max(d.allowed for d in differences if d.output == name) for name in outputs},
    }, references


def dump_golden(goldens: Sequence[Golden], outputs: Sequence[Mapping[str, Array]]) -> bytes:
    """Serialise golden inputs and the reference's outputs as an .npz without pickled objects."""
    arrays: dict[str, Array] = {}
    for index, (golden, answer) in enumerate(zip(goldens, outputs, strict=True)):
        arrays |= {f"{index}/in/{k}": _halved(v) for k, v in golden.inputs.items()}
        arrays |= {f"{index}/out/{k}": v for k, v in answer.items()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _halved(value: Array) -> Array:
    """Convert to float16 if that is lossless."""
    if value.dtype != np.float32 or np.abs(value).max(initial=0) > np.finfo(np.float16).max:
        return value
    half = value.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), value) else value


def load_golden(raw: bytes) -> tuple[list[Golden], list[dict[str, Array]]]:
    """Parse what `dump_golden` wrote: golden inputs and the reference's outputs."""
    goldens: dict[int, dict[str, dict[str, Array]]] = {}
    with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
        for key in arrays.files:
            index, side, name = key.split("/")
            value = arrays[key]
            goldens.setdefault(int(index), {"in": {}, "out": {}})[side][name] = (
                value.astype(np.float32) if value.dtype == np.float16 else value
            )
    order = sorted(goldens)
    return [Golden(f"golden {i}", goldens[i]["in"]) for i in order], [goldens[i]["out"] for i in order]


def check_golden_file(exported: Backend, path: Path) -> dict[str, Any]:
    """Compare an export with the PyTorch outputs that `dump_golden` stored at `path`; needs no PyTorch.

    Raises UserError with one fault for each output that differs by more than is allowed.
    """
    goldens, outputs = load_golden(path.read_bytes())
    return check_parity(_Stored(goldens, outputs, exported.metadata), exported, goldens, where=str(path))[0]


def check_metadata(metadata: Metadata, manifest: Mapping[str, Any], *, where: str) -> None:
    """Raise UserError if task, labels or operating point of a graph differ from its model's manifest.

    Comparing outputs would not reveal another threshold or label order.
    """
    declared = metadata.model_dump(mode="json")
    for field in ("task", "labels", "operating_point"):
        if declared[field] != manifest.get(field):
            raise UserError(
                f"the graph's metadata say {field} {declared[field]}, the manifest says {manifest.get(field)}",
                where=where,
                hint="the ONNX file belongs to another model or was modified",
            )


class _Stored:
    """Replays the stored outputs of the reference backend."""

    name, device = "stored", "cpu"

    def __init__(self, goldens: Sequence[Golden], answers: Sequence[dict[str, Array]], metadata: Metadata) -> None:
        self.metadata = metadata
        self._answers = {id(golden.inputs): answer for golden, answer in zip(goldens, answers, strict=True)}

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        return self._answers[id(inputs)]
