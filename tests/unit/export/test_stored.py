"""Weights stored in half the bytes: bit-identical outputs of the rounded net, in half the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from medzoo.errors import UserError
from medzoo.export.checked import export_checked
from medzoo.export.stored import pack_half_weights, unpack_half_weights
from medzoo.models.lenet import LeNet, LeNetParams
from medzoo.nn.net import Spec
from medzoo.nn.weights import load_weights, round_weights, weights_bytes
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata

LABELS = ("benign", "malignant")


def lenet() -> LeNet:
    torch.manual_seed(1)
    return LeNet(LeNetParams(variant="full"), Spec("classify", LABELS)).eval()


def facts(net: LeNet) -> Metadata:
    return Metadata(
        name="small", task="classify", labels=LABELS, inputs=net.inputs, outputs=net.outputs, geometry=net.geometry
    )


def test_half_the_bytes_give_the_outputs_of_the_rounded_net(tmp_path: Path) -> None:
    net = lenet()
    before = net.c1.weight.clone()
    round_weights(net)
    assert not torch.equal(before, net.c1.weight)
    assert torch.allclose(before, net.c1.weight, rtol=1e-3)
    whole = export_checked(net, facts(net), [], where="small").onnx
    small = export_checked(net, facts(net), [], where="small", halved=True).onnx
    assert len(small) < 0.62 * len(whole)
    image = (np.random.default_rng(0).random((3, 1, 40, 50)) * 255).astype(np.float32)
    answers = [OnnxBackend(raw, where="small").run({"image": image})["probabilities"] for raw in (whole, small)]
    assert np.array_equal(*answers)
    stored = weights_bytes(net, halved=True)
    assert len(stored) < 0.55 * len(weights_bytes(net))
    (tmp_path / "w.safetensors").write_bytes(stored)
    again = lenet()
    load_weights(again, tmp_path / "w.safetensors")
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_packing_is_undone_and_leaves_weights_alone_that_it_would_change() -> None:
    net = lenet()
    round_weights(net)
    raw = export_checked(net, facts(net), [], where="small").onnx
    found = {
        v.name: onnx.numpy_helper.to_array(v)
        for v in onnx.load_from_string(unpack_half_weights(pack_half_weights(raw))).graph.initializer
    }
    for value in onnx.load_from_string(raw).graph.initializer:
        assert np.array_equal(found[value.name], onnx.numpy_helper.to_array(value)), value.name
    assert unpack_half_weights(raw) == raw
    exact = export_checked(lenet(), facts(net), [], where="small").onnx
    assert len(pack_half_weights(exact)) > 0.95 * len(exact)


def test_a_weight_beyond_float16_is_named() -> None:
    net = lenet()
    with torch.no_grad():
        net.f6.weight[0, 0] = 1e6
    with pytest.raises(UserError, match=r"export\.store: f6\.weight is too large"):
        round_weights(net)
