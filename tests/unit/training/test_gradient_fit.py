"""Fitting a classifier: when it stops, what it keeps, and which items validation metrics cover."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from medzoo.errors import UserError
from medzoo.export.checked import export_checked
from medzoo.inputs.images import ImageBatches, OrderedImages
from medzoo.inputs.pictures import Pictures
from medzoo.models import timm
from medzoo.models.lenet import ENTRY, LeNet, LeNetParams
from medzoo.nn.net import Spec
from medzoo.recipe import TrainSection
from medzoo.runtime.metadata import Metadata
from medzoo.training.batch_size import largest_batch
from medzoo.training.checkpoints import list_checkpoints
from medzoo.training.fit import FitReport, fit_gradient, predict_all
from medzoo.training.lr_finder import find_lr
from tests.unit.training.pictures_toys import LABELS, Toys


def fit(folder: Path, *, data: Toys | None = None, count: int = 24, **train: Any) -> tuple[LeNet, FitReport]:
    """LeNet on toys; the last six pictures are for validation."""
    data = data or Toys(count)
    settings = TrainSection(**{"epochs": 2, "batch": 6, "lr": 3e-3, **train})
    spec = Spec("classify", LABELS, seed=0)
    torch.manual_seed(0)
    net = LeNet(LeNetParams(variant="full", coverage=0.6), spec)
    items = data.items()
    parts = [Pictures(data, part, (), labels=LABELS, channels=1, size=net.canvas) for part in (items[:-6], items[-6:])]
    train_feed = ImageBatches(parts[0], batch=settings.batch, seed=settings.seed, mixup=settings.mixup)
    val_feed = OrderedImages(parts[1], batch=4)
    report = fit_gradient(net, settings, train_feed, val_feed, folder=folder, console=Console(quiet=True))
    return net, report


def test_a_classifier_learns_is_calibrated_and_keeps_its_best_state(tmp_path: Path) -> None:
    net, report = fit(tmp_path, epochs=6, monitor="auc", class_weights="balanced", label_smoothing=0.05)
    assert report.steps == 18
    assert report.best == 1.0  # brightness tells the classes apart
    assert float(net.temperature) != 1.0
    assert net.calibration is not None
    assert net.calibration["temperature"] == pytest.approx(float(net.temperature), rel=1e-6)
    assert net.calibration["items"] == 6
    assert net.calibration["conformal"]["coverage"] == 0.6
    log = (tmp_path / "logs" / "csv" / "metrics.csv").read_text()
    assert {"loss", "lr", "val_loss", "val_auc"} <= set(log.splitlines()[0].split(","))


def test_the_validation_loss_is_that_of_all_items_whatever_the_last_batch(tmp_path: Path) -> None:
    net, report = fit(tmp_path, epochs=1)
    pairs = predict_all(net, OrderedImages(_part(net), batch=1))
    logits = torch.stack([torch.from_numpy(row) for row, _ in pairs])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([true for _, true in pairs]))
    assert report.best == pytest.approx(float(expected), rel=1e-4)


def _part(net: LeNet) -> Pictures:
    data = Toys(24)
    return Pictures(data, data.items()[-6:], (), labels=LABELS, channels=1, size=net.canvas)


@pytest.mark.parametrize(
    "train",
    [
        {"ema": 0.9, "accumulate": 2, "clip": 1.0, "channels_last": True},
        {"focal": 2.0, "optimizer": "sgd", "schedule": "step", "logger": ("csv", "tensorboard")},
        {"mixup": 0.4, "precision": "bf16", "workers": 1},
        {"precision": "fp16", "clip": 1.0},
    ],
)
def test_every_way_of_training_runs_and_leaves_finite_weights(tmp_path: Path, train: dict[str, Any]) -> None:
    net, report = fit(tmp_path, **train)
    assert report.steps == (6 if "accumulate" not in train else 4)  # the odd batch at an epoch's end steps too
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert (tmp_path / "logs" / "csv").is_dir()
    if "tensorboard" in train.get("logger", ()):
        assert list((tmp_path / "logs" / "tensorboard").glob("events*"))


def test_batch_norm_meets_no_lonely_last_item(tmp_path: Path) -> None:
    """Seven pictures by three, and four for validation: both would leave one over."""

    def trained(batch: int) -> tuple[Any, FitReport]:
        torch.manual_seed(0)
        net = timm.TimmNet(
            timm.TimmParams(network="test_efficientnet", size=(32, 32), channels=1), Spec("classify", LABELS)
        )
        assert any(isinstance(layer, torch.nn.BatchNorm2d) for layer in net.modules())
        items = Toys(11).items()
        parts = [
            Pictures(Toys(11), part, (), labels=LABELS, channels=1, size=(32, 32)) for part in (items[:7], items[7:])
        ]
        feeds = ImageBatches(parts[0], batch=batch, seed=0), OrderedImages(parts[1], batch=3)
        settings = TrainSection(epochs=3, batch=batch, lr=1e-3)
        return net, fit_gradient(net, settings, *feeds, folder=tmp_path / str(batch), console=Console(quiet=True))

    net, report = trained(3)
    assert report.steps == 9
    assert report.best is not None
    assert all(torch.isfinite(tensor).all() for tensor in net.state_dict().values())
    with pytest.raises(UserError, match=r"train.batch: batch norm needs more than one value per channel"):
        trained(1)


def test_a_loss_that_is_not_finite_names_step_and_files_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    pictures = Pictures(Toys(24), Toys(24).items()[:-6], (), labels=LABELS, channels=1, size=(32, 32))
    name = ImageBatches(pictures, batch=2, seed=0).names(0, 5)[1]
    with pytest.raises(UserError, match=rf"not finite at step 5 .* on .*{name}") as caught:
        fit(tmp_path, data=Toys(24, blank=[name]), epochs=1, batch=2, checkpoint={"every_steps": 1})
    assert "last checkpoint is kept" in str(caught.value)
    state = torch.load(list_checkpoints(tmp_path / "checkpoints")[0], weights_only=True)
    assert state["global_step"] == 5
    assert all(torch.isfinite(tensor).all() for tensor in state["state_dict"].values())


def test_a_validation_loss_that_is_not_finite_names_step_and_files(tmp_path: Path) -> None:
    name = Toys(24).items()[-1].id
    with pytest.raises(UserError, match=rf"the validation loss is not finite at step 3 .* on .*{name}"):
        fit(tmp_path, data=Toys(24, blank=[name]))


def test_a_metric_that_no_prediction_could_define_is_refused_at_once(tmp_path: Path) -> None:
    data = Toys(24)
    settings = TrainSection(epochs=9, batch=6, monitor="auc")
    net = LeNet(LeNetParams(variant="full"), Spec("classify", LABELS))
    items = data.items()
    parts = (items, [item for item in items if item.stratum == "dark"])
    train, val = (Pictures(data, part, (), labels=LABELS, channels=1, size=net.canvas) for part in parts)
    feeds = ImageBatches(train, batch=6, seed=0), OrderedImages(val, batch=4)
    with pytest.raises(UserError, match=r"train\.monitor: auc is not defined on the 8 validation items"):
        fit_gradient(net, settings, *feeds, folder=tmp_path, console=Console(quiet=True))


@pytest.mark.parametrize("early_stopping", [None, 5])
def test_a_metric_that_was_never_defined_chooses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, early_stopping: int | None
) -> None:
    last, _ = fit(tmp_path / "last", monitor="auc", choose="last")
    monkeypatch.setattr(LeNet, "metric", lambda *_: float("nan"))
    net, report = fit(tmp_path / "undefined", monitor="auc", early_stopping=early_stopping)
    assert report.best is None
    assert report.steps == 6
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), last.parameters(), strict=True))
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_monitor_that_is_no_metric_of_the_net_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.monitor: 'dice' is not a validation metric .*balanced-accuracy"):
        fit(tmp_path, monitor="dice")
    assert not (tmp_path / "checkpoints").exists()


def test_early_stopping_stops(tmp_path: Path) -> None:
    _, report = fit(tmp_path, epochs=30, lr=1e-9, early_stopping=2, monitor="accuracy")
    assert report.steps == 3 * 3


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the class 'bright' has no training images"):
        fit(tmp_path, data=Toys(24, classes=2))


def test_an_ensemble_trains_each_member_without_its_fold_and_exports_as_one_graph(tmp_path: Path) -> None:
    data = Toys(24)
    settings = TrainSection(epochs=2, batch=6, lr=3e-3)
    spec = Spec("classify", LABELS)
    torch.manual_seed(0)
    net = ENTRY.build(LeNetParams(variant="full", members=3, tta=("flip-x",)), spec)
    items = data.items()
    parts = [Pictures(data, part, (), labels=LABELS, channels=1, size=net.canvas) for part in (items[:18], items[18:])]
    train = ImageBatches(parts[0], batch=6, seed=0)
    folds = [train.fold(k, 3) for k in range(3)]
    for rest, held in folds:
        own = [{item.id for item in feed.pictures.items} for feed in (rest, held)]
        assert not own[0] & own[1]
        assert len(own[0] | own[1]) == 18
    assert {item.id for _, held in folds for item in held.pictures.items} == {item.id for item in items[:18]}
    val = OrderedImages(parts[1], batch=4)
    assert {item.id for item in train.joined(val).pictures.items} == {item.id for item in items}
    report = fit_gradient(net, settings, train, val, folder=tmp_path, console=Console(quiet=True))
    assert report.steps == 3 * 2 * 3  # 16 items each
    assert net.calibration["items"] == 24  # each from the fold that it was in
    assert "out of fold" in net.calibration["method"]
    members = [member.c1.weight for member in net.parts]
    assert not torch.equal(members[0], members[1])
    image = torch.rand(3, 1, 40, 50) * 255
    expected = torch.stack([member.logits(image) for member in net.parts]).mean(0)
    assert torch.allclose(net.logits(image), expected, atol=1e-5)
    facts = Metadata(
        name="e", task="classify", labels=LABELS, inputs=net.inputs, outputs=net.outputs, geometry=net.geometry
    )
    assert export_checked(net, facts, [], where="e").parity["inputs"] >= 2


def test_the_sweep_finds_a_rate_that_learns_and_leaves_the_net_as_it_was() -> None:
    data = Toys(24)
    torch.manual_seed(0)
    net = LeNet(LeNetParams(variant="full"), Spec("classify", LABELS))
    feed = ImageBatches(Pictures(data, data.items(), (), labels=LABELS, channels=1, size=net.canvas), batch=12, seed=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    sweep = find_lr(net, feed, TrainSection(), steps=40)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert 1e-5 < sweep.suggestion < 1e-1
    assert min(sweep.losses) < 0.9 * sweep.losses[0]
    with pytest.raises(UserError, match="did not fall at any learning rate"):
        find_lr(net, feed, TrainSection(), low=1e-12, high=1e-11, steps=1)


def test_the_largest_batch_is_the_one_that_still_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Toys(6)
    net = LeNet(LeNetParams(variant="full"), Spec("classify", LABELS))
    feed = ImageBatches(Pictures(data, data.items(), (), labels=LABELS, channels=1, size=net.canvas), batch=4, seed=0)
    original = LeNet.loss

    def bounded(self: LeNet, image: torch.Tensor, target: torch.Tensor) -> dict[str, torch.Tensor]:
        if len(image) > 23:
            raise torch.OutOfMemoryError("out of memory")
        return original(self, image, target)

    monkeypatch.setattr(LeNet, "loss", bounded)
    assert 21 <= largest_batch(net, feed, device="cpu") <= 23
    assert largest_batch(net, feed, limit=8, device="cpu") == 8


def test_on_a_cpu_the_batch_is_bound_by_half_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Toys(6)
    net = LeNet(LeNetParams(variant="full"), Spec("classify", LABELS))
    feed = ImageBatches(Pictures(data, data.items(), (), labels=LABELS, channels=1, size=net.canvas), batch=4, seed=0)
    found = []
    for free in (16 << 20, 32 << 20):
        monkeypatch.setattr("medzoo.training.batch_size.free_memory", lambda free=free: free)
        found.append(largest_batch(net, feed, device="cpu"))
    assert 2 < found[0] < 1024
    assert found[1] == pytest.approx(2 * found[0], rel=0.15)
    monkeypatch.setattr("medzoo.training.batch_size.free_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"train\.batch: not even one item fits"):
        largest_batch(net, feed, device="cpu")
