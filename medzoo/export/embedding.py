"""The output `embedding` of a graph: what its network and a few plain statistics see of each image, (B, D) float32.

Added to an exported ONNX file, so it needs neither PyTorch nor the onnx package, and models trained before get it too.
The network's part is the mean over the image of inner maps: the earliest, one midway and the coarsest. The statistics
are of the stored values: histogram, mean, spread, noise (Immerkaer, CVIU 64:300, 1996), edges, channel balance, and
the image at 12 x 12, which knows up from down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort

from medzoo.errors import UserError
from medzoo.guard.wire import (
    GRAPH_INITIALIZER,
    GRAPH_NODE,
    GRAPH_OUTPUT,
    MODEL_GRAPH,
    Field,
    Node,
    fields,
    message,
    name_of,
    node_field,
    opset,
    output_field,
    read_nodes,
    tensor_field,
)
from medzoo.types import Array

OUTPUT = "embedding"
_PREFIX = "guard_"
_OLDEST = 18
"""Version of the standard operators from which on ReduceMean takes its axes as an input, and Resize its `axes`."""
_WIDEST = 512
"""Channels of the coarsest map that is taken; wider ones would make the record in the file larger than its use."""
_FOLLOWED = frozenset({"BatchNormalization", "Relu", "Clip", "Tanh", "LeakyRelu", "InstanceNormalization"})
_LEVELS = (0.02, 0.07, 0.13, 0.25, 0.38, 0.5, 0.63, 0.75, 0.88, 0.98)
"""Of the value range, at which the histogram is counted."""
_GRID = 12
_STEP = 4  # every so many pixels a value is taken for the histogram
_SKIP = 3  # and an edge is measured, at full resolution
_FAR = np.iinfo(np.int64).max
_NOISE = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
_ALONG = np.array([[0, 0, 0], [0, -1, 1], [0, 0, 0]], np.float32)


@dataclass
class _Graph:
    """Nodes and constants that are added to a graph; every method returns the name of its result."""

    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Array] = field(default_factory=dict)

    def constant(self, name: str, values: Array) -> str:
        self.tensors[_PREFIX + name] = values
        return _PREFIX + name

    def call(self, op: str, inputs: Sequence[str], name: str, **attributes: int | float | str | list[int]) -> str:
        self.nodes.append(Node(op, inputs, [_PREFIX + name], attributes))
        return _PREFIX + name

    def mean(self, value: str, name: str, axes: Sequence[int], *, keep: bool = False) -> str:
        held = self.constant(f"axes_{'_'.join(map(str, axes))}", np.asarray(axes, np.int64))
        return self.call("ReduceMean", [value, held], name, keepdims=int(keep))

    def spread(self, value: str, mean: str, name: str, axes: Sequence[int]) -> str:
        """Standard deviation over `axes`, whose mean is given."""
        square = self.mean(self.call("Mul", [value, value], f"{name}_squares"), f"{name}_square", axes)
        variance = self.call("Sub", [square, self.call("Mul", [mean, mean], f"{name}_mean2")], f"{name}_variance")
        return self.call("Sqrt", [self.call("Relu", [variance], f"{name}_positive")], name)


def strip_embedding(raw: bytes) -> bytes:
    """The ONNX file without what `add_embedding` added; any other file as it is."""
    model = list(fields(raw))
    place, graph = _graph(model)

    def added(one: Field) -> bool:
        number, _, content = one
        if number == GRAPH_NODE:
            (node,) = read_nodes([one])
            return node.outputs[0] == OUTPUT or node.outputs[0].startswith(_PREFIX)
        if number == GRAPH_INITIALIZER:
            return name_of(content, 8).startswith(_PREFIX)
        return number == GRAPH_OUTPUT and name_of(content, 1) == OUTPUT

    kept = [one for one in graph if not added(one)]
    if len(kept) == len(graph):
        return raw
    model[place] = (MODEL_GRAPH, 2, message(kept))
    return message(model)


def add_embedding(
    raw: bytes,
    *,
    taps: Sequence[str],
    inputs: Sequence[str],
    values: tuple[float, float],
    channels: int,
    dims: int,
    where: str,
) -> bytes:
    """The ONNX file with the output `embedding`.

    `taps`: inner maps of the graph (see `find_taps`); `inputs`: the graph's; `values`: lowest and highest stored value;
    `channels`, `dims`: channels and spatial axes of an image. Raises UserError for a graph without these maps or of too
    old a version.
    """
    raw = strip_embedding(raw)
    model = list(fields(raw))
    place, graph = _graph(model)
    if opset(model) < _OLDEST:
        raise UserError(f"is of ONNX operators {opset(model)}; a guard needs {_OLDEST}", where, "export it again")
    known = {name for node in read_nodes(graph) for name in node.outputs}
    if missing := [tap for tap in taps if tap not in known]:
        raise UserError(f"the graph has no inner map {missing[0]!r}", where, "train the guard again: medzoo guard")
    made = _Graph()
    # The first map is large, and its spread would cost more than it tells.
    parts = [_tapped(made, tap, f"tap{n}", dims=dims, spread=n > 0) for n, tap in enumerate(taps)]
    if tuple(inputs) == ("image",):
        parts = [_of_images(made, part) for part in parts]
        parts += _statistics(made, values, channels=channels, dims=dims)
    elif tuple(inputs) == ("features",):
        parts += [made.call("Identity", ["features"], "features")]
    elif "regions" in inputs:
        parts = [_over_regions(made, part) for part in parts]
    made.nodes.append(Node("Concat", parts, [OUTPUT], {"axis": 1}))
    added = [tensor_field(name, array) for name, array in made.tensors.items()]
    nodes = [node_field(node) for node in made.nodes]
    output = output_field(OUTPUT, axes=("batch", "embedding"))
    model[place] = (MODEL_GRAPH, 2, message([*graph, *added, *nodes, output]))
    return message(model)


def find_taps(raw: bytes, example: Mapping[str, Array], *, where: str) -> tuple[str, ...]:
    """Inner maps to take the network's part of an embedding from: the first, one midway and the coarsest convolution,
    after what normalises and bends it. None for graphs without convolutions.

    `example`: inputs that the graph is run on once, to learn the size of every map.
    """
    model = list(fields(raw))
    place, graph = _graph(model)
    nodes = read_nodes(graph)
    users: dict[str, list[Node]] = {}
    for node in nodes:
        for name in node.inputs:
            users.setdefault(name, []).append(node)
    ends = []
    for node in nodes:
        if node.op == "Conv":
            end = node.outputs[0]
            while len(after := users.get(end, [])) == 1 and after[0].op in _FOLLOWED:
                end = after[0].outputs[0]
            ends.append(end)
    ends = list(dict.fromkeys(ends))
    if not ends:
        return ()
    outputs = {name_of(content, 1) for number, _, content in graph if number == GRAPH_OUTPUT}
    shown = [output_field(name) for name in ends if name not in outputs]
    model[place] = (MODEL_GRAPH, 2, message([*graph, *shown]))
    pair = {name: np.concatenate([array, array[::-1, ..., ::-1] * 0.5])[:2] for name, array in example.items()}
    last = {name: array[1:] for name, array in pair.items()}
    try:
        session = ort.InferenceSession(message(model), providers=["CPUExecutionProvider"])
        both, alone = session.run(ends, pair), session.run(ends, last)
    except Exception as error:  # ONNX Runtime raises a family of classes with no common public base
        raise UserError(f"cannot look into the graph: {str(error).splitlines()[0][:200]}", where) from error
    # Of a detector's regions there are more than images; of mirrored views too, but the images come first.
    rows = pair["regions"].shape[1] if "regions" in pair else 1
    sizes = {
        name: (one.shape[1], int(np.prod(one.shape[2:])))
        for name, one, other in zip(ends, both, alone, strict=True)
        if one.ndim >= 4
        and len(one) == 2 * len(other)
        and len(other) % rows == 0
        and np.prod(one.shape[2:]) > 1
        and one.shape[1:] == other.shape[1:]
        and np.allclose(one[rows : 2 * rows], other[:rows], atol=1e-3 * max(1.0, float(np.abs(other).max())))
    }
    if not sizes:
        return ()
    names = list(sizes)
    coarsest = min(area for _, area in sizes.values())
    deep = max(
        (name for name in names if sizes[name][1] == coarsest and sizes[name][0] <= _WIDEST),
        key=lambda name: (sizes[name][0], -names.index(name)),
        default=names[-1],
    )
    earlier = names[: names.index(deep)]
    midway = [name for name in earlier if coarsest < sizes[name][1] <= 6 * coarsest and sizes[name][0] <= _WIDEST // 2]
    chosen = [*earlier[:1], *midway[-1:], deep]
    return tuple(dict.fromkeys(chosen))


def _graph(model: Sequence[Field]) -> tuple[int, list[Field]]:
    place = next(n for n, one in enumerate(model) if one[0] == MODEL_GRAPH)
    return place, list(fields(model[place][2]))


def _tapped(made: _Graph, tap: str, name: str, *, dims: int, spread: bool) -> str:
    """Mean of an inner map over the image, (B, C), and its spread, (B, 2 C), where asked for; in float32."""
    axes = [*range(2, 2 + dims)]
    mean = made.mean(tap, f"{name}_mean", axes)
    if not spread:
        return made.call("Cast", [mean], f"{name}_float", to=1)
    both = made.call("Concat", [mean, made.spread(tap, mean, f"{name}_spread", axes)], name, axis=1)
    return made.call("Cast", [both], f"{name}_float", to=1)


def _of_images(made: _Graph, part: str) -> str:
    """The rows of the images themselves, where a graph runs mirrored views of them as further rows."""
    if not _has(made, "rows"):
        made.call("Shape", ["image"], "rows", start=0, end=1)
    first, axis = made.constant("first", np.array([0], np.int64)), made.constant("axis", np.array([0], np.int64))
    return made.call("Slice", [part, first, f"{_PREFIX}rows", axis], f"{part.removeprefix(_PREFIX)}_own")


def _over_regions(made: _Graph, part: str) -> str:
    """The mean of (B R, D) over the R regions of each image."""
    if not _has(made, "regions_shape"):
        made.call("Shape", ["regions"], "regions_shape", start=0, end=2)
    shape = f"{_PREFIX}regions_shape"
    rest = made.constant("rest", np.array([-1], np.int64))
    name = part.removeprefix(_PREFIX)
    wanted = made.call("Concat", [shape, rest], f"{name}_wanted", axis=0)
    return made.mean(made.call("Reshape", [part, wanted], f"{name}_apart"), f"{name}_regions", [1])


def _has(made: _Graph, name: str) -> bool:
    return any(node.outputs == [_PREFIX + name] for node in made.nodes)


def _statistics(made: _Graph, values: tuple[float, float], *, channels: int, dims: int) -> list[str]:
    """Statistics of `image`, each (B, n). At full resolution there is only a strided convolution."""
    low, high = values
    axes = [*range(2, 2 + dims)]
    offset = made.constant("low", np.array([low], np.float32))
    span = made.constant("span", np.array([max(high - low, 1e-6)], np.float32))

    def unit(value: str, name: str) -> str:
        return made.call("Div", [made.call("Sub", [value, offset], f"{name}_shifted"), span], name)

    every = [made.constant(name, np.array(one, np.int64)) for name, one in (
        ("starts", [0] * dims), ("ends", [_FAR] * dims), ("spatial", axes), ("steps", [_STEP] * dims)
    )]  # fmt: skip
    some = unit(made.call("Slice", ["image", *every], "some_stored"), "some")
    grey = made.mean(some, "grey", [1], keep=True)
    levels = made.constant("levels", np.array(_LEVELS, np.float32).reshape(1, -1, *[1] * dims))
    above = made.call("Cast", [made.call("Greater", [grey, levels], "above")], "above_float", to=1)
    mean = made.mean(grey, "level", axes)
    parts = [made.mean(above, "histogram", axes), mean, made.spread(grey, mean, "contrast", axes)]
    if channels > 1:
        parts += [made.mean(some, "channels", axes)]
    if dims == 2:
        kernels = np.stack([_NOISE, _ALONG, _ALONG.T])[:, None] / (channels * max(high - low, 1e-6))
        held = made.constant("kernels", np.repeat(kernels, channels, axis=1).astype(np.float32))
        moved = made.call("Conv", ["image", held], "moved", pads=[1, 1, 1, 1], strides=[_SKIP, _SKIP])
        strength = made.mean(made.call("Abs", [moved], "moved_abs"), "strength", axes)
        tiny = made.constant("tiny", np.array([1e-3], np.float32))
        parts += [made.call("Log", [made.call("Add", [strength, tiny], "strength_tiny")], "edges")]
        size = made.constant("grid_size", np.array([_GRID, _GRID], np.int64))
        grid = made.call("Resize", [grey, "", "", size], "grid", mode="linear", axes=axes, antialias=1)
        flat = made.constant("flat", np.array([0, -1], np.int64))
        parts += [made.call("Reshape", [grid, flat], "grid_flat")]
    return parts
