"""Grad-CAM where the result is known, and feature maps against the layers themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from medzoo.errors import UserError
from medzoo.models.alexnet import AlexNet, AlexNetParams
from medzoo.models.lenet import LeNet, LeNetParams
from medzoo.models.timm import TimmNet, TimmParams
from medzoo.nn.classifier import Classifier, ClassifierParams
from medzoo.nn.explain import feature_maps, grad_cam
from medzoo.nn.net import Spec

SPEC = Spec("classify", ("dark", "bright"))


class Sum(Classifier):
    """One map, the picture itself; class 1 likes it bright, class 0 dark."""

    def __init__(self) -> None:
        super().__init__(ClassifierParams(size=(32, 48), mean=0, std=1), SPEC)
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def network(self, x: Tensor) -> Tensor:
        mean = self.conv(x).mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


def test_heat_lies_where_the_class_comes_from() -> None:
    image = torch.zeros(1, 1, 32, 48)
    image[:, :, 5:11, 30:40] = 100
    heat = grad_cam(Sum(), image, 1)
    assert np.allclose(heat, image[0, 0].numpy() / 100, atol=1e-6)
    assert (grad_cam(Sum(), image, 0) == 0).all()


def test_heat_comes_back_to_the_pictures_own_size_and_place() -> None:
    image = torch.zeros(1, 1, 128, 96)  # fitted into 32 x 24 of the canvas
    image[:, :, 96:112, 8:24] = 100
    heat = grad_cam(Sum(), image, 1)
    assert heat.shape == (128, 96)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert 96 <= y < 112
    assert 8 <= x < 24
    assert heat[image[0, 0].numpy() == 0].mean() < 0.05


def test_maps_are_what_the_layers_give() -> None:
    torch.manual_seed(0)
    net = LeNet(LeNetParams(variant="full"), SPEC).eval()
    image = torch.rand(1, 1, 32, 32) * 255
    found = feature_maps(net, image)
    assert [maps.maps.shape for maps in found] == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)]
    assert [maps.layer for maps in found] == ["c1 (Conv2d)", "s2 (AvgPool2d)", "c3 (Conv2d)", "s4 (AvgPool2d)"]
    with torch.inference_mode():
        assert np.allclose(found[0].maps, net.c1(net.prepare(image))[0].numpy())


def test_maps_are_those_before_a_layer_that_works_in_place() -> None:
    torch.manual_seed(0)
    params = AlexNetParams(channels=1, size=(64, 64), widths=(4, 6, 8, 8, 6), hidden=(16, 16))
    found = feature_maps(AlexNet(params, SPEC), torch.rand(1, 1, 64, 64) * 255)
    assert found[0].maps.min() < 0  # convolved, not yet rectified


@pytest.mark.parametrize("variant", ["1998", "full"])
def test_lenets_and_frozen_networks_are_explained(variant: str) -> None:
    image = torch.rand(1, 1, 50, 40) * 255
    assert grad_cam(LeNet(LeNetParams.model_validate({"variant": variant}), SPEC), image, 1).shape == (50, 40)
    net = TimmNet(TimmParams(network="test_efficientnet", size=(64, 64), freeze=("conv_stem", "blocks")), SPEC)
    assert np.isfinite(grad_cam(net, image, 1)).all()


def test_a_network_without_maps_says_so() -> None:
    class Flat(Sum):
        def network(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean(dim=(1, 2, 3))] * 2, dim=1)

    with pytest.raises(UserError, match="no feature maps"):
        grad_cam(Flat(), torch.rand(1, 1, 32, 48), 1)
