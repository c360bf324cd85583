"""The plots of an evaluation, by task, from its predictions item by item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medzoo.metrics import ClassifyScores, DetectScores, Scores, SegmentScores
from medzoo.metrics.classify import reliability
from medzoo.metrics.ranking import Ranking
from medzoo.report.svg import Axis, Line, Plot, Point, counts_table, strips
from medzoo.task import task_of

_SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def curves(scores: Scores) -> list[str]:
    """HTML of each plot of an evaluation."""
    found = []
    for protocol, one in scores.protocols.items():
        name = protocol.replace("-", " ")
        found += task_of(scores.scope.task).curves(one, name)
    return found


def training_curve(training: Mapping[str, Any]) -> str:
    """Training curve, the loss by step; "" where nothing was trained step by step."""
    rows = training.get("curve") or []
    train = [(step, loss) for step, loss, _ in rows if loss is not None]
    val = [(step, loss) for step, _, loss in rows if loss is not None]
    if len(train) < 2:
        return ""
    losses = np.array([loss for _, loss in [*train, *val]])
    high = float(np.quantile(losses, 0.98)) * 1.05
    steps = float(max(step for step, _ in train))
    x = Axis("step", 0, steps, [round(steps * k / 4) for k in range(5)])
    y = Axis("loss", 0, high, [float(f"{high * k / 4:.2g}") for k in range(5)])
    plot = Plot("training", x, y).line(Line("training", *_columns(train)))
    return (plot.line(Line("validation", *_columns(val))) if val else plot).svg()


def classification_curves(scores: ClassifyScores, name: str) -> list[str]:
    """HTML of ROC, confusion and reliability; `name`: the protocol, for the titles."""
    beside = f", {name}" if name else ""
    shares = Axis("1 - specificity", 0, 1, _SHARES), Axis("sensitivity", 0, 1, _SHARES)
    roc = Plot(f"ROC{beside}", *shares).diagonal()
    for k in range(1, 2) if len(scores.labels) == 2 else range(len(scores.labels)):
        truth = scores.truth == k
        if truth.all() or not truth.any():
            continue
        right, wrong = Ranking(truth, scores.probabilities[:, k]).curve(np.ones((1, len(truth))))
        roc.line(Line(scores.labels[k], list(wrong[0] / wrong[0, -1]), list(right[0] / right[0, -1])))
    table = counts_table(scores.labels, scores.confusion().tolist())
    confusion = f"<figure><figcaption>Confusion{beside}</figcaption>{table}</figure>"
    rows = [row for row in reliability(scores.truth, scores.probabilities) if row["n"]]
    least = 1 / len(scores.labels)
    axes = Axis("probability of the answer", least, 1, _marks(least)), Axis("share that is right", 0, 1, _SHARES)
    reliable = Plot(f"reliability{beside}", *axes)
    (a, b), (c, d) = reliable.at(least, least), reliable.at(1, 1)
    reliable.parts.append(f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" class="faint"/>')
    reliable.points("", [Point(r["confidence"], r["accuracy"], r["low"], r["high"], r["n"]) for r in rows])
    return [roc.svg(), confusion, reliable.svg()]


def _marks(least: float) -> list[float]:
    return [mark for mark in (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0) if mark >= least]


def detection_curves(scores: DetectScores) -> list[str]:
    """HTML of FROC, and of precision over recall."""
    froc = scores.froc()
    false, found, _ = froc.curve()
    log = np.log2(np.clip(false, 1 / 16, 8))
    plot = Plot(
        "FROC",
        Axis("false positives an image", -4, 3, range(-4, 4), ("1/16", "1/8", "1/4", "1/2", "1", "2", "4", "8")),
        Axis("sensitivity", 0, 1, _SHARES),
    ).line(Line("", list(log), list(found), steps=True))
    if scores.threshold is not None:
        rate, sensitivity = froc.at(np.ones((1, len(scores.items))), threshold=scores.threshold)[0][::-1]
        x = float(np.log2(min(max(rate, 1 / 16), 8)))
        plot.points("operating point", [Point(x, float(sensitivity), float(sensitivity), float(sensitivity), 20)])
    objects = max(1, int(froc.objects.sum()))
    hits = found * objects
    shown = hits + false * len(froc.objects)
    precision = np.divide(hits, shown, out=np.ones_like(hits), where=shown > 0)
    axes = Axis("recall", 0, 1, _SHARES), Axis("precision", 0, 1, _SHARES)
    recall = Plot("precision and recall", *axes).line(Line("", list(found), list(precision)))
    return [plot.svg(), recall.svg()]


def segmentation_curves(scores: SegmentScores) -> list[str]:
    """HTML of each metric by label, a point an item."""
    values: dict[str, dict[str, list[float]]] = {}
    for record in scores.records():
        for label, of in record["values"].items():
            for name in scores.names:
                if of.get(name) is not None:
                    values.setdefault(name, {}).setdefault(label, []).append(of[name])
    found = []
    for name, rows in values.items():
        highest = max(max(one) for one in rows.values())
        high = 1.0 if name in ("dice", "jaccard", "surface-dice") else float(f"{highest * 1.1:.2g}") or 1.0
        axis = Axis(f"{name}, a point an item", 0, high, [float(f"{high * k / 5:.2g}") for k in range(6)])
        found.append(strips(f"{name} by label", list(rows.items()), axis))
    return found


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]
