"""A cascade of models: a detector finds lesions, classifiers outline and classify each of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.contour import trace
from medzoo.preprocess.extras import MassHint
from medzoo.results import Classification, Detections
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.runtime.time_limit import TimeLimitError
from medzoo.types import Array, Image

DETECTOR = "find"
_POINTS = 64  # of an outline in the answer


class Cascade(Predictor):
    """A detector whose boxes are classified by `classifiers` (role to Predictor of task classify).

    A classifier that measures masses gets the outline that the detector found or, of one without masks, the box, in
    which it outlines the mass itself; any other gets the whole picture. Each detection then has `members` (classifier
    model to its probabilities), `outline` (contour points x, y in the picture's pixels, and the model that drew it),
    and `stages`: the result of each model, in order.
    """

    def __init__(
        self, name: str, detector: Predictor, classifiers: Mapping[str, Predictor], *, threshold: float | None = None
    ) -> None:
        super().__init__(detector.backend, threshold=detector.threshold if threshold is None else threshold)
        self.detector, self.detector_name = detector, detector.metadata.name
        self.metadata = detector.metadata.model_copy(update={"name": name})
        self.classifiers = dict(classifiers)

    @classmethod
    def from_members(cls, name: str, members: Mapping[str, Predictor], *, threshold: float | None = None) -> Cascade:
        """Build a cascade from its members by role; "find" is the detector. Raises UserError for wrong tasks."""
        if DETECTOR not in members or len(members) < 2:
            raise UserError(f"a pipeline needs a member {DETECTOR!r} and at least one classifier", "members")
        for role, predictor in members.items():
            task = "detect" if role == DETECTOR else "classify"
            if predictor.metadata.task != task:
                raise UserError(
                    f"{predictor.metadata.name!r} has the task {predictor.metadata.task}; {task} is needed",
                    f"members.{role}",
                )
        classifiers = {role: predictor for role, predictor in members.items() if role != DETECTOR}
        return cls(name, members[DETECTOR], classifiers, threshold=threshold)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name or, for a cascade built from members, by these; see Predictor.__reduce__."""
        if self.reopen is not None:
            return super().__reduce__()
        return type(self), (self.metadata.name, self.detector, self.classifiers), {"_threshold": self._threshold}

    @property
    def only_pictures(self) -> bool:
        """True: lesions are outlined and classified in 2D pictures."""
        return True

    def _decode(self, prepared: Prepared, start: float) -> Detections:
        found = super()._decode(prepared, start)
        assert isinstance(found, Detections)
        whole: dict[str, Classification] = {}
        if len(found.boxes):
            whole = {
                role: _classify(classifier, prepared.source, anyway=True)
                for role, classifier in self.classifiers.items()
                if not classifier.accepts_outline
            }
        details = [
            self._classify_box(prepared.source, box, float(score), whole, _mask_of(found, number))
            for number, (box, score) in enumerate(zip(found.boxes, found.scores, strict=True))
        ]
        notes = tuple(dict.fromkeys([*found.notes, *(note for one in whole.values() for note in one.notes)]))
        return replace(found, details=details, notes=notes, seconds=time.perf_counter() - start)

    def _classify_box(
        self, picture: Image, box: Array, score: float, whole: Mapping[str, Classification], mask: Array | None
    ) -> dict[str, Any]:
        """Classify one box, or the `mask` that was found in it; return its outline, members and stages."""
        stages: list[dict[str, Any]] = [{"role": "find", "model": self.detector_name, "score": round(score, 6)}]
        members: dict[str, dict[str, float]] = {}
        outline: dict[str, Any] = {}
        hint: dict[str, Any] = {"box": _inside(box, picture)}
        seen, by = "box", None
        if mask is not None:
            hint, seen, by = {"mask": MassHint(mask, found=True)}, "outline", self.detector_name
        for role, classifier in self.classifiers.items():
            name = classifier.metadata.name
            stage: dict[str, Any] = {"role": role, "model": name, "sees": "picture" if role in whole else seen}
            try:
                answer = whole[role] if role in whole else _classify(classifier, picture, **hint, anyway=True)
            except TimeLimitError:
                raise
            except UserError as error:  # a box of a few pixels: keep the detection without this classifier
                stages.append(stage | {"error": str(error).replace("\n", "; ")})
                continue
            members[name] = {label: round(p, 6) for label, p in answer.probabilities.items()}
            stages.append(stage | {"label": answer.label})
            if not outline and answer.mask is not None and role not in whole:
                outline = _outline(answer, by or name)
        return {**({"outline": outline} if outline else {}), "members": members, "stages": stages}


def _mask_of(found: Detections, number: int) -> Array | None:
    """The mask of a detection; None of a detector without masks, and of a mask that is empty."""
    if found.masks is None:
        return None
    mask = found.masks[number]
    return mask if mask.any() else None


def _classify(classifier: Predictor, picture: Image, **options: Any) -> Classification:
    answer = classifier.predict(picture, **options)
    assert isinstance(answer, Classification)
    return answer


def _inside(box: Array, picture: Image) -> tuple[float, ...]:
    """Clip a box to the picture: rounding may have left it slightly outside."""
    height, width = picture.shape
    return tuple(float(v) for v in np.clip(box, 0, [width, height, width, height]))


def _outline(answer: Classification, name: str) -> dict[str, Any]:
    assert answer.mask is not None
    points = trace(answer.mask > 0, points=_POINTS)
    return {
        "by": name,
        "area_px": int((answer.mask > 0).sum()),
        "contour": [[round(float(x), 1), round(float(y), 1)] for x, y in points],
    }
