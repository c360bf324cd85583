"""The prediction of a detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.imaging.instance_masks import InstanceMasks
from medzoo.imaging.measures import Measures, measure_box, measure_mask
from medzoo.io.run_lengths import compressed, crop_run_lengths
from medzoo.results.result import Result
from medzoo.types import Array, Image, boxes_to_mm

_SHOWN = 3


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Detections(Result):
    """Boxes in one image.

    `boxes` (N, 2n) in pixels of the source (medzoo.types), `scores` (N,), `classes` (N,) indices into `labels`.
    `masks`: the outline of each detection, of a model that has them; pasted onto the source when they are indexed.
    `details`: more about each box, N mappings or none (a cascade's members).
    """

    task: str = "detect"
    image: Image
    labels: Sequence[str]
    boxes: Array
    scores: Array
    classes: Array
    details: Sequence[Mapping[str, Any]] = ()
    masks: InstanceMasks | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[Detections]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, index: int | slice | Array | Sequence[int]) -> Detections:
        """The detections of a number, a slice, an array of numbers or a boolean array (N,).

        >>> found = medzoo.load("breast-lesion-rcnn").predict("phantom.png")
        >>> len(found[found.scores > 0.99]) <= len(found)
        True
        """
        if isinstance(index, int | np.integer):
            if not -len(self) <= index < len(self):
                raise IndexError(f"detection {index} of {len(self)}")
            index = [int(index) % len(self)]
        if not isinstance(index, slice):
            chosen = np.asarray(index)
            # An empty list has no type of its own, and would be one of floats.
            index = chosen.astype(np.int64) if not chosen.size and chosen.dtype != np.bool_ else chosen
        rows = np.arange(len(self))[index]
        return replace(
            self,
            boxes=self.boxes[rows],
            scores=self.scores[rows],
            classes=self.classes[rows],
            details=[self.details[n] for n in rows] if self.details else (),
            masks=None if self.masks is None else self.masks[rows],
        )

    @property
    def boxes_mm(self) -> Array | None:
        """(N, 2, 3) lowest and highest RAS corner in millimetres; None for a picture."""
        if self.image.affine is None:
            return None
        return boxes_to_mm(np.asarray(self.boxes, float).reshape(-1, 6), self.image.affine)

    def measures(self, number: int) -> Measures:
        """Measurements of the detection in row `number`: of its mask, or of its box where it has none."""
        if self.masks is not None:
            corner, part = self.masks.crop(number)
            if (found := measure_mask(part, self.image, corner=corner)) is not None:
                return found
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
            if self.masks is not None:
                corner, part = self.masks.crop(int(n))
                runs = crop_run_lengths(part, corner, self.masks.shape)
                box["mask"] = {"size": list(self.masks.shape), "counts": compressed(runs)}
            box["measures"] = self.measures(int(n)).to_dict()
            detections.append(box | (dict(self.details[n]) if self.details else {}))
        return super().to_dict() | {"detections": detections}

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw the boxes, of a volume those that cross each of three views, as PNG; returns the path.

        Raises UserError.
        """
        self._refuse_sources(path)
        if self._strangeness:
            options = {"title": f"{self.model}{self._strangeness}", **options}
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
