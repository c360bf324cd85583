"""Decode a classifier's probabilities: label, conformal set and feature contributions."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from medzoo.preprocess.extras import mass
from medzoo.results import Classification
from medzoo.runtime.backends import Backend
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.types import Array


def decode_classification(predictor: Predictor, prepared: Prepared, start: float) -> Classification:
    """Classify a prepared image or rows of features; `start` is the time.perf_counter of the call."""
    name = predictor.metadata.inputs[0]
    array = prepared.image.array
    measured = mass(prepared.extras)
    # Rows of features may be many, a picture is one, of the whole mass or of the crop around it.
    batch = array if name == "features" and array.ndim == 2 else array[None]
    values = predictor.backend.run({name: batch}, ["probabilities"])["probabilities"]
    facts: dict[str, Any] = predictor.common_fields(prepared, start)
    if measured is not None:
        # Several rows are as many outlines of one mass.
        values = np.average(values, axis=0, weights=measured.weights)[None]
        facts |= {"outline": measured.outline, "features": measured.features, "mask": measured.mask}
        facts["notes"] += tuple(measured.notes)
        reference = (predictor.metadata.calibration or {}).get("reference")
        if reference is not None:
            effects = feature_contributions(predictor.backend, batch[0], np.asarray(reference, np.float32))
            facts["contributions"] = dict(zip(measured.features, map(float, effects), strict=True))
    elif prepared.source.affine is None and not np.ptp(prepared.source.array):
        facts["notes"] += ("the picture has one value throughout, there is nothing in it to see",)
    probabilities = {label: float(p) for label, p in zip(predictor.metadata.labels, values[0], strict=True)}
    if (sets := predictor.metadata.conformal) is not None:
        facts["label_set"] = tuple(label for label, p in probabilities.items() if p >= sets.threshold)
        facts["coverage"] = sets.coverage
    facts["seconds"] = time.perf_counter() - start
    return Classification(label=_label(predictor, probabilities), probabilities=probabilities, **facts)


def _label(predictor: Predictor, probabilities: dict[str, float]) -> str:
    """Return the most probable label; of two, the second ("positive") one if it reaches the operating threshold."""
    if len(predictor.metadata.labels) == 2 and predictor.threshold > 0:
        negative, positive = predictor.metadata.labels
        return positive if probabilities[positive] >= predictor.threshold else negative
    return max(probabilities, key=probabilities.__getitem__)


def feature_contributions(backend: Backend, features: Array, reference: Array) -> Array:
    """Return (F,) by how much each feature raises the log-odds of the second label, compared with its median.

    features: (F,) float32 of one input; reference: (F,) training medians. Each feature is replaced by its median in
    turn, and all variants run as one batch, so this works with every model and backend. Where features interact, the
    contributions do not add up to the total.
    """
    rows = np.repeat(features[None], len(features) + 1, axis=0)
    index = np.arange(len(features))
    rows[index + 1, index] = reference
    p = backend.run({"features": rows}, ["probabilities"])["probabilities"][:, 1].astype(np.float64)
    logit = np.log(np.clip(p, 1e-6, 1 - 1e-6)) - np.log(np.clip(1 - p, 1e-6, 1 - 1e-6))
    effects: Array = logit[0] - logit[1:]
    return effects
