"""Task `detect`: boxes with labels and scores in a picture or a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo.results import Detections
from medzoo.runtime.backends import Backend
from medzoo.runtime.decode.detections import decode_detections
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.task import Task
from medzoo.types import Array

if TYPE_CHECKING:
    from medzoo.data.dataset import Sample
    from medzoo.metrics.detect import Boxes, DetectScores
    from medzoo.runtime.parity.gate import Golden


class Detect(Task):
    """See Task."""

    name = "detect"
    gives_boxes = True
    composes = True
    primary_metric = "ap50"
    headline = ("ap50", "mask-ap50", "mask-dice", "ap10", "cpm", "cpm-centre", "sensitivity", "false-positives")
    benchmark_items = 40

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Task.metrics."""
        from medzoo.metrics.detect import DetectScores

        return DetectScores.known

    def decode(self, predictor: Predictor, prepared: Prepared, start: float) -> Detections:
        """See Task.decode."""
        return decode_detections(predictor, prepared, start)

    def only_pictures(self, metadata: Metadata, *, has_steps: bool) -> bool:
        """See Task.only_pictures: slices of volumes need host steps that bring the axes into order."""
        return metadata.geometry.slices == 1 and not has_steps

    def has_threshold(self, metadata: Metadata) -> bool:
        """See Task.has_threshold."""
        return True

    def accumulator(
        self, labels: Sequence[str], names: Sequence[str] | None, *, conformal: Any = None, **options: Any
    ) -> DetectScores:
        """See Task.accumulator."""
        from medzoo.metrics.detect import DetectScores

        return DetectScores(labels, names, **options)

    def prediction(self, result: Detections, labels: Sequence[str]) -> Boxes:
        """See Task.prediction."""
        from medzoo.metrics.detect import Boxes

        return Boxes(result.boxes, result.classes, result.scores, masks=result.masks)

    def for_scoring(self, predictor: Predictor) -> Predictor:
        """See Task.for_scoring: precision and FROC count detections at every threshold."""
        return Predictor(predictor.backend, threshold=0.0)

    def steady_inputs(self, reference: Backend, goldens: Sequence[Golden]) -> tuple[list[Golden], int]:
        """See Task.steady_inputs."""
        from medzoo.runtime.parity.stable_inputs import stable_inputs

        decided = [stable_inputs(reference, one) for one in goldens]
        return [golden for golden, _ in decided], sum(count for _, count in decided)

    def draw_case(self, result: Detections, sample: Sample) -> Any:
        """See Task.draw_case."""
        from medzoo.imaging.polygons import layer_outlines
        from medzoo.plots.overlay import draw_boxes
        from medzoo.plots.sheet import side_by_side
        from medzoo.plots.three_views import three_views

        image, labels = sample.image, result.labels
        truth: Any = sample.target
        if image.affine is None:
            outlines: dict[str, Any] = {}
            if result.masks is not None and truth.masks is not None:
                outlines = {"outlines": result.outlines(), "truth_outlines": layer_outlines(truth.masks())}
            return draw_boxes(image, result.boxes, result.scores, result.classes, labels, truth=truth.boxes, **outlines)
        found = three_views(image, boxes=result.boxes, scores=result.scores, classes=result.classes, labels=labels)
        there = three_views(image, boxes=truth.boxes, classes=truth.labels, labels=labels)
        return side_by_side((found, there), ("answer", "truth"), below=True)

    def case_masks(self, result: Detections, sample: Sample) -> tuple[Array, Array]:
        """See Task.case_masks: 1 inside any box."""
        there: Any = sample.target
        shape = sample.image.shape
        truth = sample.mask.astype(np.uint8) if sample.mask is not None else _filled_boxes(there.boxes, shape)
        return _filled_boxes(result.boxes, shape), truth

    def curves(self, scores: DetectScores, protocol: str) -> list[str]:
        """See Task.curves: FROC, precision and recall."""
        from medzoo.report.curves import detection_curves

        return detection_curves(scores)

    def calibration_words(self, calibration: Mapping[str, Any] | None) -> str | None:
        """See Task.calibration_words."""
        return None if calibration else "not calibrated: scores rank boxes and are not probabilities of being right"


def _filled_boxes(boxes: Array, shape: tuple[int, ...]) -> Array:
    """(I, J, K) uint8: 1 inside any box."""
    mask = np.zeros(shape, np.uint8)
    for box in np.asarray(boxes, float).reshape(-1, 6):
        low, high = np.floor(box[:3]).astype(int).clip(0), np.ceil(box[3:]).astype(int)
        mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return mask


ENTRY = Detect()
