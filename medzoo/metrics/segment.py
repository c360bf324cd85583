"""Metrics of a segmentation, label by label and subject by subject. Knows arrays and spacing alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import find_objects

from medzoo.errors import UserError
from medzoo.metrics.accumulator import Accumulator, Measure
from medzoo.metrics.interval import REPLICATES, Statistic, defined_mean, ratio
from medzoo.metrics.surface import TOLERANCE, compare_masks
from medzoo.types import IGNORED, Array

_WORDS = {
    "dice": "Dice",
    "jaccard": "Jaccard",
    "hd95": "95th percentile Hausdorff distance, {length}, the image diagonal where one mask is empty",
    "assd": "average symmetric surface distance, {length}, the image diagonal where one mask is empty",
    "surface-dice": "surface Dice at {tolerance:g} {length}",
    "volume-error": "absolute volume error, {volume}",
    "ejection-error": "absolute error of the ejection fraction, percentage points",
}
_TRUE, _FOUND = "true-voxels", "found-voxels"
_CAVITY = "ventricle"
_SURFACES = {"hd95", "assd", "surface-dice"}


class SegmentScores(Accumulator):
    """Scores of a segmentation; label 0 is the background and is not scored.

    Each metric is the mean over the items in which truth or answer has the label (see `compare_masks` for
    what an empty one counts), and without a label's name the mean of its labels' means.
    The ejection error is one of groups, the mean over those with two phases or more, and only of ventricles: of truth
    and answer 1 - smallest / largest volume.
    `tolerance`: of the surface Dice, in millimetres (pixels where an item has no spacing).
    """

    known = ("dice", "jaccard", "hd95", "assd", "surface-dice", "volume-error", "ejection-error")

    def __init__(
        self,
        labels: Sequence[str],
        names: Sequence[str] | None = None,
        *,
        tolerance: float = TOLERANCE,
        seed: int = 0,
        replicates: int = REPLICATES,
    ) -> None:
        super().__init__(labels, names, seed=seed, replicates=replicates)
        self.tolerance = tolerance
        self._values: list[dict[str, dict[str, float]]] = []
        self._units: list[tuple[str, str]] = []
        self._masked: list[bool] = []

    def add(
        self,
        truth: Array,
        prediction: Array,
        *,
        item: str,
        group: str | None = None,
        spacing: Sequence[float] | None = None,
        within: Array | None = None,
    ) -> None:
        """`truth`, `answer`: label arrays on one grid, 2D or 3D; `spacing`: mm per axis, None for a picture.

        `within`: bool array; voxels outside it, and those where `truth` is IGNORED, are background to both.

        Raises UserError if shapes differ.
        """
        truth, prediction = np.asarray(truth), np.asarray(prediction)
        if truth.shape != prediction.shape:
            raise UserError(
                f"the prediction has shape {prediction.shape}, but the truth has {truth.shape}",
                item,
                "both must be on the image's own grid",
            )
        if (truth == IGNORED).any():
            within = (truth != IGNORED) if within is None else (truth != IGNORED) & (within != 0)
        if within is not None:
            truth, prediction = truth * (within != 0), prediction * (within != 0)
        steps = (1.0,) * truth.ndim if spacing is None else tuple(float(s) for s in spacing)
        units = ("px", "px") if spacing is None else ("mm", "ml" if truth.ndim == 3 else "mm2")
        diagonal = float(np.linalg.norm(np.asarray(truth.shape) * steps))
        # One pass over each array finds every label's box; what lies outside both boxes is never touched.
        boxes = [find_objects(array.astype(np.int32), len(self.labels) - 1) for array in (truth, prediction)]
        values = {}
        for number, label in enumerate(self.labels[1:], start=1):
            crop = _union(boxes[0][number - 1], boxes[1][number - 1], truth.ndim)
            scores = compare_masks(
                truth[crop] == number,
                prediction[crop] == number,
                spacing=steps,
                tolerance=self.tolerance,
                diagonal=diagonal,
                surfaces=not _SURFACES.isdisjoint(self.names),
            )
            if units[1] == "ml":
                scores["volume-error"] /= 1000
            if "ejection-error" in self.names:
                scores |= {
                    _TRUE: float((truth[crop] == number).sum()),
                    _FOUND: float((prediction[crop] == number).sum()),
                }
            values[label] = scores
        self._register(item, group)
        self._values.append(values)
        self._units.append(units)
        self._masked.append(within is not None)

    def records(self) -> list[dict[str, Any]]:
        """`item`, `group`, `units`, `within`, `tolerance`, `values` by label and metric (None: label in neither)."""
        return [
            {
                "item": item,
                "group": group,
                "units": list(units),
                "within": masked,
                "tolerance": self.tolerance,
                "values": {
                    label: {name: None if np.isnan(v) else v for name, v in scores.items()}
                    for label, scores in values.items()
                },
            }
            for item, group, units, masked, values in zip(
                self.items, self.groups, self._units, self._masked, self._values, strict=True
            )
        ]

    def restore(self, record: Mapping[str, Any]) -> None:
        """Add an item from its record. Raises UserError if it was scored without one of `names`."""
        for name in self.names:
            needed = _TRUE if name == "ejection-error" else name
            if any(needed not in scores for scores in record["values"].values()):
                raise UserError(f"the record has no {name}", record["item"], "evaluate again with this metric")
        self._register(record["item"], record["group"])
        length, volume = record["units"]
        self._units.append((length, volume))
        self._masked.append(record["within"])
        self.tolerance = record["tolerance"]
        self._values.append(
            {
                label: {name: float("nan") if v is None else float(v) for name, v in scores.items()}
                for label, scores in record["values"].items()
            }
        )

    def errors(self) -> list[tuple[float, str]]:
        """1 - the mean Dice over the labels that an item has."""
        found = []
        for values in self._values:
            dice = {label: scores["dice"] for label, scores in values.items() if not np.isnan(scores["dice"])}
            words = ", ".join(f"{label} {value:.2f}" for label, value in dice.items())
            found.append(
                (1 - float(np.mean(list(dice.values()) or [1.0])), f"Dice {words}" if dice else "nothing there")
            )
        return found

    def measures(self) -> list[Measure]:
        """The mean over items of each of `names`, over all labels and, as name/label, of each."""
        made = []
        for name in self.names:
            if name == "ejection-error":
                made += [self._ejection(label) for label in self.labels[1:] if label.endswith(_CAVITY)]
                continue
            table = np.array([[values[label][name] for label in self.labels[1:]] for values in self._values])
            protocol = self._protocol(name)
            shown = ~np.isnan(table)
            if len(self.labels) > 2:
                over = ", ".join(self.labels[1:])
                made.append(
                    Measure(name, f"{protocol}, mean over the labels {over}", _mean(table), scored=shown.any(axis=1))
                )
            for column, label in enumerate(self.labels[1:]):
                one = table[:, [column]]
                title = name if len(self.labels) == 2 else f"{name}/{label}"
                made.append(Measure(title, f"{protocol}, of {label}", _mean(one), scored=shown[:, column]))
        return made

    def _ejection(self, label: str) -> Measure:
        """The error of one cavity's ejection fraction, each group's in its first item; NaN where there is no cavity."""
        members: dict[str, list[int]] = {}
        for number, group in enumerate(self.groups):
            members.setdefault(self.items[number] if group is None else group, []).append(number)
        errors = np.full((len(self.items), 1), np.nan)
        for numbers in members.values():
            volumes = np.array([[self._values[n][label][name] for name in (_TRUE, _FOUND)] for n in numbers])
            volumes = np.nan_to_num(volumes)  # in neither
            if len(numbers) > 1 and volumes[:, 0].max() > 0:
                largest, smallest = volumes.max(axis=0), volumes.min(axis=0)
                fractions = 1 - smallest / np.maximum(largest, 1)
                errors[numbers[0]] = 100 * abs(fractions[0] - fractions[1])
        protocol = f"{_WORDS['ejection-error']}, of {label}, mean over the groups with several phases"
        return Measure(f"ejection-error/{label}", protocol, _mean(errors), scored=~np.isnan(errors[:, 0]))

    def _protocol(self, name: str) -> str:
        length, volume = (" or ".join(sorted(set(unit))) for unit in zip(*self._units, strict=True))
        words = _WORDS[name].format(tolerance=self.tolerance, length=length, volume=volume)
        masked = sum(self._masked)
        inside = "" if not masked else ", inside the mask"
        if 0 < masked < len(self._masked):
            inside += f" where one was given ({masked} of {len(self._masked)})"
        return f"{words}, mean over the items that have the label{inside}"


def _union(first: tuple[slice, ...] | None, second: tuple[slice, ...] | None, dims: int) -> tuple[slice, ...]:
    """The smallest box that holds both; an empty one if there is neither."""
    found = [box for box in (first, second) if box is not None]
    if not found:
        return (slice(0, 0),) * dims
    return tuple(slice(min(b[a].start for b in found), max(b[a].stop for b in found)) for a in range(dims))


def _mean(table: Array) -> Statistic:
    """Mean over labels of the weighted means over items of `table` (N, labels), NaN entries left out."""
    shown = ~np.isnan(table)
    filled = np.where(shown, table, 0.0)

    def statistic(weights: Array) -> Array:
        return defined_mean(ratio(weights @ filled, weights @ shown))

    return statistic
