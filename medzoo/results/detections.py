"""The prediction of a detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from medzoo.imaging.measures import Measures, measure_box
from medzoo.results.result import Result
from medzoo.types import Array, Image, boxes_to_mm

_SHOWN = 3


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Detections(Result):
    """Boxes in one image.

    `boxes` (N, 2n) in pixels of the source (medzoo.types), `scores` (N,), `classes` (N,) indices into `labels`.
    `details`: more about each box, N mappings or none (a cascade's members).
    """

    task: ClassVar[str] = "detect"
    image: Image
    labels: Sequence[str]
    boxes: Array
    scores: Array
    classes: Array
    details: Sequence[Mapping[str, Any]] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def boxes_mm(self) -> Array | None:
        """(N, 2, 3) lowest and highest RAS corner in millimetres; None for a picture."""
        if self.image.affine is None:
            return None
        return boxes_to_mm(np.asarray(self.boxes, float).reshape(-1, 6), self.image.affine)

    def measures(self, number: int) -> Measures:
        """Measurements of the detection in row `number`, of its box."""
        return measure_box(self.boxes[number], self.image)

    @property
    def _order(self) -> Array:
        """Indices (N,) by falling score."""
        return np.argsort(-np.asarray(self.scores, float), kind="stable")

    def _summary(self) -> str:
        shown = [f"{self.labels[int(self.classes[n])]} {float(self.scores[n]):.2f}" for n in self._order[:_SHOWN]]
        head = f"{len(self)} box{'' if len(self) == 1 else 'es'}"
        return f"{head} ({', '.join(shown)}{', ...' if len(self) > _SHOWN else ''})" if shown else head

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`, boxes by falling score.

        >>> result = medzoo.load("breast-lesion-rcnn").predict("phantom.png")
        >>> sorted(result.to_dict()["detections"][0])
        ['box', 'label', 'measures', 'score']
        """
        mm = self.boxes_mm
        detections = []
        for n in self._order:
            box: dict[str, Any] = {
                "label": self.labels[int(self.classes[n])],
                "score": round(float(self.scores[n]), 6),
                "box": [round(float(v), 3) for v in self.boxes[n]],
            }
            if mm is not None:
                box["box_mm"] = [[round(float(v), 3) for v in corner] for corner in mm[n]]
            box["measures"] = self.measures(int(n)).to_dict()
            detections.append(box | (dict(self.details[n]) if self.details else {}))
        return super().to_dict() | {"detections": detections}

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw the boxes, of a volume those that cross each of three views, as PNG; returns the path.

        Raises UserError.
        """
        self._refuse_sources(path)
        if self.image.affine is not None:
            from medzoo.plots.three_views import plot_three_views

            return plot_three_views(
                path,
                self.image,
                boxes=self.boxes,
                scores=self.scores,
                classes=self.classes,
                labels=self.labels,
                **options,
            )
        from medzoo.plots.overlay import plot_boxes

        if self.details:
            options = {
                "contours": [details["outline"]["contour"] for details in self.details if "outline" in details],
                "notes": [_members_line(details.get("members", {})) for details in self.details],
                **options,
            }
        return plot_boxes(path, self.image, self.boxes, self.scores, self.classes, self.labels, **options)


def _members_line(members: Mapping[str, Mapping[str, float]]) -> str:
    """The likeliest label of each member and its probability, in one line."""
    likeliest = {name: max(probabilities, key=probabilities.__getitem__) for name, probabilities in members.items()}
    return ", ".join(f"{name}: {label} {members[name][label]:.2f}" for name, label in likeliest.items())
