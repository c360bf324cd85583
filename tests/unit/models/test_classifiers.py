"""LeNet, AlexNet and timm's networks: exact parameter counts, sizes in the graph, weights, frozen layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from medzoo.errors import UserError
from medzoo.models.alexnet import AlexNet, AlexNetParams
from medzoo.models.lenet import C3, LeNet, LeNetParams, PartialConvolution
from medzoo.models.timm import TimmNet, TimmParams
from medzoo.nn.net import Spec

THOUSAND = Spec("classify", tuple(map(str, range(1000))))
TEN = Spec("classify", tuple(map(str, range(10))))
TWO = Spec("classify", ("benign", "malignant"))


def counts(net: nn.Module) -> list[int]:
    """Trained parameters of each layer that has any, in order."""
    own = [sum(p.numel() for p in module.parameters(recurse=False)) for module in net.modules()]
    return [n for n in own if n]


def test_convolution_and_pooling_are_those_of_the_slides() -> None:
    image = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]])
    kernel = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]])
    got = nn.functional.conv2d(image[None, None].float(), kernel[None, None].float())
    assert got[0, 0].tolist() == [[4, 3, 4], [2, 4, 3], [2, 3, 4]]
    table = torch.tensor([[1, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])[None, None].float()
    assert nn.functional.max_pool2d(table, 2)[0, 0].tolist() == [[6, 8], [3, 4]]
    assert nn.functional.avg_pool2d(table, 2)[0, 0].tolist() == [[3.25, 5.25], [2, 2]]
    with torch.device("meta"):
        maps = nn.Conv2d(1, 400, 8)(torch.empty(1, 1, 96, 96))
    assert maps[0, 0].numel() == 7921
    assert maps.numel() == 3_168_400


def test_alexnet_of_the_slides_layer_by_layer() -> None:
    with torch.device("meta"):
        net = AlexNet(AlexNetParams(), THOUSAND)
        assert counts(net) == [7_296, 110_848, 885_120, 663_936, 442_624, 51_384_320, 16_781_312, 4_097_000]
        assert sum(counts(net)) == 74_372_456
        sides, x = [], torch.empty(1, 3, 224, 224)
        for layer in net.features:
            x = layer(x)
            if isinstance(layer, nn.Conv2d | nn.MaxPool2d):
                sides.append(x.shape[-1])
    assert sides == [56, 28, 28, 14, 14, 14, 14, 7]
    assert x.numel() == 12_544


def test_alexnet_of_2012_layer_by_layer() -> None:
    with torch.device("meta"):
        net = AlexNet(AlexNetParams(variant="2012", size=(227, 227)), THOUSAND)
        # The third number is of the layer without groups; torchvision's network (61,100,840) is another.
        assert counts(net) == [34_944, 307_456, 885_120, 663_936, 442_624, 37_752_832, 16_781_312, 4_097_000]
        assert sum(counts(net)) == 60_965_224
        assert net.features(torch.empty(1, 3, 227, 227)).shape == (1, 256, 6, 6)


def test_lenet_of_1998_has_sixty_thousand_and_the_full_one_61706() -> None:
    with torch.device("meta"):
        paper, full = LeNet(LeNetParams(), TEN), LeNet(LeNetParams(variant="full"), TEN)
    assert counts(paper) == [156, 12, 1_516, 32, 48_120, 10_164]
    assert counts(full) == [156, 2_416, 48_120, 10_164, 850]
    assert (sum(counts(paper)), sum(counts(full))) == (60_000, 61_706)


def test_a_map_of_c3_sees_only_what_the_table_says() -> None:
    assert sum(map(len, C3)) == 60
    torch.manual_seed(0)
    layer = PartialConvolution()
    image = torch.randn(1, 6, 14, 14)
    before = layer(image)
    for source in range(6):
        changed = image.clone()
        changed[:, source] += 1
        moved = (layer(changed) - before).abs().amax(dim=(0, 2, 3)) > 1e-6
        assert moved.tolist() == [source in sources for sources in C3]


@pytest.mark.parametrize(
    ("kind", "params"),
    [
        (LeNet, LeNetParams()),
        (LeNet, LeNetParams(variant="full", size=(40, 36), channels=3)),
        (AlexNet, AlexNetParams(size=(70, 90), channels=1, widths=(4, 6, 8, 8, 6), hidden=(9, 7))),
        (AlexNet, AlexNetParams(variant="2012", size=(80, 99), widths=(4, 6, 8, 8, 6), hidden=(9, 7), batch_norm=True)),
        (TimmNet, TimmParams(network="test_vit", size=(160, 160), tta=("flip-x", "flip-y"))),
    ],
)
def test_any_size_goes_in_and_probabilities_come_out(kind: Any, params: Any) -> None:
    torch.manual_seed(0)
    net = kind(params, TWO).eval()
    for shape in ((31, 45), (200, 90)):
        answer = net(torch.rand(2, params.channels, *shape) * 255)["probabilities"]
        assert answer.shape == (2, 2)
        assert torch.allclose(answer.sum(1), torch.ones(2), atol=1e-5)


def test_tta_makes_the_prediction_the_same_for_the_mirror_image() -> None:
    torch.manual_seed(0)
    net = LeNet(LeNetParams(tta=("flip-x",)), TWO).eval()
    # Of the canvas' own aspect: a fitted picture lies top left, its mirror image would lie top right.
    image = torch.rand(1, 1, 64, 64) * 255
    assert torch.allclose(net.logits(image), net.logits(image.flip(3)), atol=1e-5)
    plain = LeNet(LeNetParams(), TWO).eval()
    assert not torch.allclose(plain.logits(image), plain.logits(image.flip(3)), atol=1e-3)


def test_lite0_starts_from_the_packages_weights_and_keeps_frozen_layers() -> None:
    params = TimmParams(weights="package:efficientnet-lite0", size=(32, 32), freeze=("conv_stem", "bn1", "blocks.0"))
    torch.manual_seed(0)
    net = TimmNet(params, TWO).train()
    rgb = TimmNet(params.model_copy(update={"channels": 3}), TWO)
    # A grey picture is what three equal channels were to the loaded network.
    assert torch.allclose(net.body.conv_stem.weight, rgb.body.conv_stem.weight.sum(1, keepdim=True), atol=1e-6)
    stem, mean = net.body.conv_stem.weight.clone(), net.body.bn1.running_mean.clone()
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.loss(torch.rand(4, 1, 40, 30) * 255, torch.tensor([0, 1, 0, 1]))["cross_entropy"].backward()
    later = net.body.blocks[3][0].conv_pw.weight.clone()
    optimiser.step()
    assert torch.equal(net.body.conv_stem.weight, stem)
    assert torch.equal(net.body.bn1.running_mean, mean)
    assert not torch.equal(net.body.blocks[3][0].conv_pw.weight, later)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_file({"conv.weight": torch.zeros(3)}, other)
    with pytest.raises(UserError, match="weights of another network"):
        TimmNet(TimmParams(network="test_efficientnet", weights=str(other)), TWO)
    with pytest.raises(UserError, match=r"weights of efficientnet_lite0, not of 'resnet18'"):
        TimmNet(TimmParams(network="resnet18", weights="package:efficientnet-lite0"), TWO)


def test_unknown_names_are_reported() -> None:
    with pytest.raises(UserError, match="cannot build 'no_such_net'"):
        TimmNet(TimmParams(network="no_such_net"), TWO)
    with pytest.raises(UserError, match=r"no layer 'stages\.0'"):
        TimmNet(TimmParams(network="test_efficientnet", freeze=("stages.0",)), TWO)
