"""Progress of volumes: every run of the graph is told, a terminal gets a bar, a file a line now and then."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from medzoo.report import volume_progress
from medzoo.report.summary import Console
from medzoo.report.volume_progress import VolumeProgress
from medzoo.runtime.metadata import Geometry, Metadata, SlidingWindow
from medzoo.runtime.predictor import Predictor
from medzoo.types import Image


class Zeros:
    """Background everywhere."""

    name, device = "toy", "cpu"

    def __init__(self, geometry: Geometry) -> None:
        labels = ("none", "some")
        outputs = ("labels", "probabilities")
        self.metadata = Metadata(name="toy", task="segment", labels=labels, outputs=outputs, geometry=geometry)
        self.runs = 0

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        self.runs += 1
        image = inputs["image"]
        shape = (len(image), *image.shape[2:])
        return {
            "labels": np.zeros(shape, np.uint8),
            "probabilities": np.stack([np.ones(shape), np.zeros(shape)], axis=1).astype(np.float32),
        }


@pytest.mark.parametrize(
    "geometry",
    [
        Geometry(dims=3, window=SlidingWindow(size=(8, 8, 8))),
        Geometry(dims=3, window=SlidingWindow(size=(8, 8, 8)), foreground="nonzero"),
        Geometry(dims=2),
        Geometry(dims=2, axis=0, tile=8, margin=2),
        Geometry(dims=3, tile=8, margin=2),
    ],
)
def test_every_run_is_told_and_the_last_is_all(geometry: Geometry) -> None:
    array = np.zeros((1, 20, 18, 12), np.float32)
    array[:, 4:16, 3:15, 2:11] = 1
    backend, told = Zeros(geometry), []
    predictor = Predictor(backend)
    predictor.progress = lambda name, done, total: told.append((name, done, total))
    predictor.predict(Image(array, np.eye(4), "scan.nii.gz"))
    assert told[-1][1] == told[-1][2] == backend.runs
    assert [done for _, done, _ in told[:-1]] == list(range(1, backend.runs + 1))
    assert {name for name, _, _ in told} == {"scan.nii.gz"}


def test_a_file_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 11.0, 12.0, 22.0, 30.0])
    monkeypatch.setattr(volume_progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    progress = VolumeProgress(Console(file=out, width=80))
    for done in range(1, 7):
        progress("a[b].nii.gz", done, 6)
    # The first run tells when it began: of the five others two took 11 s, four took 22 s.
    assert out.getvalue().splitlines() == ["a[b].nii.gz: 50 %, 0:16 left", "a[b].nii.gz: 83 %, 0:05 left"]


@pytest.mark.parametrize("named", [True, False])
def test_a_terminal_gets_a_bar_that_goes_away(named: bool) -> None:
    out = io.StringIO()
    progress = VolumeProgress(Console(file=out, width=80, force_terminal=True), named=named)
    progress("head.nii.gz", 1, 4)
    progress("head.nii.gz", 2, 4)
    progress.pause()
    progress("head.nii.gz", 4, 4)
    progress.pause()
    assert ("head.nii.gz" in out.getvalue()) is named
    assert "━" in out.getvalue()
