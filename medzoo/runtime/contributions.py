"""What each feature does to an answer, asked of any backend. Knows arrays and backends alone."""

from __future__ import annotations

import numpy as np

from medzoo.runtime.backend import Backend
from medzoo.types import Array


def contributions(backend: Backend, features: Array, reference: Array) -> Array:
    """(F,) how much each feature raises the log-odds of the second label over what its ordinary value would.

    features: (F,) float32 of one input; reference: (F,) the training median of each. One at a time is put back
    to its median and the graph asked again, all in one batch, so this holds for every kernel and backend. Where
    features act together the parts do not add up to the whole.
    """
    rows = np.repeat(features[None], len(features) + 1, axis=0)
    index = np.arange(len(features))
    rows[index + 1, index] = reference
    p = backend.run({"features": rows}, ["probabilities"])["probabilities"][:, 1].astype(np.float64)
    logit = np.log(np.clip(p, 1e-6, 1 - 1e-6)) - np.log(np.clip(1 - p, 1e-6, 1 - 1e-6))
    effects: Array = logit[0] - logit[1:]
    return effects
