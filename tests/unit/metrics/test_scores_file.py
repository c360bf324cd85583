"""evaluation.json: every metric comes back from it, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.metrics import Accumulator, Boxes, Scope, Scores, paired_differences, read_scores


def filled(task: str, *, shift: float = 0.0) -> Scores:
    """Thirty items in ten groups, from a fixed generator; `shift` makes another model's predictions."""
    random = np.random.default_rng(5)
    labels = {"classify": ("benign", "malignant"), "segment": ("background", "a", "b"), "detect": ("lesion",)}[task]
    metrics = {"classify": ("auc", "ece"), "segment": ("dice", "hd95"), "detect": ("ap50", "cpm", "sensitivity")}[task]
    scores = Scores(Scope("made", task, labels, metrics, 0.4, group="patient", split_digest="ab"))
    mine: Accumulator = scores.accumulator_of("")
    for k in range(30):
        where = {"item": f"i{k}", "group": f"g{k % 10}"}
        if task == "classify":
            p = float(np.clip(random.random() * 0.6 + 0.3 * (k % 2) + shift, 0, 1))
            mine.add(k % 2, np.array([1 - p, p], np.float32), **where)
        elif task == "segment":
            truth = random.integers(0, 3, (6, 7))
            mine.add(truth, np.where(random.random((6, 7)) < 0.7, truth, 0), spacing=(1.0, 2.0), **where)
        else:
            box = random.random((2, 2)) * 20
            there = np.hstack([box, box + 9])
            found = there + random.normal(0, 2, there.shape)
            answer = Boxes(found.astype(np.float32), np.zeros(2, int), random.random(2).astype(np.float32))
            mine.add(Boxes(there, np.zeros(2, int), np.empty(0)), answer, **where)
        scores.facts[f"i{k}"] = {"diameter_px": float(k), "source": "ab"[k % 2]}
    return scores


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_metrics_come_back_from_the_file(task: str, tmp_path: Path) -> None:
    scores = filled(task)
    path = tmp_path / "evaluation.json"
    path.write_bytes(scores.to_bytes())
    again = read_scores(path)
    assert again.scope == scores.scope
    assert again.facts == scores.facts
    assert again.metrics() == scores.metrics()
    assert again.to_bytes() == scores.to_bytes()
    assert len(json.loads(path.read_text())["protocols"][""]["records"]) == 30


def test_two_models_files_compare_pairwise() -> None:
    first, second = filled("classify"), filled("classify", shift=0.05)
    read = [Scores.from_bytes(one.to_bytes(), where="x") for one in (first, second)]
    assert paired_differences(read[0].main, read[1].main) == paired_differences(first.main, second.main)


def test_a_part_of_the_items_is_scored_alone() -> None:
    scores = filled("classify")
    odd = scores.only([f"i{k}" for k in range(0, 30, 3)], metrics=["auc"])
    (figure,) = odd.metrics()
    assert (figure.name, figure.n) == ("auc", 10)
    assert set(odd.facts) == set(odd.items)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 99}, "has format 99"),
        ({"labels": None}, "not an evaluation file"),
        ({"protocols": 3}, "not an eval"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_name(change: dict[str, object], words: str) -> None:
    document = json.loads(filled("classify").to_bytes()) | change
    with pytest.raises(UserError, match=words) as caught:
        Scores.from_bytes(json.dumps(document).encode(), where="zoo/x/evaluation.json")
    assert "zoo/x/evaluation.json" in str(caught.value)
