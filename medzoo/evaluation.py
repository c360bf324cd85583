"""Score a Predictor on the items of a data set, under every protocol that they offer; needs no torch.

A model that measures masses is scored twice on data that come with outlines: **machine outline**, where it must
find the mass itself, and **expert outline**, where it is given what the expert drew. Beside each stands the
size-only baseline, which ranks the same masses by their diameter alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from medzoo.data.dataset import DataSet, Item, Sample
from medzoo.metrics import Accumulator, Boxes, ClassifyScores, Figure, accumulator, paired
from medzoo.metrics.classify import reliability
from medzoo.preprocess.mass import measured_of
from medzoo.results import Classification, Detections, Segmentation
from medzoo.runtime.predictor import Predictor

MACHINE, EXPERT = "machine-outline", "expert-outline"
_RANKED = ("auc", "sensitivity-at-specificity-90")  # figures that a bare ranking, such as by size, has


@dataclass(frozen=True, eq=False)
class Scores:
    """One accumulator a protocol, the one that counts first; "" names the only protocol of most models.

    `by_size`: the size-only baseline of a protocol, for models that measure masses.
    """

    protocols: dict[str, Accumulator] = field(default_factory=dict)
    by_size: dict[str, Accumulator] = field(default_factory=dict)

    @property
    def main(self) -> Accumulator:
        """The accumulator of the protocol that counts."""
        return next(iter(self.protocols.values()))

    @property
    def items(self) -> Sequence[str]:
        """The items that were scored."""
        return self.main.items

    def records(self) -> list[dict[str, Any]]:
        """One record an item, of the protocol that counts."""
        return self.main.records()

    def reliability(self) -> dict[str, list[dict[str, Any]]]:
        """Of a classification, by protocol: rows of confidence against accuracy with Wilson intervals."""
        return {
            protocol: [row for row in reliability(scores.truth, scores.probabilities) if row["n"]]
            for protocol, scores in self.protocols.items()
            if isinstance(scores, ClassifyScores) and scores.items
        }

    def figures(self) -> list[Figure]:
        """Every figure with its interval; of a named protocol as protocol/name, with its size-only baseline
        (protocol/name/size-only) and the paired difference to it (protocol/name/minus-size-only)."""
        found: list[Figure] = []
        for protocol, scores in self.protocols.items():
            figures = scores.figures()
            if protocol in self.by_size:
                baseline = self.by_size[protocol]
                for figure in baseline.figures():
                    words = f"size-only baseline, masses ranked by their diameter: {figure.protocol}"
                    figures.append(replace(figure, name=f"{figure.name}/size-only", protocol=words))
                for figure in paired(scores, baseline):
                    words = figure.protocol.replace("first minus second", "the model minus the size-only baseline")
                    figures.append(replace(figure, name=f"{figure.name}/minus-size-only", protocol=words))
            if protocol:
                words = protocol.replace("-", " ")
                figures = [
                    replace(figure, name=f"{protocol}/{figure.name}", protocol=f"{words}: {figure.protocol}")
                    for figure in figures
                ]
            found += figures
        return found


def protocols(predictor: Predictor, sample: Sample) -> Mapping[str, Mapping[str, Any]]:
    """The ways in which a sample can be put to a model: name to the options of `Predictor.prepare`."""
    if any(step.outlines_only for step in predictor.steps):
        return {EXPERT: {}}
    if predictor.takes_outline:
        return {MACHINE: {}} if sample.mask is None else {MACHINE: {}, EXPERT: {"mask": sample.mask}}
    return {"": {}}


def evaluate(
    predictor: Predictor,
    data: DataSet,
    items: Sequence[Item],
    *,
    metrics: Sequence[str],
    group: str,
    seed: int = 0,
    watch: Callable[[Iterable[Item]], Iterable[Item]] = iter,
) -> Scores:
    """Every item scored under every protocol. `group`: the key of Item.groups that intervals resample by.

    `watch` may wrap the items to show progress. Detections below the operating threshold count where every
    threshold does (precision, FROC). Raises UserError for an item that cannot be read.
    """
    metadata = predictor.metadata
    point = metadata.operating_point
    threshold = point.threshold if point else None
    if metadata.task == "detect":
        threshold, predictor = predictor.threshold, Predictor(predictor.backend, threshold=0.0)
    scores = Scores()
    for item in watch(items):
        sample = data.load(item)
        spacing = None if sample.image.affine is None else sample.image.spacing
        where: dict[str, Any] = {"item": item.id, "group": item.groups.get(group), "spacing": spacing}
        for protocol, options in protocols(predictor, sample).items():
            if protocol not in scores.protocols:
                scores.protocols[protocol] = accumulator(
                    metadata.task, metadata.labels, metrics or None, threshold=threshold, seed=seed
                )
            prepared = predictor.prepare(sample.image, **options)
            result = predictor.answer(prepared)
            mine = scores.protocols[protocol]
            if isinstance(result, Segmentation):
                mine.add(sample.target, result.mask, **where)
            elif isinstance(result, Classification):
                mine.add(sample.target, [result.probabilities[label] for label in metadata.labels], **where)
            elif isinstance(result, Detections):
                mine.add(sample.target, Boxes(result.boxes, result.classes, result.scores), **where)
            measured = measured_of(prepared.image)
            if measured is not None and len(metadata.labels) == 2:
                if protocol not in scores.by_size:
                    names = [name for name in _RANKED if name in mine.names]
                    scores.by_size[protocol] = ClassifyScores(metadata.labels, names, seed=seed)
                # Any rising function of the size ranks as the size does.
                rank = measured.size / (1 + measured.size)
                scores.by_size[protocol].add(sample.target, [1 - rank, rank], **where)
    if not scores.protocols:
        scores.protocols[""] = accumulator(metadata.task, metadata.labels, metrics or None, seed=seed)
    return scores
