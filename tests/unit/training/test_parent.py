"""A training that begins with a trained model: weights by name and shape, heads by label, parts that are held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medzoo.data.catalog import Catalog
from medzoo.errors import UserError
from medzoo.nn.weights import build_net, weights_bytes
from medzoo.recipe import Recipe, read_recipe_text
from medzoo.training import parent

TINY: Mapping[str, tuple[str, str]] = {
    "region-cnn": (
        "detect",
        "{type: region-cnn, backbone: test_efficientnet, norm: batch, channels: 1, size: [64, 64], pyramid: 16, "
        "hidden: 16}",
    ),
    "timm": ("classify", "{type: timm, network: test_efficientnet, size: [32, 32]}"),
    "unet": ("segment", "{type: unet, dims: 2, channels: [4, 4, 8, 8, 8], crop: 32}"),
    "residual-unet": ("segment", "{type: residual-unet, channels: [4, 6, 8], patch: [16, 16, 16]}"),
}


def recipe(kind: str, labels: Sequence[str], *, seed: int = 0, **train: Any) -> Recipe:
    task, model = TINY[kind]
    data = {"detect": "voc", "classify": "image-folder", "segment": "msd"}[task]
    more = "".join(f", {key}: {value}" for key, value in train.items())
    lines = [f"name: tiny\ntask: {task}\nlabels: [{', '.join(labels)}]", f"train: {{seed: {seed}{more}}}"]
    lines += [f"data: {{type: {data}, root: nowhere, split: {{group: none}}}}", f"model: {model}"]
    return read_recipe_text("\n".join(["medzoo: 1", *lines]), "tiny", catalog=Catalog())


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make `open_parent` give a net of a recipe as if it had been trained."""

    def make(of: Recipe) -> Any:
        net = build_net(of)
        (tmp_path / "model.safetensors").write_bytes(weights_bytes(net))
        folder = SimpleNamespace(name="trained", path=tmp_path, file=lambda name: tmp_path / name)
        monkeypatch.setattr(parent, "open_parent", lambda model: (folder, of))
        monkeypatch.setattr(parent, "manifest_digest", lambda folder: "0" * 64)
        return net

    return make


@pytest.mark.parametrize("kind", TINY)
def test_rows_of_a_head_follow_their_labels(kind: str, trained: Any) -> None:
    first = ["background"] if TINY[kind][0] == "segment" else []
    old = trained(recipe(kind, [*first, "a", "b", "c"]))
    mine = recipe(kind, [*first, "c", "new", "A"], seed=5)
    net = build_net(mine)
    fresh = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = parent.inherit(net, mine, "trained")
    assert found.known == (*first, "c", "A")
    assert found.resized
    assert not found.fresh
    theirs, now, start = old.state_dict(), net.state_dict(), len(first)
    for name in found.resized:
        axis, each = parent.label_axes(mine)[name]
        a, b, c = (one.movedim(axis, 0) for one in (theirs[name], now[name], fresh[name]))
        rows = [slice((start + k) * each, (start + k + 1) * each) for k in range(3)]
        assert torch.equal(b[rows[0]], a[rows[2]])
        assert torch.equal(b[rows[2]], a[rows[0]])
        assert torch.equal(b[rows[1]], c[rows[1]])
        assert torch.equal(b[(start + 3) * each :], a[(start + 3) * each :])  # the background of a detector
    for name in found.whole:
        assert torch.equal(now[name], theirs[name])


def test_more_labels_than_the_parent(trained: Any) -> None:
    trained(recipe("timm", ["benign", "malignant"]))
    mine = recipe("timm", ["benign", "malignant", "normal"])
    found = parent.inherit(build_net(mine), mine, "trained")
    assert found.known == ("benign", "malignant")
    assert "resized by label" in found.lines()[0]


@pytest.mark.parametrize("kind", TINY)
def test_a_frozen_backbone_does_not_move(kind: str, trained: Any) -> None:
    first = ["background"] if TINY[kind][0] == "segment" else []
    trained(recipe(kind, [*first, "a", "b"]))
    mine = recipe(kind, [*first, "a", "c"], parent="trained", freeze="[backbone]")
    net = build_net(mine)
    found = parent.inherit(net, mine, "trained", freeze=("backbone",))
    assert found.frozen
    learning = {name for name, one in net.named_parameters() if one.requires_grad}
    assert learning
    assert not learning & {name for name in found.whole if name.startswith(tuple(found.frozen))}
    net.train()
    assert not any(module.training for module in net.frozen)


def test_what_cannot_be_gone_on_from_is_named(trained: Any) -> None:
    trained(recipe("timm", ["a", "b"]))
    other = recipe("unet", ["background", "a"])
    with pytest.raises(UserError, match="is a timm to classify, the recipe a unet to segment"):
        parent.inherit(build_net(other), other, "trained")
    mine = recipe("timm", ["a", "b"])
    with pytest.raises(UserError, match="the net has no part 'neck'"):
        parent.inherit(build_net(mine), mine, "trained", freeze=("neck",))


def test_differences_are_said(trained: Any) -> None:
    trained(recipe("timm", ["a", "b"]))
    text = recipe("timm", ["a", "b"]).resolved().replace("[32, 32]", "[64, 32]")
    mine = read_recipe_text(text + "preprocess: {host: [{op: clahe}]}\n", "tiny", catalog=Catalog())
    found = parent.inherit(build_net(mine), mine, "trained")
    assert found.differences == (
        "preprocess.host is clahe, its own nothing",
        "model.size is (64, 32), its own (32, 32)",
    )


def test_freezing_needs_a_parent() -> None:
    with pytest.raises(UserError, match="there is no parent"):
        recipe("timm", ["a", "b"], freeze="[backbone]")
