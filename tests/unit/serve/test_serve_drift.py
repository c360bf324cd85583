"""The drift alarm: silent on a model's own data, ringing on others; counts and nothing else."""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medzoo.guard.record import Familiar
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.drift import WINDOW, Drift
from tests.unit.guard.sky_toys import guarded_graph, sky
from tests.unit.serve.test_serve_guard import upload


def replay(levels: Any, *, count: int, power: float = 1.0) -> Drift:
    """Answers whose p are those of a conformal test with `levels` validation images; a power above 1 makes them odd."""
    rng = np.random.default_rng(0)
    drift = Drift()
    for u in rng.random(count) ** power:
        p = float(np.ceil((levels + 1) * u) / (levels + 1))
        drift.observe(None, Familiar("yes" if p > 0.05 else "unsure", p, ""))
    return drift


@pytest.mark.parametrize("levels", [19, 94, 300])
def test_ten_thousand_own_images_ring_no_alarm(levels: int) -> None:
    assert replay(levels, count=10_000).alarmed_at is None


def test_images_a_little_odder_ring_none() -> None:
    assert replay(94, count=10_000, power=1.25).alarmed_at is None


@pytest.mark.parametrize("levels", [40, 94, 300])
def test_another_scanner_rings_within_two_hundred(levels: int) -> None:
    drift = replay(levels, count=200, power=4)
    assert drift.alarmed_at is not None
    assert WINDOW <= drift.alarmed_at <= 200


def test_the_alarm_is_silent_before_the_window_is_full() -> None:
    assert replay(94, count=WINDOW - 1, power=9).alarmed_at is None


def test_counts_fall_in_their_bins() -> None:
    drift = Drift()
    for p in (0.01, 0.02, 0.03, 1.0):
        drift.observe(None, Familiar("yes", p, ""))
    assert drift.counts["familiarity"] == [2, 1, 0, 0, 0, 0, 0, 1, 0]
    drift.observe(None, None)  # a model without a guard
    assert drift.seen == 5
    assert drift.verdicts == {"yes": 4, "unsure": 0, "no": 0}


def test_a_server_shows_counts_and_exports_them(start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDZOO_ANYWAY", raising=False)
    server = start([OnnxBackend(guarded_graph(tmp_path / "model.onnx"), device="cpu", threads=1)])
    assert upload(server, sky(2000), "?anyway=true")[0] == 200
    assert upload(server, np.full((64, 72), 200, np.uint8))[0] == 422

    def get(path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200
        return response.read()

    document = json.loads(get("/drift/toy-classify"))
    assert document["seen"] == 2
    assert document["verdicts"]["no"] == 1
    assert sum(document["histograms"]["score"]["counts"]) == 1
    assert document["alarm"] is False
    text = get("/metrics").decode()
    assert 'medzoo_familiarity_total{model="toy-classify",verdict="no"} 1.0' in text
    assert 'medzoo_drift_alarm{model="toy-classify"} 0.0' in text
