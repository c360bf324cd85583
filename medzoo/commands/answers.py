"""Answers beside each other: recomputed from their digests (`verify ANSWER --with`), or of two versions of a model
(`compare OLD NEW --on`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medzoo.artifact.folder import sha256
from medzoo.artifact.locate import find_model
from medzoo.boxes import box_iou
from medzoo.errors import UserError
from medzoo.loading.load import load, model_digest
from medzoo.results import Classification, Detections
from medzoo.runtime.predictor import Predictor

Agreement = Literal["identical", "within tolerance", "different"]
SCORE, PIXELS, AREA = 1e-3, 0.5, 1e-3
"""Largest differences of probabilities and scores, of boxes in pixels, and of areas and volumes (relative) that other
machines and backends cause."""
_VARIES = frozenset({"input", "seconds", "digests", "mask", "instance", "notes", "explanation"})


@dataclass(frozen=True)
class Recomputed:
    """The comparison of an answer with the one that its model gives now, and the largest difference."""

    agreement: Agreement
    difference: float
    words: str


def answer_digests(predictor: Predictor, source: str) -> dict[str, Any]:
    """The facts by which an answer can be recomputed: SHA-256 of model and input, threshold, precision."""
    digest = getattr(predictor.reopen, "digest", None)
    path = Path(source)
    return {
        "model": digest,
        "input": sha256(path) if path.is_file() else None,
        "threshold": predictor.threshold,
        "precision": predictor.backend.metadata.precision,
    }


def verify_answer(answer: str | Path, *, source: str | Path, model: str | Path | None = None) -> Recomputed:
    """Recompute an answer of `predict --json` or `result.save` for `source`, the file that it was given for.

    `model`: where the model is, by default its name in the zoo. Raises UserError if the input or the model is another
    one than the answer says, or the file holds no such answer.
    """
    said = _find(Path(answer), Path(source))
    digests = said["digests"]
    place = find_model(model if model is not None else str(said["model"]))
    if model_digest(place) != digests["model"]:
        raise UserError(
            f"the answer is of another version of {said['model']}: its digest begins with {digests['model'][:16]}",
            str(place),
            "name that version with --model",
        )
    predictor = load(place, threshold=digests.get("threshold"), precision=digests.get("precision") or "auto")
    now = predictor.predict(str(source), anyway=True).to_dict()
    return agreement_of(said, now)


def agreement_of(said: Mapping[str, Any], now: Mapping[str, Any]) -> Recomputed:
    """Compare two answers to one input, field by field."""
    kept, again = (json.loads(json.dumps({k: v for k, v in one.items() if k not in _VARIES})) for one in (said, now))
    if kept == again:
        return Recomputed("identical", 0.0, "every field is the same")
    if said.get("task") != now.get("task") or said.get("label") != now.get("label"):
        return Recomputed("different", 1.0, f"{said.get('label')} became {now.get('label')}")
    if "probabilities" in said:
        mine, theirs = said["probabilities"], now["probabilities"]
        if mine.keys() != theirs.keys():
            return Recomputed("different", 1.0, "the labels are others")
        return _graded(max(abs(mine[k] - theirs[k]) for k in mine), SCORE, "largest difference of a probability")
    if "detections" in said:
        return _boxes(said["detections"], now["detections"])
    sizes = [key for key in ("volumes_ml", "areas_px") if key in said]
    if not sizes or said[sizes[0]].keys() != now.get(sizes[0], {}).keys():
        return Recomputed("different", 1.0, "the answers have other fields")
    mine, theirs = said[sizes[0]], now[sizes[0]]
    largest = max((abs(mine[k] - theirs[k]) / max(abs(mine[k]), 1e-9) for k in mine), default=0.0)
    return _graded(largest, AREA, "largest relative difference of a size")


@dataclass(frozen=True)
class Change:
    """Return the change of the answer to one input from one model to another: 0 not at all, 1 entirely."""

    input: str
    change: float
    words: str

    def to_dict(self) -> dict[str, Any]:
        """An entry of `compare --on --json`."""
        return {"input": self.input, "change": round(self.change, 6), "words": self.words}


def changed_answers(old: str | Path, new: str | Path, inputs: Sequence[str | Path]) -> list[Change]:
    """The answers of two models to the same inputs, most changed first.

    The change of a classification is the largest difference of a probability, 1 if the label is another; of
    detections 1 minus the mean agreement of the boxes of both (score and overlap); of a segmentation 1 minus the mean
    Dice coefficient of its labels. Raises UserError for models of different tasks or labels.
    """
    first, second = load(find_model(old)), load(find_model(new))
    if (first.metadata.task, first.metadata.labels) != (second.metadata.task, second.metadata.labels):
        raise UserError(f"{new} has another task or other labels than {old}", "compare", "compare two versions of one")
    pairs = zip(
        inputs,
        first.predict([str(one) for one in inputs], anyway=True),
        second.predict([str(one) for one in inputs], anyway=True),
        strict=True,
    )
    found = [_change(str(name), before, after) for name, before, after in pairs]
    return sorted(found, key=lambda one: -one.change)


def _change(name: str, before: Any, after: Any) -> Change:
    if before.error is not None or after.error is not None:
        same = before.error is not None and after.error is not None
        words = "neither answers" if same else f"only one answers: {before.error or after.error}"
        return Change(name, 0.0 if same else 1.0, words)
    if isinstance(before, Classification):
        mine, theirs = before.probabilities, after.probabilities
        label = max(mine, key=lambda one: abs(mine[one] - theirs[one]))
        words = f"{label} {mine[label]:.3f} to {theirs[label]:.3f}"
        if before.label != after.label:
            return Change(name, 1.0, f"{before.label} became {after.label}: {words}")
        return Change(name, abs(mine[label] - theirs[label]), words)
    if isinstance(before, Detections):
        return _changed_boxes(name, before, after)
    shares = []
    for number in range(1, len(before.labels)):
        there, then = before.mask == number, after.mask == number
        total = int(there.sum()) + int(then.sum())
        shares.append(1.0 if not total else 2 * int((there & then).sum()) / total)
    dice = float(np.mean(shares)) if shares else 1.0
    return Change(name, 1 - dice, f"mean Dice of the two {dice:.4f}")


def _changed_boxes(name: str, before: Detections, after: Detections) -> Change:
    words = f"{len(before)} detections, then {len(after)}"
    most = max(len(before), len(after))
    if not most:
        return Change(name, 0.0, "no detections")
    if not min(len(before), len(after)):
        return Change(name, 1.0, words)
    overlap = box_iou(np.asarray(before.boxes, float), np.asarray(after.boxes, float))
    overlap *= np.asarray(before.classes)[:, None] == np.asarray(after.classes)[None]
    near = 1 - np.abs(np.asarray(before.scores)[:, None] - np.asarray(after.scores)[None])
    agreement, total = overlap * near, 0.0
    for _ in range(min(agreement.shape)):
        row, column = np.unravel_index(int(agreement.argmax()), agreement.shape)
        total += float(agreement[row, column])
        agreement[row], agreement[:, column] = 0, 0
    return Change(name, 1 - total / most, words)


def _boxes(mine: list[Mapping[str, Any]], theirs: list[Mapping[str, Any]]) -> Recomputed:
    if len(mine) != len(theirs):
        return Recomputed("different", 1.0, f"{len(mine)} detections became {len(theirs)}")
    if not mine:
        return Recomputed("within tolerance", 0.0, "there are no detections, other fields differ")
    first, second = (np.array([one["box"] for one in boxes], float) for boxes in (mine, theirs))
    pairs = box_iou(first, second).argmax(axis=1)
    apart = float(np.abs(first - second[pairs]).max())
    scores = max(abs(one["score"] - theirs[int(n)]["score"]) for one, n in zip(mine, pairs, strict=True))
    if len(set(pairs.tolist())) < len(pairs) or any(
        one["label"] != theirs[int(n)]["label"] for one, n in zip(mine, pairs, strict=True)
    ):
        return Recomputed("different", 1.0, "the detections are others")
    if apart > PIXELS:
        return Recomputed("different", apart, f"a box moved by {apart:.3g} pixels")
    return _graded(scores, SCORE, "largest difference of a score")


def _graded(value: float, allowed: float, what: str) -> Recomputed:
    words = f"{what}: {value:.2g}, allowed {allowed:g}"
    return Recomputed("within tolerance" if value <= allowed else "different", float(value), words)


def _find(answer: Path, source: Path) -> Mapping[str, Any]:
    """The answer of a JSON file, of several that to this input."""
    try:
        document = json.loads(answer.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(answer)) from error
    except ValueError as error:
        raise UserError(f"is not an answer: {error}", str(answer), "give what predict --json printed") from error
    entries = document if isinstance(document, list) else [document]
    answers = [one for one in entries if isinstance(one, dict) and isinstance(one.get("digests"), dict)]
    if not answers:
        raise UserError("holds no answer with digests", str(answer), "answers of predict --json carry them")
    if not source.is_file():
        raise UserError("is not a file", str(source), "give the file that the answer is for")
    digest = sha256(source)
    for one in answers:
        if one["digests"].get("input") == digest and isinstance(one["digests"].get("model"), str):
            return one
    raise UserError("is not the input of this answer: its SHA-256 is another", str(source), f"see {answer}")
