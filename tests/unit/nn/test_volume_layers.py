from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medzoo.nn.volume_layers import FlatConv3d, SummedInstanceNorm3d


def flat(kernel: tuple[int, int, int], inputs: int = 8, **options: object) -> FlatConv3d:
    torch.manual_seed(0)
    sides = tuple(side // 2 for side in kernel)
    return FlatConv3d(inputs, 5, kernel, padding=sides, bias=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 3, 1)])
@pytest.mark.parametrize("size", [(7, 6, 5), (1, 4, 9), (4, 1, 3), (2, 3, 1), (1, 1, 1)])
def test_planes_give_the_convolution_of_the_volume(kernel: tuple[int, int, int], size: tuple[int, ...]) -> None:
    conv = flat(kernel)
    assert conv.is_flat
    x = torch.randn(2, 8, *size)
    assert torch.allclose(conv(x), conv.as_planes(x), atol=1e-5)


def test_neighbours_of_every_axis_count_alike_in_the_middle_and_at_each_edge() -> None:
    """A single bright voxel anywhere comes out as the kernel, cut at the edges and never wrapped around."""
    conv, size = flat((3, 3, 3)), (4, 3, 5)
    for place in np.ndindex(*size):
        x = torch.zeros(1, 8, *size)
        x[(0, 3, *place)] = 1
        assert torch.allclose(conv.as_planes(x), conv(x), atol=1e-6), place


@pytest.mark.parametrize(
    "conv",
    [
        flat((3, 3, 3), inputs=4),
        flat((1, 3, 3)),
        flat((3, 3, 3), stride=2),
        FlatConv3d(8, 5, 3, padding=0, bias=False),
        FlatConv3d(8, 5, 3, padding=1),
    ],
)
def test_others_stay_as_they_are(conv: FlatConv3d) -> None:
    assert not conv.is_flat


@pytest.mark.parametrize("kernel", [(3, 3, 3), (3, 3, 1)])
def test_the_exported_graph_convolves_planes_and_takes_any_size(kernel: tuple[int, int, int]) -> None:
    import onnx
    import onnxruntime as ort

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = flat(kernel)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x)

    net, free = Net().eval(), torch.export.Dim.DYNAMIC
    shapes = ({0: free, 2: free, 3: free, 4: free},)
    program = torch.onnx.export(net, (torch.randn(2, 8, 6, 7, 5),), dynamo=True, verbose=False, dynamic_shapes=shapes)
    assert program is not None
    model = program.model_proto
    weights = {value.name: tuple(value.dims) for value in model.graph.initializer}
    convolved = [weights[node.input[1]] for node in model.graph.node if node.op_type == "Conv"]
    assert convolved == [(15, 8, 3, kernel[2])]
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for size in [(6, 7, 5), (1, 1, 2), (9, 3, 4)]:
        x = torch.randn(3, 8, *size)
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        assert np.allclose(found, net(x).detach().numpy(), atol=1e-5), size
    onnx.checker.check_model(model)


@pytest.mark.parametrize("shape", [(2, 3, 9, 8, 7), (1, 2, 1, 1, 5), (3, 1, 4, 1, 1)])
def test_sums_in_two_steps_give_the_instance_norm(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = SummedInstanceNorm3d(shape[1], affine=True)
    with torch.no_grad():
        norm.weight.uniform_(0.5, 2)
        norm.bias.uniform_(-1, 1)
    x = 3 * torch.randn(*shape) + 2
    assert torch.allclose(norm(x), norm.by_sums(x), atol=1e-5)


def test_a_constant_channel_gives_the_bias() -> None:
    norm = SummedInstanceNorm3d(1, affine=True)
    found = norm.by_sums(torch.full((1, 1, 8, 8, 8), 1000.1))
    assert torch.isfinite(found).all()
    assert float(found.abs().max()) < 0.1
