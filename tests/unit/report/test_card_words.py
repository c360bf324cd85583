"""Words of cards and pages: what all metrics share appears once, and a speed names the machine's other load."""

from __future__ import annotations

from medzoo.report.page import _headline_metrics
from medzoo.report.sections import retrain_command, shared_interval, speed_section

DRAWN = "95 % interval: percentile bootstrap over 3 groups"


def test_words_that_all_intervals_share_appear_once() -> None:
    assert shared_interval([f"AP; {DRAWN}", f"FROC; {DRAWN}", "undefined"]) == (
        ["AP", "FROC", "undefined"],
        "percentile bootstrap over 3 groups",
    )


def test_intervals_that_differ_stay_where_they_are() -> None:
    protocols = [f"AP; {DRAWN}", "accuracy; 95 % interval: Wilson"]
    assert shared_interval(protocols) == (protocols, "")


def test_a_speed_tells_of_other_work_on_the_machine() -> None:
    row = {"backend": "onnx", "device": "cpu", "precision": "fp32", "p50_ms": 1.234, "p95_ms": 2, "per_second": 810.0}
    speed = {"input": {"image": [1, 1, 8, 8]}, "rounds": 9, "rows": [{**row, "batch": 4}]}
    machine = {"processor": "made", "cores": 2}
    assert "on 2 cores of made." in speed_section({**speed, "environment": machine})
    assert "on 2 cores of made." in speed_section({**speed, "environment": {**machine, "load": 1.5}})
    busy = speed_section({**speed, "environment": {**machine, "load": 9.1}})
    assert "made, which had other work to do (load 9.1)." in busy
    assert "| onnx | cpu | fp32 | - | 1.23 | 2 | 810 (batch 4) |" in busy
    timed = speed_section({**speed, "rows": [{**row, "batch": 4, "first_s": 0.115}], "environment": machine})
    assert "| onnx | cpu | fp32 | 0.12 | 1.23 | 2 | 810 (batch 4) |" in timed


def test_a_pipeline_is_put_together_again_where_a_model_is_trained_again() -> None:
    assert retrain_command({"name": "a", "training": {}}) == "medzoo reproduce a"
    assert retrain_command({"name": "a"}) == "medzoo train a"


def test_a_detector_leads_with_metrics_of_different_kinds() -> None:
    names = ["ap50", "ap", "ap75", "ap-large", "froc/1", "cpm", "sensitivity", "false-positives"]
    figures = [{"name": name, "value": 0.5, "protocol": ""} for name in names]
    led = [figure["name"] for figure in _headline_metrics(figures, task="detect")]
    assert led == ["ap50", "cpm", "sensitivity", "false-positives"]
    assert [figure["name"] for figure in _headline_metrics(figures, task="classify")] == names[:4]
