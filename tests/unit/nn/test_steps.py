from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from medzoo import registry
from medzoo.export.half import half_bytes
from medzoo.nn.layers import LocalResponseNorm, lrn_by_shifts, lrn_in_parts
from medzoo.nn.steps import build_steps


def test_steps_do_their_arithmetic_in_order() -> None:
    image = torch.tensor([[[[0.0, 127.5, 255.0]]]])
    steps = build_steps(
        [
            {"op": "scale", "factor": 1 / 255, "offset": 0.5},
            {"op": "clip", "low": 0.5, "high": 1.2},
            {"op": "normalize", "mean": [0.5], "std": [0.5]},
        ]
    )
    assert torch.allclose(steps(image), torch.tensor([[[[0.0, 1.0, 1.4]]]]))


def test_zscore_is_taken_per_image_and_leaves_zeros_alone() -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.uniform(10, 90, (2, 1, 8, 8)).astype(np.float32))
    image[1] *= 7
    image[:, :, :3] = 0
    out = build_steps([{"op": "zscore", "where": "nonzero"}])(image)
    assert (out[:, :, :3] == 0).all()
    inside = out[:, :, 3:].flatten(1)
    assert torch.allclose(inside.mean(1), torch.zeros(2), atol=1e-5)
    assert torch.allclose(inside.std(1, correction=0), torch.ones(2), atol=1e-4)
    assert torch.allclose(out[:1], build_steps([{"op": "zscore", "where": "nonzero"}])(image[:1]))


def test_resize_has_half_pixel_centres() -> None:
    image = torch.arange(4.0).view(1, 1, 1, 4)
    out = build_steps([{"op": "resize", "size": (1, 2)}])(image)
    assert torch.allclose(out.flatten(), torch.tensor([0.5, 2.5]))


def test_every_step_is_listed_under_its_own_name() -> None:
    steps = registry.entries("graph-step")
    assert set(steps) >= {"scale", "clip", "normalize", "zscore", "resize"}
    for name, step in steps.items():
        assert step.model_fields["op"].default == name


def test_lrn_is_the_papers_formula() -> None:
    x = torch.randn(1, 7, 2, 2, generator=torch.Generator().manual_seed(0))
    out = LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)(x)
    squares = torch.nn.functional.pad((x**2), (0, 0, 0, 0, 2, 2)).unfold(1, 5, 1).sum(-1)
    assert torch.allclose(out, x / (2 + 1e-4 * squares) ** 0.75, atol=1e-6)


def test_a_channel_of_zeros_stays_finite() -> None:
    out = build_steps([{"op": "zscore", "where": "all"}])(torch.zeros(1, 1, 4, 4))
    assert out.abs().max() == pytest.approx(0)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_lrn_by_shifts_is_the_norm(size: int) -> None:
    torch.manual_seed(0)
    x = 300 * torch.rand(2, 9, 4, 5)
    norm = LocalResponseNorm(size, alpha=1e-2, k=2.0)
    assert torch.allclose(norm(x), lrn_by_shifts(x, size, 1e-2, 2.0), rtol=1e-5)


def test_lrn_by_shifts_stays_in_float32_where_a_graph_is_halved() -> None:
    """Squares of 300 are beyond float16."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 1), torch.nn.ReLU(), LocalResponseNorm(5, alpha=5e-4, k=2.0, whole=False)
    )
    layers.eval()
    program = torch.onnx.export(layers, (torch.rand(1, 1, 4, 5),), dynamo=True, verbose=False)
    assert program is not None
    assert "LRN" not in [node.op_type for node in program.model_proto.graph.node]
    halved = onnx.load_from_string(half_bytes(program.model_proto.SerializeToString()))
    # A CPU computes float16 in float32, so that what overflows elsewhere does not here.
    in_half = {node.op_type for node in halved.graph.node if any(name.endswith("/half") for name in node.input)}
    assert in_half == {"Conv", "Relu", "Cast"}


def test_lrn_of_bfloat16_is_the_sum_in_float32_rounded() -> None:
    x = torch.randn(2, 384, 23, 29, generator=torch.Generator().manual_seed(0)).mul(9).to(torch.bfloat16)
    exact = torch.nn.functional.local_response_norm(x.float(), 5, 1e-2, 0.75, 1.0)
    for one in (x, x.to(memory_format=torch.channels_last)):
        assert torch.allclose(lrn_in_parts(one, 5, 1e-2, 1.0).float(), exact, rtol=2**-8)


def test_log_scale_spreads_dark_values_and_keeps_both_ends() -> None:
    image = torch.tensor([[[[-3.0, 0.0, 10.0, 60.0, 255.0]]]])
    out = build_steps([{"op": "log-scale", "knee": 8.0}])(image).flatten()
    expected = 255 * np.log1p(np.array([0, 0, 10, 60, 255]) / 8) / np.log1p(255 / 8)
    assert np.allclose(out.numpy(), expected, atol=1e-3)
    assert out[2] > 50
