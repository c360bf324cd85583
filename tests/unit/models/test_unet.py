from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.models.unet import UNet, UNetParams
from medzoo.nn.net import Spec
from medzoo.nn.torch_backend import TorchBackend
from medzoo.runtime.decode.slices import segment_array
from medzoo.runtime.metadata import Metadata

LABELS = ("background", "csf", "grey-matter", "white-matter")
TINY = {"channels": (4, 4, 6, 6, 8), "crop": 32}


def build(**params: object) -> UNet:
    torch.manual_seed(0)
    net = UNet(UNetParams.model_validate({**TINY, **params}), Spec("segment", LABELS))
    # Statistics of normalisation that are not those of a new net, else much is merely zero.
    net.train()
    with torch.no_grad():
        for _ in range(20):
            size = (2, net.geometry.channels * net.geometry.slices, *(32,) * net.geometry.dims)
            net.logits(torch.rand(size) * 4 - 2)
    return net.eval()


def backend(net: UNet, **changes: object) -> TorchBackend:
    geometry = net.geometry.model_copy(update=changes)
    facts = Metadata(name="made", task="segment", labels=LABELS, outputs=net.outputs, geometry=geometry)
    return TorchBackend(net, facts, device="cpu")


@pytest.mark.parametrize(("dims", "size"), [(2, (33, 50)), (2, (16, 7)), (3, (17, 20, 33))])
def test_any_size_goes_in_and_comes_out(dims: int, size: tuple[int, ...]) -> None:
    answer = build(dims=dims)(torch.rand(2, 1, *size))
    assert answer["labels"].shape == (2, *size)
    assert answer["labels"].dtype == torch.uint8
    assert answer["probabilities"].shape == (2, 4, *size)
    assert torch.allclose(answer["probabilities"].sum(1), torch.ones(2, *size), atol=1e-5)


def test_the_receptive_field_is_no_larger_than_the_margin() -> None:
    """The gradient of an output with respect to the image is zero beyond the margin, in every place of the grid."""
    net = build()
    reach = net.geometry.margin
    assert reach is not None
    size, farthest = 2 * reach + 112, 0
    for place in range(reach + 32, reach + 48):
        image = torch.rand(1, 1, 32, size, requires_grad=True)
        net.logits(image)[0, :, 16, place].square().sum().backward()
        assert image.grad is not None
        seen = torch.nonzero(image.grad.abs().sum((0, 1, 2)))[:, 0]
        farthest = max(farthest, int((seen - place).abs().max()))
    assert 0.8 * reach < farthest <= reach


@pytest.mark.parametrize(("tile", "mirror"), [(48, False), (100, False), (100, True)])
def test_tiles_have_no_seams(tile: int, mirror: bool) -> None:
    net = build(foreground="nonzero", mirror=mirror)
    rng = np.random.default_rng(0)
    array = np.zeros((1, 420, 300), np.float32)
    array[:, 13:400, 21:290] = rng.normal(1, 1, (1, 387, 269))
    untiled = segment_array(backend(net), array)
    tiled = segment_array(backend(net, tile=tile), array)
    assert len(np.unique(untiled)) > 2
    # Rounding may tip a pixel whose two best labels tie.
    assert (tiled != untiled).mean() < 1e-5


def test_tiles_of_a_volume_are_bounded_and_have_no_seams() -> None:
    net = build(dims=3)
    array = np.random.default_rng(0).normal(0, 1, (1, 330, 16, 16)).astype(np.float32)
    sizes: list[tuple[int, ...]] = []

    class Watched(TorchBackend):
        def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
            sizes.append(inputs["image"].shape)
            return super().run(inputs, outputs)

    facts = backend(net, tile=32).metadata
    tiled = segment_array(Watched(net, facts, device="cpu"), array)
    assert max(s[2] for s in sizes) <= 32 + 2 * 107 + 15
    assert (tiled != segment_array(backend(net), array)).mean() < 1e-5


def test_where_the_array_was_cut_makes_no_difference() -> None:
    """The foreground's box starts anywhere; what the graph is given starts at whole multiples of its pooling."""
    net = build(foreground="nonzero", slices=3)
    rng = np.random.default_rng(1)
    array = np.zeros((1, 60, 70, 3), np.float32)
    array[:, 21:50, 19:60] = rng.normal(1, 1, (1, 29, 41, 3))
    whole = net(torch.from_numpy(array.transpose(0, 3, 1, 2)))["labels"][0].numpy()
    boxed = segment_array(backend(net, margin=16), array)[..., 1]
    near = np.zeros(boxed.shape, bool)
    near[21:50, 19:60] = True
    assert not boxed[~near].any()
    assert np.array_equal(segment_array(backend(net), array)[..., 1], whole)


def test_with_mirroring_the_prediction_is_equivariant_to_flips() -> None:
    image = torch.rand(1, 1, 48, 32) * 4 - 2
    plain, both = (build(mirror=mirror) for mirror in (False, True))
    one, other = both(image)["probabilities"], both(image.flip(2))["probabilities"].flip(2)
    assert torch.allclose(one, other, atol=1e-5)
    assert not torch.allclose(plain(image)["probabilities"], one, atol=1e-3)


def test_loss_counts_only_what_is_scored() -> None:
    net = build(dice=1.0)
    image = torch.rand(2, 1, 32, 32)
    target = torch.randint(0, 4, (2, 32, 32))
    target[:, 20:] = 255
    with torch.no_grad():
        one = net.loss(image, target)
        assert set(one) == {"cross_entropy", "dice"}
        assert all(torch.isfinite(v) for v in one.values())
        perfect = UNet.loss(_Sure(net, target), image, target)
        assert float(perfect["dice"]) < 0.02
        assert float(perfect["cross_entropy"]) < 1e-3
        assert set(build(dice=0).loss(image, target)) == {"cross_entropy"}


class _Sure:
    """Stands in for a net whose logits are the truth where it is scored, and wrong elsewhere."""

    def __init__(self, net: UNet, target: torch.Tensor) -> None:
        self.params, self.dice, self.steps = net.params, net.dice, net.steps
        truth = torch.where(target == 255, 2, target)
        self.answer = 30.0 * torch.nn.functional.one_hot(truth, 4).movedim(-1, 1)

    def logits(self, image: torch.Tensor) -> torch.Tensor:
        return self.answer


@pytest.mark.parametrize(("params", "words"), [({"slices": 4}, "odd"), ({"dims": 3, "slices": 3}, "dims: 2")])
def test_parameters_that_do_not_fit_together(params: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        UNetParams.model_validate(params)
