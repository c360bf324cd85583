"""Deliberate damage to an exported graph, sampled from a seed, and whether the parity gate notices.

    python -m tests.damage zoo/breast-lesion-rcnn [--count 100]

Three kinds in turn: the weights of one output channel doubled; a threshold on scores or overlaps moved by 0.05 (one of
the graph's, or the operating threshold beside it); an operator exchanged for another that takes the same inputs.

Some of it harms nothing: a channel that is always zero, the smaller of two numbers that are equal by construction.
What passes the gate and leaves every answer to 60 further pictures as it was is drawn again, and counted apart.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from medzoo.artifact import ModelFolder
from medzoo.data.catalog import catalog
from medzoo.data.opened import open_data
from medzoo.errors import UserError
from medzoo.evaluation.score import subsample
from medzoo.export.precision import graph_inputs
from medzoo.loading.backend import torch_backend
from medzoo.recipe import load_recipe
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY
from medzoo.runtime.parity.gate import Golden, check_metadata, check_parity, compare, load_golden
from medzoo.runtime.parity.stable_inputs import stable_inputs
from medzoo.types import Array

EXCHANGED = {
    "Add": "Sub",
    "Sub": "Add",
    "Mul": "Div",
    "Div": "Mul",
    "Max": "Min",
    "Min": "Max",
    "Greater": "Less",
    "Less": "Greater",
    "GreaterOrEqual": "LessOrEqual",
    "Relu": "Sigmoid",
    "Sigmoid": "Relu",
    "Clip": "Sigmoid",
    "Softmax": "Sigmoid",
    "Exp": "Softplus",
    "Sqrt": "Abs",
    "And": "Or",
    "ReduceMax": "ReduceMin",
    "ReduceMin": "ReduceMax",
    "ReduceProd": "ReduceSum",
    "ReduceSum": "ReduceProd",
    "ReduceMean": "ReduceSum",
}
_ALONE = ("Sigmoid", "Relu", "Softplus", "Abs")  # take one input and no attribute
MOVE = 0.05
_FURTHER = 60  # pictures of the test part, which the gate does not see


@dataclass(frozen=True)
class Damage:
    """A damaged file and what was done to it."""

    kind: str
    words: str
    onnx: bytes


def damages(raw: bytes, *, seed: int = 0) -> Iterator[Damage]:
    """Damaged copies of an ONNX file without end, one kind after the other."""
    rng = np.random.default_rng(seed)
    for number in itertools.count():
        model = onnx.load_from_string(raw)
        kind = ("channel", "threshold", "operator")[number % 3]
        words = {"channel": _channel, "threshold": _threshold, "operator": _operator}[kind](model, rng)
        yield Damage(kind, words, model.SerializeToString())


def _channel(model: onnx.ModelProto, rng: np.random.Generator) -> str:
    """Every layer's turn is as likely, then every of its channels."""
    fed = {name for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul") for name in node.input[1:2]}
    weights = [one for one in model.graph.initializer if one.name in fed]
    weight = weights[int(rng.integers(len(weights)))]
    values = numpy_helper.to_array(weight).copy()
    channel = int(rng.integers(len(values)))
    values[channel] *= 2
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return f"channel {channel} of {weight.name} doubled"


def _threshold(model: onnx.ModelProto, rng: np.random.Generator) -> str:
    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    places = [
        (node, slot)
        for node in model.graph.node
        for slot in {"NonMaxSuppression": (3, 4)}.get(node.op_type, ())
        if abs(float(constants[node.input[slot]].ravel()[0])) <= 1  # what admits everything is no threshold
    ]
    places += [(n, 1) for n in model.graph.node if n.op_type == "Greater" and n.input[0] == "scores"]
    pick = int(rng.integers(len(places) + 1))
    move = MOVE if rng.random() < 0.5 else -MOVE
    if pick == len(places):
        (facts,) = [one for one in model.metadata_props if one.key == KEY]
        document = json.loads(facts.value)
        document["operating_point"]["threshold"] += move
        facts.value = json.dumps(document)
        return f"the operating threshold moved by {move}"
    node, slot = places[pick]
    value = constants[node.input[slot]] + np.float32(move)
    model.graph.initializer.append(numpy_helper.from_array(value.astype(np.float32), "moved"))
    node.input[slot] = "moved"
    return f"input {slot} of {node.op_type} {node.output[0]} moved by {move}"


def _operator(model: onnx.ModelProto, rng: np.random.Generator) -> str:
    nodes = [node for node in model.graph.node if node.op_type in EXCHANGED]
    node = nodes[int(rng.integers(len(nodes)))]
    before, node.op_type = node.op_type, EXCHANGED[node.op_type]
    if node.op_type in _ALONE:
        del node.input[1:]
        del node.attribute[:]
    return f"{before} {node.output[0]} exchanged for {node.op_type}"


class Gate:
    """The gate that the model went through when it was exported, with its inputs from probes and from its own data."""

    def __init__(self, folder: ModelFolder) -> None:
        self.manifest: Mapping[str, Any] = folder.manifest
        self.raw = folder.file("model.onnx").read_bytes()
        recipe = load_recipe(folder.file("recipe.yaml"), catalog=catalog())
        data = open_data(recipe)
        torch_side = torch_backend(folder, device="cpu")
        probes, _ = load_golden(folder.file("golden.npz").read_bytes())
        self.goldens = [
            *probes,
            *(
                stable_inputs(torch_side, one)[0]
                for one in torch_side.net.training_input.open(torch_side.net.geometry, recipe, data).golden()
            ),
        ]
        self.torch = _Remembered(torch_side, self.goldens)
        sound = self.opened(self.raw)
        check_parity(self.torch, sound, self.goldens, where="the model itself")
        further = graph_inputs(sound, data, subsample(data.part("test"), _FURTHER), runs=1)
        self.further = [(Golden("further", one), sound.run(one)) for one in further]

    def opened(self, raw: bytes) -> OnnxBackend:
        """A backend of an ONNX file. Raises UserError for one that cannot be run."""
        return OnnxBackend(raw, where="damaged", device="cpu")

    def caught(self, damage: Damage) -> str:
        """The gate's words for a damaged graph, "" if it lets it pass."""
        try:
            backend = self.opened(damage.onnx)
            check_metadata(backend.metadata, self.manifest, where="damaged")
            for golden in self.goldens:
                check_parity(self.torch, backend, [golden], where="damaged")
        except UserError as error:
            return str(error).splitlines()[0]
        return ""

    def harmful(self, damage: Damage) -> bool:
        """True if any output for the further pictures differs."""
        backend = self.opened(damage.onnx)
        return any(
            not difference.holds
            for golden, expected in self.further
            for difference in compare(golden, expected, backend.run(golden.inputs))
        )


class _Remembered:
    """PyTorch, run once for each golden input."""

    name, device = "torch", "cpu"

    def __init__(self, backend: Any, goldens: list[Golden]) -> None:
        self.metadata = backend.metadata
        self._answers = {id(golden.inputs): backend.run(golden.inputs) for golden in goldens}

    def run(self, inputs: Mapping[str, Array], outputs: Any = None) -> dict[str, Array]:
        answer: dict[str, Array] = self._answers[id(inputs)]
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    gate = Gate(ModelFolder.open(given.folder))
    found, missed, harmless = 0, 0, 0
    for damage in damages(gate.raw, seed=given.seed):
        words = gate.caught(damage)
        if not words and not gate.harmful(damage):
            harmless += 1
            print(f"{damage.words}: harmless", flush=True)
            continue
        found, missed = found + bool(words), missed + (not words)
        print(f"{damage.words}: {words or 'NOT CAUGHT'}", flush=True)
        if found + missed == given.count:
            break
    print(f"{found} of {found + missed} caught; {harmless} more changed no answer to {len(gate.further)} pictures")


if __name__ == "__main__":
    main()
