"""Prometheus metrics of the server."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from medzoo.serve.drift import BINS, Drift

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class ServerMetrics:
    """The server's metrics, in their own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "medzoo_requests", "Requests by outcome", ["model", "protocol", "outcome"], registry=self._registry
        )
        self._clients = Counter(
            "medzoo_client_requests",
            "Requests by client (name of the token or certificate)",
            ["client", "outcome"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "medzoo_request_seconds",
            "Time from the end of the request body to the response",
            ["model", "protocol"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._waited = Histogram(
            "medzoo_queue_seconds", "Time in the queue", ["model"], buckets=_SECONDS, registry=self._registry
        )
        self._ran = Histogram(
            "medzoo_compute_seconds", "Run time of the graph", ["model"], buckets=_SECONDS, registry=self._registry
        )
        self._rows = Histogram(
            "medzoo_batch_rows",
            "Size of the batch that a request ran in",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self._waiting = Gauge("medzoo_queue_requests", "Waiting requests", ["model"], registry=self._registry)
        self._open = Gauge("medzoo_open_requests", "Active requests", registry=self._registry)
        self._held = Gauge("medzoo_held_bytes", "Bytes reserved by active requests", registry=self._registry)

        self._verdicts = Gauge(
            "medzoo_familiarity_total", "Inputs by verdict of the guard", ["model", "verdict"], registry=self._registry
        )
        self._surprise = Gauge(
            "medzoo_drift", "Mean of -2 log p of recent inputs; 2 for own data", ["model"], registry=self._registry
        )
        self._alarm = Gauge(
            "medzoo_drift_alarm", "1 if recent inputs are unlike a model's own data", ["model"], registry=self._registry
        )
        self._answers = Gauge(
            "medzoo_answers_in_bin",
            "Answers by a fact of theirs, in the bin below `upper`",
            ["model", "fact", "upper"],
            registry=self._registry,
        )

    def track_load(self, *, active: Callable[[], float], reserved: Callable[[], float]) -> None:
        """Register the gauges of active requests and reserved bytes."""
        self._open.set_function(active)
        self._held.set_function(reserved)

    def track_drift(self, model: str, drift: Drift) -> None:
        """Register what a model's drift shows: verdicts, the alarm, and the histograms."""
        for verdict in drift.verdicts:
            self._verdicts.labels(model, verdict).set_function(partial(drift.verdicts.__getitem__, verdict))
        self._surprise.labels(model).set_function(lambda: drift.surprise)
        self._alarm.labels(model).set_function(lambda: float(drift.alarm))
        for name, edges in BINS.items():
            for number, edge in enumerate((*map(str, edges), "+Inf")):
                counted = partial(drift.counts[name].__getitem__, number)
                self._answers.labels(model, name, edge).set_function(counted)

    def track_queue(self, model: str, length: Callable[[], float]) -> None:
        """Register the gauge of a model's queue length."""
        self._waiting.labels(model).set_function(length)

    def observe_request(self, model: str, protocol: str, outcome: str, seconds: float, *, client: str = "") -> None:
        """Count a finished request; `client`: name of its token or certificate."""
        self._requests.labels(model, protocol, outcome).inc()
        if client:
            self._clients.labels(client, outcome).inc()
        self._seconds.labels(model, protocol).observe(seconds)

    def observe_run(self, model: str, *, queue_seconds: float, compute_seconds: float, batch_size: int) -> None:
        """Record the queue and compute time of a request."""
        self._waited.labels(model).observe(queue_seconds)
        self._ran.labels(model).observe(compute_seconds)
        self._rows.labels(model).observe(batch_size)

    def render(self) -> bytes:
        """Render all metrics in the Prometheus text format."""
        return generate_latest(self._registry)
