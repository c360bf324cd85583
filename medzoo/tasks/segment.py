"""Task `segment`: a label for every pixel of a picture or voxel of a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from medzoo.results import Segmentation
from medzoo.runtime.decode.segmentation import decode_segmentation
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.task import Task
from medzoo.types import IGNORED, Array

if TYPE_CHECKING:
    from medzoo.data.dataset import Sample
    from medzoo.metrics.segment import SegmentScores


class Segment(Task):
    """See Task."""

    name = "segment"
    gives_mask = True
    least_labels = 2
    primary_metric = "dice"
    validation_items = 8
    benchmark_items = 2
    # Thousands of voxels make Dice a steady metric, so no precision may lose more.
    allowed_loss: ClassVar[Mapping[str, float]] = {"fp16": 0.005, "bf16": 0.005, "int8": 0.005}

    @property
    def metrics(self) -> tuple[str, ...]:
        """See Task.metrics."""
        from medzoo.metrics.segment import SegmentScores

        return SegmentScores.known

    def decode(self, predictor: Predictor, prepared: Prepared, start: float) -> Segmentation:
        """See Task.decode."""
        return decode_segmentation(predictor, prepared, start)

    def only_pictures(self, metadata: Metadata, *, has_steps: bool) -> bool:
        """See Task.only_pictures: a volume is segmented slice by slice."""
        return False

    def arrays_are_pictures(self, metadata: Metadata) -> bool:
        """See Task.arrays_are_pictures."""
        return False

    def accumulator(
        self,
        labels: Sequence[str],
        names: Sequence[str] | None,
        *,
        threshold: float | None = None,
        conformal: Any = None,
        **options: Any,
    ) -> SegmentScores:
        """See Task.accumulator."""
        from medzoo.metrics.segment import SegmentScores

        return SegmentScores(labels, names, **options)

    def prediction(self, result: Segmentation, labels: Sequence[str]) -> Array:
        """See Task.prediction: the mask."""
        return result.mask

    def cheap_outputs(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See Task.cheap_outputs: a volume has hundreds of slices."""
        image = inputs["image"]
        return {"labels": np.zeros((len(image), *image.shape[2:]), np.uint8)}

    def draw_case(self, result: Segmentation, sample: Sample) -> Any:
        """See Task.draw_case."""
        from medzoo.plots.overlay import draw_mask
        from medzoo.plots.sheet import side_by_side
        from medzoo.plots.three_views import three_views

        image, volume = sample.image, sample.image.affine is not None
        masks = (result.mask, _scored(sample.target))
        if volume:
            both = [three_views(image, mask=mask, labels=result.labels) for mask in masks]
        else:
            both = [draw_mask(image, mask, result.labels) for mask in masks]
        return side_by_side(both, ("answer", "truth"), below=volume)

    def case_masks(self, result: Segmentation, sample: Sample) -> tuple[Array, Array]:
        """See Task.case_masks."""
        return result.mask, _scored(sample.target).astype(np.uint8)

    def mask_names(self, labels: Sequence[str]) -> Sequence[str]:
        """See Task.mask_names."""
        return labels[1:]

    def calibration_words(self, calibration: Mapping[str, Any] | None) -> str | None:
        """See Task.calibration_words: the rules on components."""
        if not calibration or "components" not in calibration:
            return None
        rules = calibration["components"]
        chosen = f"chosen on {calibration['components_items']} validation items"
        if not rules:
            return f"every component is kept, {chosen}; probabilities are as training left them"
        words = []
        for rule in rules:
            parts = ["the largest component alone"] if rule["largest"] else []
            parts += [f"components of {rule['least_volume']:g} mm3 or more"] if rule["least_volume"] else []
            parts += ["holes filled"] if rule["fill_holes"] else []
            words.append(f"label {rule['label']}: {', '.join(parts)}")
        return f"{'; '.join(words)} ({chosen}); probabilities are as training left them"

    def curves(self, scores: SegmentScores, protocol: str) -> list[str]:
        """See Task.curves: each metric by label."""
        from medzoo.report.curves import segmentation_curves

        return segmentation_curves(scores)


def _scored(target: Any) -> Array:
    """A target without the value that is not scored."""
    target = np.asarray(target)
    return np.where(target == IGNORED, 0, target)


ENTRY = Segment()
