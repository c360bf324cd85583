"""Requirements of every model type that the registry finds: no test here names a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo import registry
from medzoo.export.checked import export_checked
from medzoo.nn.net import Net, Spec
from medzoo.nn.torch_backend import TorchBackend
from medzoo.nn.weights import load_weights, weights_bytes
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Image
from tests.contract.examples import batch, fit

LABELS = {"classify": ("benign", "malignant"), "segment": ("background", "a", "b"), "detect": ("lesion",)}
TYPES = [
    f"{name}{variant}"
    for name in registry.names("model")
    for variant in ("", *(f"-with-{one}" for one in registry.entry("model", name).tiny_variants))
]


def build(name: str) -> tuple[Any, Net, tuple[str, ...]]:
    kind, _, variant = name.partition("-with-")
    entry = registry.entry("model", kind)
    labels = LABELS[entry.task]
    torch.manual_seed(0)
    tiny = entry.tiny_variants[variant] if variant else entry.tiny
    return entry, entry.build(entry.params(**tiny), Spec(entry.task, labels)), labels


def metadata(entry: Any, net: Net, labels: tuple[str, ...], name: str) -> Metadata:
    return Metadata(
        name=name,
        task=entry.task,
        labels=labels,
        inputs=net.inputs,
        outputs=net.outputs,
        host=net.training_input.host_example,
        geometry=net.geometry,
    )


@pytest.mark.parametrize("name", TYPES)
def test_learning_lowers_the_loss_or_solves(name: str) -> None:
    entry, net, labels = build(name)
    data = batch(net, labels=len(labels))
    if entry.learns == "closed-form":
        fit(net, labels=len(labels))
        answer = net.eval()(data[0])["probabilities"]
        assert (answer.argmax(1) == data[1]).float().mean() > 0.9
        return
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    net.train()
    for _ in range(12):
        torch.manual_seed(1)  # the same dropout and sampling in every step, so that only learning moves the loss
        total = torch.stack(list(net.loss(*data).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(float(total))
    assert losses[-1] < losses[0], losses


@pytest.mark.parametrize("name", TYPES)
def test_weights_come_back_and_those_of_another_net_do_not(name: str, tmp_path: Path) -> None:
    _, net, _ = build(name)
    path = tmp_path / "model.safetensors"
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.25)
    path.write_bytes(weights_bytes(net))
    _, other, _ = build(name)
    load_weights(other, path)
    for key, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key


@pytest.mark.parametrize("name", TYPES)
def test_export_agrees_and_every_backend_predicts(name: str) -> None:
    entry, net, labels = build(name)
    if entry.learns != "gradient":
        fit(net, labels=len(labels))
    net.eval()
    facts = metadata(entry, net, labels, name)
    exported = export_checked(net, facts, [], where=name)
    assert exported.parity["inputs"] >= 2
    backends = [OnnxBackend(exported.onnx, where=name, device="cpu"), TorchBackend(net, facts, device="cpu")]
    if net.inputs == ("features",):
        return
    answers = [Predictor(backend).predict(_image(net)).to_dict() for backend in backends]
    for answer in answers:
        answer.pop("seconds")
    assert answers[0]["task"] == entry.task
    if entry.task == "classify":
        one, two = (np.array(list(answer["probabilities"].values())) for answer in answers)
        assert np.allclose(one, two, atol=1e-4)
        assert one.sum() == pytest.approx(1, abs=1e-4)
    elif entry.task == "detect":
        assert len(answers[0]["detections"]) == len(answers[1]["detections"])
    else:
        assert answers[0] == answers[1]


@pytest.mark.parametrize("name", TYPES)
def test_an_image_gets_the_same_outputs_alone_and_in_a_batch(name: str) -> None:
    entry, net, labels = build(name)
    if net.inputs == ("features",):
        return
    if entry.learns != "gradient":
        fit(net, labels=len(labels))
    exported = export_checked(net.eval(), metadata(entry, net, labels, name), [], where=name)
    backend = OnnxBackend(exported.onnx, where=name, device="cpu")
    rng = np.random.default_rng(0)
    channels = net.geometry.channels * net.geometry.slices
    shape = (36, 44) if net.geometry.dims == 2 else (20, 24, 28)
    given = {"image": rng.uniform(0, 255, (3, channels, *shape)).astype(np.float32)}
    if net.inputs != ("image",):
        given = dict(next(one.inputs for one in exported.inputs if len(one.inputs[net.inputs[0]]) >= 3))
    together = backend.run(given)
    for index in range(3):
        alone = backend.run({key: value[index : index + 1] for key, value in given.items()})
        for key, value in alone.items():
            assert np.allclose(value[0], together[key][index], atol=1e-5), (key, index)


def _image(net: Net) -> Image:
    rng = np.random.default_rng(0)
    if net.geometry.dims == 3 or net.geometry.slices > 1:
        array = rng.uniform(1, 255, (net.geometry.channels, 24, 28, 20)).astype(np.float32)
        return Image(array, np.eye(4), "made")
    return Image(rng.uniform(1, 255, (net.geometry.channels, 60, 72)).astype(np.float32), None, "made")
