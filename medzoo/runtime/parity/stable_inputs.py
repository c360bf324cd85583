"""Golden inputs on which a detector's own output is stable under rounding.

A detector makes discrete decisions, such as which of two equal boxes suppresses the other. Where one depends on
rounding, PyTorch does not reproduce its own output when the input changes by a millionth, and a comparison says nothing
about an export. Such a picture is shifted by a few pixels until its output is stable. In a picture of hundreds of
objects some decision is always close: if no shift helps, ever less of it is kept, before a plain background.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from medzoo.runtime.backends import Backend
from medzoo.runtime.parity.gate import Golden, compare
from medzoo.types import Array

NOISE = 4e-6  # of the largest value: moves the logits about as much as sums in another order do
# Probabilities of masks follow the noise by some 2e-4, more than the gate allows; another decision changes them by far
# more.
_DECIDED = 0.01
_DRAWS = 4
_SHIFTS = 8
_SHARES = (0.7, 0.5, 0.35, 0.25)  # of height and width, around the middle


def stable_inputs(reference: Backend, golden: Golden) -> tuple[Golden, int]:
    """Change the unstable pictures of a batch; return the batch and their number. One that stays unstable is kept.

    Of proposed regions the pixels of each are shifted, while their boxes stay.
    """
    name = next(iter(golden.inputs))
    images, moved = golden.inputs[name].copy(), 0
    for row in _unstable_images(reference, golden.inputs, name):
        one = {key: value[row : row + 1] for key, value in golden.inputs.items()}
        for changed in _changes(one[name]):
            if not len(_unstable_images(reference, one | {name: changed}, name)):
                images[row], moved = changed[0], moved + 1
                break
    return (Golden(golden.name, {**golden.inputs, name: images}), moved) if moved else (golden, 0)


def _changes(image: Array) -> Iterator[Array]:
    """Shifted copies of an image (1, C, ...), then its middle before its own median, smaller and smaller."""
    for shift in range(1, _SHIFTS):
        yield np.roll(image, shift, axis=-1)
    background = np.median(image, axis=tuple(range(2, image.ndim)), keepdims=True)
    for share in _SHARES:
        sizes = [max(1, round(share * n)) for n in image.shape[2:]]
        middle = tuple(
            slice((n - size) // 2, (n - size) // 2 + size) for n, size in zip(image.shape[2:], sizes, strict=True)
        )
        kept = np.broadcast_to(background, image.shape).astype(image.dtype)
        kept[:, :, *middle] = image[:, :, *middle]
        yield kept


def _unstable_images(reference: Backend, inputs: Mapping[str, Array], name: str) -> Array:
    """Return the indices of images whose outputs change under noise of rounding size in the input `name`."""
    rng = np.random.default_rng(0)
    images = inputs[name]
    expected = reference.run(inputs)
    changed = np.zeros(len(images), bool)
    for _ in range(_DRAWS):
        noise = rng.uniform(-NOISE, NOISE, images.shape) * np.abs(images).max(initial=0)
        got = reference.run({**inputs, name: (images + noise).astype(np.float32)})
        changed |= [not _same(expected, got, row) for row in range(len(images))]
        if changed.all():
            break  # most pictures of hundreds of objects: further draws would tell nothing more
    return np.flatnonzero(changed)


def _same(expected: Mapping[str, Array], got: Mapping[str, Array], row: int) -> bool:
    one, two = ({name: value[row : row + 1] for name, value in side.items()} for side in (expected, got))
    return all(
        difference.holds or (difference.output == "masks" and difference.difference < _DECIDED)
        for difference in compare(Golden("", {}), one, two)
    )
