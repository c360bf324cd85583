"""Requests that schemathesis makes up from the server's own description: valid ones and broken ones, 300 and more."""

from __future__ import annotations

import logging
from collections import Counter

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode

from medzoo.serve.server import Server

# Examples for each route and mode: of those that take a body, more.
FEW, MANY = 8, 90


def test_nothing_that_schemathesis_makes_up_breaks_the_server(
    toy_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    base = f"http://127.0.0.1:{toy_server.http_port}"
    document = httpx.get(f"{base}/openapi.json").json()
    assert {"/predict/{model}", "/v2/models/{model}/infer"} <= set(document["paths"])
    statuses: Counter[int] = Counter()
    schema = schemathesis.openapi.from_dict(document)
    with httpx.Client(base_url=base, timeout=60) as web:
        for found in schema.get_all_operations():
            operation = found.ok()
            for mode in GenerationMode:
                if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                    continue  # nothing of it can be broken

                @settings(
                    max_examples=MANY if operation.body else FEW,
                    deadline=None,
                    database=None,
                    derandomize=True,
                    phases=[Phase.generate],
                    suppress_health_check=list(HealthCheck),
                )
                @given(case=operation.as_strategy(generation_mode=mode))
                def ask(case: schemathesis.Case) -> None:
                    response = case.call(base_url=base)
                    statuses[response.status_code] += 1
                    assert response.status_code < 500, (case.method, case.path, response.text[:500])

                with caplog.at_level(logging.CRITICAL):
                    ask()
        assert web.get("/v2/health/ready").status_code == 200
    assert sum(statuses.values()) >= 300, statuses
    assert 400 in statuses
    assert 200 in statuses
