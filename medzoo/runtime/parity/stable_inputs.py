"""Golden inputs of a detector, taken where its own answer does not hang on the last bit.

A detector decides: which of two equally good boxes suppresses the other, whether they overlap by 0.7. Where such a
decision stands within rounding, torch does not repeat its own answer once the input moves by a millionth, and a
comparison there says nothing about an export. Such a picture is shifted by a few pixels until it is decided.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from medzoo.runtime.backends.base import Backend
from medzoo.runtime.parity.gate import Golden, compare
from medzoo.types import Array

NOISE = 4e-6  # of the largest value: moves the logits about as much as sums in another order do
_DRAWS = 4
_SHIFTS = 8


def stable_inputs(reference: Backend, golden: Golden) -> tuple[Golden, int]:
    """The batch with undecided pictures shifted, and how many were. A picture that no shift decides stays.

    Of proposed regions the pixels of each are shifted, while their boxes stay.
    """
    name = next(iter(golden.inputs))
    images, moved = golden.inputs[name].copy(), 0
    for row in _undecided(reference, golden.inputs, name):
        one = {key: value[row : row + 1] for key, value in golden.inputs.items()}
        for shift in range(1, _SHIFTS):
            shifted = np.roll(one[name], shift, axis=-1)
            if not len(_undecided(reference, one | {name: shifted}, name)):
                images[row], moved = shifted[0], moved + 1
                break
    return (Golden(golden.name, {**golden.inputs, name: images}), moved) if moved else (golden, 0)


def _undecided(reference: Backend, inputs: Mapping[str, Array], name: str) -> Array:
    """Indices of the images whose answers change with noise of rounding's size in the input `name`."""
    rng = np.random.default_rng(0)
    images = inputs[name]
    expected = reference.run(inputs)
    changed = np.zeros(len(images), bool)
    for _ in range(_DRAWS):
        noise = rng.uniform(-NOISE, NOISE, images.shape) * np.abs(images).max(initial=0)
        got = reference.run({**inputs, name: (images + noise).astype(np.float32)})
        changed |= [not _same(expected, got, row) for row in range(len(images))]
    return np.flatnonzero(changed)


def _same(expected: Mapping[str, Array], got: Mapping[str, Array], row: int) -> bool:
    one, two = ({name: value[row : row + 1] for name, value in side.items()} for side in (expected, got))
    return all(difference.holds for difference in compare(Golden("", {}), one, two))
