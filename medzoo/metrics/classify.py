"""Metrics of a classification: of its ranking, decisions and probabilities. Knows arrays alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medzoo.metrics.accumulator import Accumulator, Measure
from medzoo.metrics.interval import REPLICATES, Statistic, defined_mean, ratio, wilson
from medzoo.metrics.ranking import Ranking
from medzoo.types import Array

BINS = 15
SPECIFICITY = 0.90


def confusion(truth: Array, predicted: Array, *, classes: int) -> Array:
    """(K, K) counts, rows the truth, columns the answer."""
    codes = np.asarray(truth, np.int64) * classes + np.asarray(predicted, np.int64)
    counts: Array = np.bincount(codes, minlength=classes * classes).reshape(classes, classes)
    return counts


def accuracy(matrix: Array) -> Array:
    """Share of right answers; of confusion matrices (..., K, K)."""
    return ratio(np.trace(matrix, axis1=-2, axis2=-1), matrix.sum(axis=(-2, -1)))


def recalls(matrix: Array) -> Array:
    """(..., K) share of each true class that was found; NaN where the class does not occur."""
    return ratio(np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1))


def balanced_accuracy(matrix: Array) -> Array:
    """Mean recall over the classes that occur; of confusion matrices (..., K, K)."""
    return defined_mean(recalls(matrix))


def specificities(matrix: Array) -> Array:
    """(..., K) share of the items of other classes that were not called this class."""
    called, true = matrix.sum(axis=-2), matrix.sum(axis=-1)
    total = matrix.sum(axis=(-2, -1))[..., None]
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    return ratio(total - called - true + hit, total - true)


def f1_scores(matrix: Array) -> Array:
    """(..., K) harmonic mean of precision and recall; NaN for a class neither true nor answered."""
    hit = np.diagonal(matrix, axis1=-2, axis2=-1)
    return ratio(2 * hit, matrix.sum(axis=-1) + matrix.sum(axis=-2))


def calibration_bins(probabilities: Array, *, bins: int = BINS) -> Array:
    """(N,) which of `bins` equal-width bins (low, high] the highest probability of each item falls in."""
    confidence = probabilities.max(axis=1)
    edges = np.linspace(0, 1, bins + 1)
    index: Array = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    return index


def expected_calibration_error(truth: Array, probabilities: Array, *, bins: int = BINS) -> float:
    """Mean over items of |accuracy - mean confidence| of the item's bin; confidence is the highest
    probability, bins are equal-width and closed above (Guo et al., ICML 2017)."""
    return float(_ece(truth, probabilities, bins)(np.ones((1, len(truth))))[0])


def ece_of_exact(probabilities: Array, *, bins: int = BINS, draws: int = 100) -> float:
    """The mean error that `ece` shows of probabilities (N, K) which are exactly right, by chance alone: classes
    are drawn from them. It falls with the root of N, and only an error above it tells of a bad calibration."""
    if not len(probabilities):
        return float("nan")
    rng = np.random.default_rng(0)
    steps = probabilities.cumsum(axis=1)
    found = []
    for _ in range(draws):
        truth = (steps < rng.random((len(steps), 1)) * steps[:, -1:]).sum(axis=1)
        found.append(expected_calibration_error(truth, probabilities, bins=bins))
    return float(np.mean(found))


def reliability(truth: Array, probabilities: Array, *, bins: int = BINS) -> list[dict[str, Any]]:
    """One row a bin: its edges, items, mean confidence, accuracy and the accuracy's Wilson interval."""
    where = calibration_bins(probabilities, bins=bins)
    right = probabilities.argmax(axis=1) == truth
    confidence = probabilities.max(axis=1)
    rows = []
    for b in range(bins):
        inside = where == b
        n, hits = int(inside.sum()), int(right[inside].sum())
        low, high = wilson(hits, n) if n else (None, None)
        rows.append(
            {
                "from": b / bins,
                "to": (b + 1) / bins,
                "n": n,
                "confidence": float(confidence[inside].mean()) if n else None,
                "accuracy": hits / n if n else None,
                "low": low,
                "high": high,
            }
        )
    return rows


class ClassifyScores(Accumulator):
    """Scores of a classification. Of two labels the second is the positive one; more are one-vs-rest.

    `threshold`: calls an item of two labels positive where its probability reaches this; otherwise, and for
    more labels, the most probable label is the answer. `conformal`: (threshold, stated coverage) of sets; then
    `coverage` and `set-size` are scored as well.
    """

    known = (
        "auc", "balanced-accuracy", "sensitivity-at-specificity-90", "accuracy", "f1", "ece", "brier",
        "sensitivity", "specificity",
    )  # fmt: skip

    def __init__(
        self,
        labels: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        threshold: float | None = None,
        conformal: tuple[float, float] | None = None,
        seed: int = 0,
        replicates: int = REPLICATES,
    ) -> None:
        super().__init__(labels, names, seed=seed, replicates=replicates)
        self.conformal = conformal
        self.threshold = threshold if len(self.labels) == 2 else None
        self._truth: list[int] = []
        self._probabilities: list[Array] = []

    def add(
        self,
        truth: int,
        prediction: Array | Sequence[float],
        *,
        item: str,
        group: str | None = None,
        spacing: Sequence[float] | None = None,
    ) -> None:
        """`truth`: index into the labels; `answer`: probabilities (K,). `spacing` plays no part."""
        self._register(item, group)
        self._truth.append(int(truth))
        self._probabilities.append(np.asarray(prediction, float).reshape(len(self.labels)))

    @property
    def truth(self) -> Array:
        """(N,) true labels."""
        return np.array(self._truth, np.int64)

    @property
    def probabilities(self) -> Array:
        """(N, K) as answered."""
        return np.array(self._probabilities).reshape(-1, len(self.labels))

    @property
    def decisions(self) -> Array:
        """(N,) answered labels."""
        if self.threshold is not None:
            return (self.probabilities[:, 1] >= self.threshold).astype(np.int64)
        best: Array = self.probabilities.argmax(axis=1)
        return best

    def confusion(self) -> Array:
        """(K, K) counts, rows the truth."""
        return confusion(self.truth, self.decisions, classes=len(self.labels))

    def records(self) -> list[dict[str, Any]]:
        """`item`, `group`, `truth` and `probabilities` of every item."""
        return [
            {"item": item, "group": self.groups[i], "truth": self._truth[i], "probabilities": p.tolist()}
            for i, (item, p) in enumerate(zip(self.items, self._probabilities, strict=True))
        ]

    def restore(self, record: Mapping[str, Any]) -> None:
        """Add an item from its record."""
        self.add(record["truth"], record["probabilities"], item=record["item"], group=record["group"])

    def errors(self) -> list[tuple[float, str]]:
        """One minus the probability of the true label."""
        found = []
        for truth, called, p in zip(self.truth, self.decisions, self.probabilities, strict=True):
            share = f"{self.labels[called]} {p[called]:.2f}"
            words = f"rightly {share}" if called == truth else f"is {self.labels[truth]}, called {share}"
            found.append((1 - float(p[truth]), words))
        return found

    def measures(self) -> list[Measure]:
        """The statistics of `names`; with more than two labels also one-vs-rest, as name/label."""
        truth, decided, k = self.truth, self.decisions, len(self.labels)
        cells = np.eye(k * k)[truth * k + decided]
        total = self.confusion()
        made: list[Measure] = []
        for name in self.names:
            if name in ("auc", "sensitivity-at-specificity-90"):
                made += self._ranked(name)
            elif name == "ece":
                protocol = (
                    f"expected calibration error of the top label, {BINS} equal-width bins; probabilities that are "
                    f"exactly right would show {ece_of_exact(self.probabilities):.3f} on these items"
                )
                made.append(Measure(name, protocol, _ece(truth, self.probabilities, BINS)))
                floor = f"what a perfectly calibrated model of these confidences is expected to show: {protocol}"
                made.append(Measure(f"{name}/calibrated", floor, _ece_of_calibrated(self.probabilities, BINS)))
            elif name == "brier":
                items = _brier_items(truth, self.probabilities)
                protocol = "Brier score, " + ("of the positive class" if k == 2 else "summed over the classes")
                made.append(Measure(name, protocol, _weighted_mean(items)))
            else:
                made += self._decided(name, cells, total)
        return made + (self._covered(*self.conformal) if self.conformal else [])

    def _covered(self, threshold: float, stated: float) -> list[Measure]:
        """Coverage and mean size of the sets of labels whose probability is at least `threshold`."""
        sets = self.probabilities >= threshold
        held = sets[np.arange(len(sets)), self.truth].astype(float)
        words = f"conformal sets of the labels from probability {threshold:.4g} on"
        counts = (float(held.sum()), float(len(held)))
        return [
            Measure(
                "coverage",
                f"share of {words} that hold the truth, {stated:g} stated",
                _weighted_mean(held),
                counts=counts,
            ),
            Measure("set-size", f"mean number of labels in {words}", _weighted_mean(sets.sum(axis=1).astype(float))),
        ]

    def _ranked(self, name: str) -> list[Measure]:
        words = {
            "auc": "area under the ROC curve",
            "sensitivity-at-specificity-90": "sensitivity at the best threshold of specificity >= 0.90, "
            "threshold chosen on these items",
        }[name]

        def of(label: int) -> Statistic:
            ranking = Ranking(self.truth == label, self.probabilities[:, label])
            if name == "auc":
                return ranking.auc
            return lambda weights: ranking.sensitivity_at(weights, specificity=SPECIFICITY)

        if len(self.labels) == 2:
            return [Measure(name, f"{words}, positive class {self.labels[1]}", of(1))]
        # A class that never occurs has no ROC curve; the macro mean is over those that do.
        present = [c for c in range(len(self.labels)) if 0 < np.sum(self.truth == c) < len(self.truth)]
        statistics = {c: of(c) for c in present}

        def macro(weights: Array) -> Array:
            if not statistics:
                return np.full(len(weights), np.nan)
            mean: Array = np.mean([statistic(weights) for statistic in statistics.values()], axis=0)
            return mean

        over = ", ".join(self.labels[c] for c in present) or "no class"
        made = [Measure(name, f"{words}, macro mean one-vs-rest over {over}", macro)]
        made += [
            Measure(f"{name}/{self.labels[c]}", f"{words}, {self.labels[c]} against the rest", statistic)
            for c, statistic in statistics.items()
        ]
        return made

    def _decided(self, name: str, cells: Array, total: Array) -> list[Measure]:
        """Metrics of the confusion matrix `total`; `cells` (N, K*K): the cell that each item falls in."""
        k = len(self.labels)
        rule = "the most probable label" if self.threshold is None else f"threshold {self.threshold:g}"

        def statistic(function: Callable[[Array], Array]) -> Statistic:
            return _of_cells(cells, k, function)

        most = int(total.sum(axis=1).argmax())
        always = f"baseline that always answers {self.labels[most]}, the commonest label of these items"
        constant = np.zeros((len(cells), k * k))
        constant[np.arange(len(cells)), self.truth * k + most] = 1
        share = (float(total[most].sum()), float(total.sum()))
        if name == "accuracy":
            return [
                Measure(name, f"accuracy, {rule}", statistic(accuracy), counts=(float(np.trace(total)), share[1])),
                Measure(f"{name}/majority", always, _of_cells(constant, k, accuracy), counts=share),
            ]
        if name == "balanced-accuracy":
            return [
                Measure(name, f"mean recall over the labels, {rule}", statistic(balanced_accuracy)),
                Measure(f"{name}/majority", always, _of_cells(constant, k, balanced_accuracy)),
            ]
        function = {"f1": f1_scores, "sensitivity": recalls, "specificity": specificities}[name]
        if k == 2:
            counts = {
                "sensitivity": (float(total[1, 1]), float(total[1].sum())),
                "specificity": (float(total[0, 0]), float(total[0].sum())),
            }.get(name)
            protocol = f"{name}, positive class {self.labels[1]}, {rule}"
            return [Measure(name, protocol, statistic(_of_label(function, 1)), counts=counts)]
        made = [Measure(name, f"{name}, macro mean, {rule}", statistic(lambda m: defined_mean(function(m))))]
        for c, label in enumerate(self.labels):
            made.append(
                Measure(
                    f"{name}/{label}",
                    f"{name}, {label} against the rest, {rule}",
                    statistic(_of_label(function, c)),
                )
            )
        return made


def _of_cells(cells: Array, k: int, function: Callable[[Array], Array]) -> Statistic:
    return lambda weights: function((weights @ cells).reshape(-1, k, k))


def _of_label(function: Callable[[Array], Array], label: int) -> Callable[[Array], Array]:
    def one(matrix: Array) -> Array:
        values: Array = function(matrix)[..., label]
        return values

    return one


def _weighted_mean(values: Array) -> Statistic:
    return lambda weights: weights @ values / weights.sum(axis=1)


def _brier_items(truth: Array, probabilities: Array) -> Array:
    if probabilities.shape[1] == 2:
        squares: Array = (probabilities[:, 1] - (truth == 1)) ** 2
        return squares
    wanted = np.eye(probabilities.shape[1])[truth]
    summed: Array = ((probabilities - wanted) ** 2).sum(axis=1)
    return summed


def _ece(truth: Array, probabilities: Array, bins: int) -> Statistic:
    gap = probabilities.max(axis=1) - (probabilities.argmax(axis=1) == truth)
    per_bin = np.eye(bins)[calibration_bins(probabilities, bins=bins)] * gap[:, None]
    return lambda weights: np.abs(weights @ per_bin).sum(axis=1) / weights.sum(axis=1)


def _ece_of_calibrated(probabilities: Array, bins: int) -> Statistic:
    """The error that chance alone leaves: each item is right with the probability that it states, and the mean
    distance of a bin's sum from its expectation is sqrt(2 / pi) of its standard deviation."""
    confidence = probabilities.max(axis=1)
    chance = (confidence * (1 - confidence))[:, None] * np.eye(bins)[calibration_bins(probabilities, bins=bins)]
    return lambda weights: np.sqrt(2 / np.pi * (weights @ chance)).sum(axis=1) / weights.sum(axis=1)
