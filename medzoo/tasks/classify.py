"""Task `classify`: one label for a picture, or for a mass in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medzoo.results import Classification
from medzoo.runtime.decode.classification import decode_classification
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.task import Task

if TYPE_CHECKING:
    from medzoo.data.dataset import Sample
    from medzoo.metrics.classify import ClassifyScores


class Classify(Task):
    """See Task."""

    name = "classify"
    least_labels = 2
    primary_metric = "auc"

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Task.metrics."""
        from medzoo.metrics.classify import ClassifyScores

        return ClassifyScores.known

    def decode(self, predictor: Predictor, prepared: Prepared, start: float) -> Classification:
        """See Task.decode."""
        return decode_classification(predictor, prepared, start)

    def only_pictures(self, metadata: Metadata, *, has_steps: bool) -> bool:
        """See Task.only_pictures."""
        return True

    def has_threshold(self, metadata: Metadata) -> bool:
        """See Task.has_threshold: of two labels the threshold decides which is given."""
        return len(metadata.labels) == 2

    def accumulator(self, labels: Sequence[str], names: Sequence[str] | None, **options: Any) -> ClassifyScores:
        """See Task.accumulator."""
        from medzoo.metrics.classify import ClassifyScores

        return ClassifyScores(labels, names, **options)

    def prediction(self, result: Classification, labels: Sequence[str]) -> list[float]:
        """See Task.prediction: probabilities in the order of the labels."""
        return [result.probabilities[label] for label in labels]

    def draw_case(self, result: Classification, sample: Sample) -> Any:
        """See Task.draw_case; an outline without an image is drawn as its own mask."""
        from medzoo.plots.overlay import draw_classification

        image = result.image if result.image is not None else sample.image
        return draw_classification(image, result.label, result.probabilities, mask=result.mask)

    def curves(self, scores: ClassifyScores, protocol: str) -> list[str]:
        """See Task.curves: ROC, confusion and reliability."""
        from medzoo.report.curves import classification_curves

        return classification_curves(scores, protocol)


ENTRY = Classify()
