"""Fitting a detector: watched by AP, an operating threshold by its rule, and a folder that stands alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.flip import Flip
from medzoo.data.catalog import Catalog
from medzoo.errors import UserError
from medzoo.inputs.scenes import OrderedScenes, SceneBatches, ScenePictures
from medzoo.metrics.detect import Boxes
from medzoo.models.region_cnn import ENTRY
from medzoo.nn.backbone import Backbone
from medzoo.nn.detection.detector import Detector
from medzoo.nn.net import Spec
from medzoo.nn.weights import build_net, load_weights, weights_bytes
from medzoo.recipe import TrainSection, load_recipe
from medzoo.training.batch_size import largest_batch
from medzoo.training.fit import fit_gradient, predict_all
from medzoo.training.lr_finder import find_lr
from tests.unit.training.scenes_toys import ToyScenes

TINY = {**ENTRY.tiny, "false_positives": 0.5, "norm": "batch"}


def test_a_detector_learns_is_validated_by_ap_and_gets_its_threshold(tmp_path: Path) -> None:
    net = ENTRY.build(ENTRY.params.model_validate(TINY), Spec("detect", ("thing",)))
    data = ToyScenes(24)
    items = data.items()
    train, val = (ScenePictures(data, part, (), channels=1, size=(64, 64)) for part in (items[:18], items[18:]))
    settings = TrainSection(epochs=16, batch=6, lr=4e-3, monitor="ap50", clip=5.0)
    feed = SceneBatches(train, batch=6, seed=0, augmentations=[Flip(), Affine(rotate=0)])
    ordered = OrderedScenes(val, batch=4)
    torch.manual_seed(0)
    report = fit_gradient(net, settings, feed, ordered, folder=tmp_path, console=Console(quiet=True))
    assert report.steps == 48
    assert report.best is not None
    assert report.best > 0.15  # bright rectangles on dark ground; untrained it is below 0.03
    # What is kept is the state that was judged best.
    pairs = predict_all(net, ordered)
    assert net.metric("ap50", pairs) == pytest.approx(report.best, abs=1e-6)
    assert net.operating_point is not None
    threshold, rule = net.operating_point
    assert rule == ("lowest threshold with at most 0.5 false positives an image on 6 validation images")
    false = sum(
        int((found.scores >= threshold).sum()) - min(int((found.scores >= threshold).sum()), len(truth.boxes))
        for truth, found in pairs
    )
    assert false <= 0.5 * len(pairs)


def test_batch_norm_of_a_detector_meets_no_lonely_last_item(tmp_path: Path) -> None:
    """Seven pictures by three, and four for validation: both would leave one over."""
    net = ENTRY.build(ENTRY.params.model_validate(TINY), Spec("detect", ("thing",)))
    data = ToyScenes(11)
    items = data.items()
    train, val = (ScenePictures(data, part, (), channels=1, size=(64, 64)) for part in (items[:7], items[7:]))
    feed = SceneBatches(train, batch=3, seed=0)
    assert [len(feed.batch(0, step)[0]) for step in range(len(feed))] == [3, 3, 3]
    settings = TrainSection(epochs=2, batch=3, lr=1e-3, monitor="ap50")
    torch.manual_seed(0)
    report = fit_gradient(
        net, settings, feed, OrderedScenes(val, batch=3), folder=tmp_path, console=Console(quiet=True)
    )
    assert report.steps == 6
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())


def test_the_threshold_is_the_lowest_that_keeps_the_rate() -> None:
    def boxes(*scores: float) -> Boxes:
        places = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])[: len(scores)]
        return Boxes(places.numpy(), torch.zeros(len(scores), dtype=torch.int64).numpy(), torch.tensor(scores).numpy())

    net = Detector()
    for rate, threshold in ((0.5, 0.9), (1.0, 0.6), (2.0, 0.3)):
        net.false_positives = rate
        net.calibrate([(boxes(1.0), boxes(0.9, 0.6, 0.3))] * 4)
        assert net.operating_point is not None
        assert net.operating_point[0] == pytest.approx(threshold)


def test_labels_beyond_those_of_the_objects_count_as_false() -> None:
    there = Boxes(torch.tensor([[0, 0, 9, 9.0]]).numpy(), torch.tensor([0]).numpy(), torch.ones(1).numpy())
    found = Boxes(there.boxes, torch.tensor([2]).numpy(), torch.tensor([0.7]).numpy())
    assert Detector().metric("cpm", [(there, found)]) == 0


def test_frozen_layers_stay_and_unknown_ones_are_named() -> None:
    made = {"inputs": 1, "strides": (8, 16), "weights": None, "norm": "batch"}
    backbone = Backbone("test_efficientnet", freeze=["conv_stem", "bn1", "blocks.0"], **made)  # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.train()
    optimiser = torch.optim.SGD([p for p in backbone.parameters() if p.requires_grad], lr=0.1)
    sum(level.square().mean() for level in backbone(torch.rand(2, 1, 64, 64))).backward()  # type: ignore[union-attr]
    optimiser.step()
    changed = {name for name, tensor in backbone.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("network.conv_stem", "network.bn1", "network.blocks_0"))]
    assert not [name for name in changed if name.startswith("network.blocks.0.")]
    with pytest.raises(UserError, match=r"no layer 'blocks\.77'"):
        Backbone("test_efficientnet", freeze=["blocks.77"], **made)  # type: ignore[arg-type]


def test_a_trained_net_is_rebuilt_without_the_weights_it_started_from(tmp_path: Path) -> None:
    import timm

    start = tmp_path / "start.safetensors"
    save_file(timm.create_model("test_efficientnet", pretrained=False).state_dict(), start)
    path = tmp_path / "recipe.yaml"
    path.write_text(
        f"""medzoo: 1
name: toy
task: detect
labels: [thing]
data: {{type: voc, root: {tmp_path}, split: {{group: image}}}}
model: {{type: region-cnn, backbone: test_efficientnet, weights: {start}, channels: 1, size: [64, 64],
  strides: [8, 16], anchor_sizes: [[8], [24]], pyramid: 16, hidden: 32}}
"""
    )
    recipe = load_recipe(path, catalog=Catalog())
    net = build_net(recipe)
    saved = tmp_path / "model.safetensors"
    saved.write_bytes(weights_bytes(net))
    start.unlink()
    with pytest.raises(UserError, match="no safetensors file"):
        build_net(recipe)
    again = build_net(recipe, fresh=False)
    load_weights(again, saved)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_a_detectors_batch_and_rate_are_found_too() -> None:
    torch.manual_seed(0)
    net = ENTRY.build(ENTRY.params.model_validate(TINY), Spec("detect", ("thing",)))
    data = ToyScenes(6)
    feed = SceneBatches(ScenePictures(data, data.items(), (), channels=1, size=(64, 64)), batch=3, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    assert largest_batch(net, feed, limit=8, device="cpu") == 8
    assert 1e-6 < find_lr(net, feed, TrainSection(), steps=20, device="cpu").suggestion < 1e-1
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
