"""Deliberate damage to an exported graph, drawn from a seed, and whether the parity gate notices.

    python -m tests.damage zoo/breast-lesion-rcnn [--count 100]

Three kinds in turn: the weights of one output channel doubled; a threshold on scores or overlaps moved by 0.05 (one of
the graph's, or the operating threshold beside it); an operator exchanged for another that takes the same inputs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from medzoo.artifact import ModelFolder
from medzoo.errors import UserError
from medzoo.runtime.metadata import KEY
from medzoo.runtime.onnx_backend import OnnxBackend
from medzoo.runtime.parity import check_facts, check_stored

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


@dataclass(frozen=True)
class Damage:
    """A damaged file and what was done to it."""

    kind: str
    words: str
    onnx: bytes


def damages(raw: bytes, *, count: int, seed: int = 0) -> Iterator[Damage]:
    """`count` damaged copies of an ONNX file, one kind after the other."""
    rng = np.random.default_rng(seed)
    for number in range(count):
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


def caught(damage: Damage, folder: ModelFolder) -> str:
    """The gate's words for a damaged graph of a model folder, "" if it lets it pass."""
    try:
        backend = OnnxBackend(damage.onnx, where="damaged", device="cpu")
        check_stored(backend, folder.file("golden.npz"))
        check_facts(backend.metadata, folder.manifest, where="damaged")
    except UserError as error:
        return str(error).splitlines()[0]
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = ModelFolder.open(given.folder)
    raw = folder.file("model.onnx").read_bytes()
    missed = []
    for damage in damages(raw, count=given.count, seed=given.seed):
        words = caught(damage, folder)
        print(f"{damage.words}: {words or 'NOT CAUGHT'}", flush=True)
        missed += [] if words else [damage]
    print(f"{given.count - len(missed)} of {given.count} caught")


if __name__ == "__main__":
    main()
