"""Fit nets in closed form, alone or after a training by gradient."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from medzoo.inputs.batches import Batches
from medzoo.nn.net import Net
from medzoo.recipe import TrainSection
from medzoo.report.summary import Console
from medzoo.training.fit import FitReport, Launcher, fit_gradient, predict_all
from medzoo.training.launch import launch_local


def fit_closed_form(net: Net, train: Batches) -> FitReport:
    """Collect every batch, then fit the net in closed form."""
    start = time.perf_counter()
    for step in range(len(train)):
        net.partial_fit(*train.batch(0, step))
    net.fit(getattr(train, "names", ()))
    net.eval()
    return FitReport(1, time.perf_counter() - start, findings=net.fit_report)


def fit_both(
    net: Net,
    settings: TrainSection,
    train: Batches,
    val: Batches | None,
    solve_on: Batches,
    calibrate_on: Batches | None,
    *,
    folder: Path,
    console: Console,
    resume: bool = False,
    name: str = "medzoo",
    launcher: Launcher = launch_local,
) -> FitReport:
    """Train by gradient on `train`, where the net has trainable parameters; then fit in closed form on `solve_on`, then
    calibrate on `calibrate_on`.

    See `fit_gradient`. Raises UserError as it does, and where nothing can be solved.
    """
    report = None
    if any(parameter.requires_grad for parameter in net.parameters()):
        report = fit_gradient(
            net, settings, train, val, folder=folder, console=console, resume=resume, name=name, launcher=launcher
        )
    console.print("fitting the closed-form part")
    solved = fit_closed_form(net, solve_on)
    if calibrate_on is not None:
        net.calibrate(predict_all(net, calibrate_on))
    if report is None:
        return solved
    return replace(report, seconds=report.seconds + solved.seconds, findings=solved.findings)
