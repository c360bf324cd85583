from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.models.residual_unet import ResidualUNetParams, VolumeUNet
from medzoo.nn.net import Spec
from medzoo.nn.residual_unet import plan_levels

LABELS = ("background", "a", "b")
TINY = {"channels": (4, 6, 8), "patch": (16, 16, 16)}


def build(**params: object) -> VolumeUNet:
    torch.manual_seed(0)
    return VolumeUNet(ResidualUNetParams.model_validate({**TINY, **params}), Spec("segment", LABELS))


@pytest.mark.parametrize(
    ("patch", "spacing", "levels", "strides", "kernels"),
    [
        ((48, 48, 48), (1, 1, 1), 4, [(1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)], [(3, 3, 3)] * 4),
        (
            (64, 64, 16),
            (1, 1, 4),
            4,
            [(1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2)],
            [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)],
        ),
        ((16, 64, 64), (5, 0.8, 0.8), 3, [(1, 1, 1), (1, 2, 2), (1, 2, 2)], [(1, 3, 3), (1, 3, 3), (3, 3, 3)]),
        # An axis that is too short for more poolings lets the others go on.
        ((8, 32, 32), (1, 1, 1), 4, [(1, 1, 1), (2, 2, 2), (1, 2, 2), (1, 2, 2)], [(3, 3, 3)] * 4),
    ],
)
def test_strides_and_kernels_follow_the_spacing(patch, spacing, levels, strides, kernels) -> None:  # type: ignore[no-untyped-def]
    plan = plan_levels(patch, spacing, levels)
    assert list(plan.strides) == strides
    if levels < 4 or patch != (8, 32, 32):
        assert list(plan.kernels) == kernels


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"patch": (16, 16, 16), "channels": (4,) * 5}, "3 levels at most"),
        ({"patch": (18, 16, 16)}, "cannot be halved"),
        ({"slices": 3}, "slices are for"),
        ({"mirror": (0, 0)}, "twice"),
        ({"spacing": (1, 0, 1)}, "greater than 0"),
    ],
)
def test_parameters_that_do_not_fit_together(params: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ResidualUNetParams.model_validate({**TINY, **params})


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("size", [(16, 16, 16), (17, 20, 33), (5, 40, 9)])
def test_any_size_goes_in_and_comes_out(size: tuple[int, ...], residual: bool) -> None:
    answer = build(residual=residual).eval()(torch.rand(2, 1, *size))
    assert answer["labels"].shape == (2, *size)
    assert answer["probabilities"].shape == (2, 3, *size)
    assert torch.allclose(answer["probabilities"].sum(1), torch.ones(2, *size), atol=1e-5)


def test_a_prediction_does_not_depend_on_the_values_of_its_batch() -> None:
    net = build().eval()
    one, other = torch.rand(1, 1, 16, 16, 16), 50 * torch.rand(1, 1, 16, 16, 16)
    both = net(torch.cat([one, other]))["probabilities"]
    assert torch.allclose(both[:1], net(one)["probabilities"], atol=1e-5)


@pytest.mark.parametrize("deep", [True, False])
def test_deep_supervision_scores_each_level_with_half_the_weight(deep: bool) -> None:
    net = build(deep_supervision=deep).train()
    image, target = torch.rand(2, 1, 16, 16, 16), torch.randint(0, 3, (2, 16, 16, 16))
    levels = net.net(image)
    assert [tuple(level.shape[2:]) for level in levels] == ([(16,) * 3, (8,) * 3] if deep else [(16,) * 3])
    found = net.loss(image, target)["cross_entropy"]
    own = [torch.nn.functional.cross_entropy(levels[0], target)]
    if deep:
        own.append(torch.nn.functional.cross_entropy(levels[1], target[:, 1::2, 1::2, 1::2]))
    weights = [2 / 3, 1 / 3] if deep else [1.0]
    assert float(found.detach()) == pytest.approx(
        sum(w * float(v.detach()) for w, v in zip(weights, own, strict=True)), rel=1e-4
    )


@pytest.mark.parametrize("ignored", ["some", "all"])
def test_what_is_ignored_has_no_part_in_the_loss(ignored: str) -> None:
    net = build().train()
    image, target = torch.rand(2, 1, 16, 16, 16), torch.randint(0, 3, (2, 16, 16, 16))
    target[:, 6 if ignored == "some" else 0 :] = 255
    logits = torch.randn(2, 3, 16, 16, 16, requires_grad=True)
    losses = net._scored(logits, target)
    assert all(torch.isfinite(value) for value in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    assert logits.grad is not None
    where = logits.grad.abs().sum(dim=(0, 1, 3, 4)) > 0
    assert where.tolist() == [place < 6 and ignored == "some" for place in range(16)]
    assert set(build(dice=0).loss(image, target)) == {"cross_entropy"}


def test_a_perfect_prediction_has_zero_loss_and_a_wrong_one_the_full_loss() -> None:
    target = torch.randint(0, 3, (2, 16, 16, 16))
    truth = 60.0 * torch.nn.functional.one_hot(target, 3).movedim(-1, 1)
    assert sum(float(v) for v in build()._scored(truth, target).values()) < 1e-3
    wrong = build()._scored(truth.roll(1, dims=1), target)
    assert float(wrong["dice"]) > 0.99
    assert float(wrong["cross_entropy"]) > 10


def test_coarse_axes_are_neither_mixed_nor_pooled_at_the_first_level() -> None:
    """A change of one coarse slice leaves the features of the other slices at the first level alone."""
    net = build(patch=(16, 16, 8), spacing=(1, 1, 4), channels=(4, 6)).eval()
    image = torch.rand(1, 1, 16, 16, 8)
    changed = image.clone()
    changed[..., 3] *= 2
    convolution = net.net.encoder[0].first[0]
    moved = (convolution(image) - convolution(changed)).abs().sum(dim=(0, 1, 2, 3)) > 0
    assert moved.tolist() == [place == 3 for place in range(8)]
    assert net.net.encoder[1](net.net.encoder[0](image)).shape[2:] == (8, 8, 8)


def test_it_learns_which_half_is_bright() -> None:
    net = build().train()
    optimiser = torch.optim.AdamW(net.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)
    for _ in range(25):
        image = torch.from_numpy(rng.normal(0, 1, (2, 1, 16, 16, 16)).astype(np.float32))
        target = torch.zeros(2, 16, 16, 16, dtype=torch.int64)
        image[:, :, 8:] += 4
        target[:, 8:] = 1
        total = torch.stack(list(net.loss(image, target).values())).sum()
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    labels = net.eval()(image)["labels"]
    assert float((labels == target).float().mean()) > 0.97
