"""Fitting a classifier: what it stops at, what it keeps, what validation figures are taken over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from medzoo.errors import UserError
from medzoo.models.lenet import LeNet, LeNetParams
from medzoo.nn.net import Spec
from medzoo.recipe import TrainSection
from medzoo.training.feeds.images import ImageBatches, OrderedImages
from medzoo.training.feeds.pictures import Pictures
from medzoo.training.fit import FitReport, answers, fit_gradient
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
    logits, target = answers(net, OrderedImages(_part(net), batch=1))
    expected = torch.nn.functional.cross_entropy(logits, target)
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
    ],
)
def test_every_way_of_training_runs_and_leaves_finite_weights(tmp_path: Path, train: dict[str, Any]) -> None:
    net, report = fit(tmp_path, **train)
    assert report.steps == (6 if "accumulate" not in train else 2)
    assert all(torch.isfinite(p).all() for p in net.parameters())
    assert (tmp_path / "logs" / "csv").is_dir()
    if "tensorboard" in train.get("logger", ()):
        assert list((tmp_path / "logs" / "tensorboard").glob("events*"))


def test_a_loss_that_is_not_finite_names_step_and_files_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    whole = Toys(24)
    _, first = fit(tmp_path, data=whole, epochs=1)
    good = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    blank = Toys(24, blank=["p07"])
    with pytest.raises(UserError, match=r"not finite at step \d+ .* on .*p07") as caught:
        fit(tmp_path, data=blank, epochs=1, checkpoint={"every_steps": 1000})
    assert "last checkpoint is kept" in str(caught.value)
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == good
    assert first.steps == 3


def test_early_stopping_stops(tmp_path: Path) -> None:
    _, report = fit(tmp_path, epochs=30, lr=1e-9, early_stopping=2, monitor="accuracy")
    assert report.steps == 3 * 3


def test_a_class_without_training_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the class 'bright' has no training images"):
        fit(tmp_path, data=Toys(24, classes=2))
