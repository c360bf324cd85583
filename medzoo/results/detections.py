"""The prediction of a detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.imaging.instance_masks import InstanceMasks
from medzoo.imaging.measures import Measures, crop_image, measure_box, measure_mask
from medzoo.imaging.polygons import polygons
from medzoo.io.formats import suffix
from medzoo.io.mask import write_mask
from medzoo.io.run_lengths import compressed, crop_run_lengths
from medzoo.results.result import Result
from medzoo.types import Array, Image, boxes_to_mm

_SHOWN = 3
_MEASURED = 10  # detections whose diameters are drawn where nobody asked


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Detections(Result):
    """Boxes in one image.

    `boxes` (N, 2n) in pixels of the source (medzoo.types), `scores` (N,), `classes` (N,) indices into `labels`.
    `masks`: the outline of each detection, of a model that has them; pasted onto the source when they are indexed.
    `details`: more about each box, N mappings or none (a cascade's members). `mask_path`: the file of a map of
    instances, set on the copy that `save` returns.
    """

    task: str = "detect"
    image: Image
    labels: Sequence[str]
    boxes: Array
    scores: Array
    classes: Array
    details: Sequence[Mapping[str, Any]] = ()
    masks: InstanceMasks | None = None
    mask_path: Path | None = None

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

    def where(self, *, labels: str | Sequence[str] | None = None, score: float | None = None) -> Detections:
        """The detections of some labels, with at least some score. Raises UserError for a label that is none.

        >>> found = medzoo.load("breast-lesion-rcnn").predict("phantom.png")
        >>> len(found.where(labels="lesion", score=0.0)) == len(found)
        True
        """
        kept = np.ones(len(self), bool)
        if labels is not None:
            wanted = [labels] if isinstance(labels, str) else list(labels)
            for name in wanted:
                if name not in self.labels:
                    raise UserError(f"{name!r} is no label", self.model, f"labels: {', '.join(self.labels)}")
            kept &= np.isin(self.classes, [self.labels.index(name) for name in wanted])
        if score is not None:
            kept &= np.asarray(self.scores) >= score
        return self[kept]

    def crops(self, *, margin: int = 0) -> list[Image]:
        """The part of the source that holds each detection's box, `margin` pixels wider on every side where there is
        room; a volume's part has its own affine.

        >>> found = medzoo.load("breast-lesion-rcnn").predict("phantom.png")
        >>> len(found.crops(margin=8)) == len(found)
        True
        """
        return [crop_image(self.image, box, margin=margin) for box in self.boxes]

    def outlines(self) -> list[list[Array]]:
        """Of each detection the closed rings (P, 2) of its mask: x and y in pixels, edges of the first pixel at 0.

        Raises UserError for a model without masks, and for a volume.
        """
        if self.masks is None or self.image.affine is not None:
            raise UserError("the detections have no outlines in a plane", self.input)
        crops = (self.masks.crop(number) for number in range(len(self)))
        return [[ring for rings in polygons(part, corner=corner) for ring in rings] for corner, part in crops]

    def to_rows(self) -> list[dict[str, Any]]:
        """A flat mapping of each detection by falling score: label, score, box, measurements, one column each."""
        names = ("x0", "y0", "x1", "y1") if self.image.affine is None else ("i0", "j0", "k0", "i1", "j1", "k1")
        mm, rows = self.boxes_mm, []
        for n in self.by_score:
            row: dict[str, Any] = {"label": self.labels[int(self.classes[n])], "score": round(float(self.scores[n]), 6)}
            row |= {name: round(float(v), 3) for name, v in zip(names, self.boxes[n], strict=True)}
            for end, corner in enumerate(() if mm is None else mm[n]):
                row |= {f"{axis}{end}_mm": round(float(v), 3) for axis, v in zip("xyz", corner, strict=True)}
            rows.append(row | self.measures(int(n)).to_columns())
        return rows

    def to_pandas(self) -> Any:
        """`to_rows` as a pandas.DataFrame. Raises UserError if pandas is missing (medzoo[tables])."""
        try:
            import pandas
        except ImportError:
            raise missing_extra("pandas", "tables") from None
        return pandas.DataFrame(self.to_rows())

    def to_supervision(self) -> Any:
        """A supervision.Detections of the boxes, scores, classes, labels and masks of a picture.

        Raises UserError for a volume, and if supervision is missing (medzoo[tables]).
        """
        if self.image.affine is not None:
            raise UserError("supervision holds detections of pictures alone", self.input)
        try:
            import supervision
        except ImportError:
            raise missing_extra("supervision", "tables") from None
        found = self.masks
        return supervision.Detections(
            xyxy=np.asarray(self.boxes, np.float32).reshape(-1, 4),
            mask=None if found is None else np.array([*found], bool).reshape(-1, *self.image.shape),
            confidence=np.asarray(self.scores, np.float32),
            class_id=np.asarray(self.classes, int),
            data={"class_name": np.array([self.labels[int(c)] for c in self.classes], dtype=object)},
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
    def by_score(self) -> Array:
        """Indices (N,) by falling score."""
        return np.argsort(-np.asarray(self.scores, float), kind="stable")

    def _summary(self) -> str:
        shown = [f"{self.labels[int(self.classes[n])]} {float(self.scores[n]):.2f}" for n in self.by_score[:_SHOWN]]
        head = f"{len(self)} box{'' if len(self) == 1 else 'es'}"
        return f"{head} ({', '.join(shown)}{', ...' if len(self) > _SHOWN else ''})" if shown else head

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`, boxes by falling score.

        >>> result = medzoo.load("breast-lesion-rcnn").predict("phantom.png")
        >>> sorted(result.to_dict()["detections"][0])
        ['box', 'label', 'mask', 'measures', 'score']
        """
        mm = self.boxes_mm
        detections = []
        for n in self.by_score:
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
            if self.mask_path is not None:
                box["instance"] = int(n) + 1
            box["measures"] = self.measures(int(n)).to_dict()
            detections.append(box | (dict(self.details[n]) if self.details else {}))
        saved = {} if self.mask_path is None else {"mask": str(self.mask_path)}
        return super().to_dict() | saved | {"detections": detections}

    def save(self, path: str | Path) -> Detections:
        """Write `to_dict()` (.json), or the masks as a map of instances (.png of a picture, .nii.gz or .nii of a
        volume); returns self, with a map a copy that has its path.

        In a map 0 is the background and n the detection in row n - 1; a pixel of several belongs to the first of them.
        Raises UserError, also for a map of detections without masks.
        """
        if suffix(path) not in (".png", ".nii.gz", ".nii"):
            return super().save(path)
        self._refuse_sources(path)
        if self.masks is None:
            raise UserError("the detections have no masks to write as a map", self.input, "save them as .json")
        return replace(self, mask_path=write_mask(path, self.masks.label_map(), self.image))

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw the boxes or outlines, of a volume those that cross each of three views, as PNG; returns the path.

        `callipers`: draw the two diameters of each detection in a picture; by default of at most ten that have masks.
        Raises UserError.
        """
        self._refuse_sources(path)
        if self._strangeness:
            options = {"title": f"{self.model}{self._strangeness}", **options}
        if self.image.affine is not None:
            from medzoo.plots.three_views import plot_three_views

            if self.masks is not None:
                numbers = np.r_[0, np.asarray(self.classes, int) + 1][self.masks.label_map()]
                return plot_three_views(path, self.image, mask=numbers, labels=("", *self.labels), **options)
            return plot_three_views(
                path,
                self.image,
                boxes=self.boxes,
                scores=self.scores,
                classes=self.classes,
                labels=self.labels,
                **options,
            )
        from medzoo.plots.callipers import Calliper
        from medzoo.plots.overlay import plot_boxes

        drawn = options.pop("callipers", self.masks is not None and len(self) <= _MEASURED)
        found = [self.measures(number) for number in range(len(self))] if drawn else []
        options["callipers"] = [Calliper(one.callipers, one.words) for one in found]
        if self.masks is not None:
            options["outlines"] = self.outlines()
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
