"""The embedding of an input, caught from the runs of its prediction, and the guard's verdict on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from medzoo.boxes import bounding_box
from medzoo.errors import UnfamiliarError
from medzoo.guard.record import Familiar, Guard
from medzoo.preprocess.extras import PROPOSED_BOXES
from medzoo.runtime.backends import Backend
from medzoo.runtime.decode.slices import slice_with_neighbours
from medzoo.runtime.metadata import Geometry
from medzoo.types import Array, Image

if TYPE_CHECKING:
    from medzoo.runtime.prepared import Prepared

OUTPUT = "embedding"
"""Name of the graph's output that a guard judges."""
ANYWAY = "MEDZOO_ANYWAY"
"""Set to 1 in the environment, every input is answered, as with the option `anyway`: for tests on made-up images."""
_SLICES = 5  # of a volume, that a graph of slices is shown for the verdict


class EmbeddingTap:
    """A backend that asks its first run for the embedding too; see medzoo.runtime.backends.Backend.

    Later runs are of other inputs: rows of features that are varied, further slices or tiles.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.metadata, self.name, self.device = backend.metadata, backend.name, backend.device
        self.embedding: Array | None = None
        """(D,) float32, the mean over the rows of the first run; None before it."""

    def __getattr__(self, name: str) -> Any:
        """Pass on further attributes of the backend, such as `canvas`."""
        return getattr(self._backend, name)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run; the embedding is not among the outputs."""
        if self.embedding is not None:
            return self._backend.run(inputs, [*self.metadata.outputs] if outputs is None else outputs)
        # By name: a Triton beside it gives what is named, and the metadata do not list the embedding.
        names = [*self.metadata.outputs] if outputs is None else [*outputs]
        answer = self._backend.run(inputs, [*names, *([] if OUTPUT in names else [OUTPUT])])
        rows = np.asarray(answer.pop(OUTPUT), np.float32)
        self.embedding = rows.reshape(len(rows), -1).mean(0)
        return answer


def in_one_run(prepared: Prepared) -> bool:
    """True if the graph sees an input whole in one run, which then gives the embedding as well."""
    return prepared.image.array.ndim < 4 and prepared.tile is None


def embed(backend: Backend, prepared: Prepared) -> Array | None:
    """The embedding (D,) of a prepared input by runs of its own; None if there is nothing in it to see.

    A volume is seen in a few slices, or in the patch at its middle; a picture that is looked at in tiles, as a whole.
    """
    array, geometry = prepared.image.array, backend.metadata.geometry
    names = backend.metadata.inputs
    if names == ("image",) and array.ndim == 4:
        runs = _middle(array, geometry) if geometry.dims == 3 else _slices(array, geometry)
    elif names == ("features",):
        runs = [array if array.ndim == 2 else array[None]]
    else:
        runs = [np.asarray(array[None], np.float32)]
    more = {"boxes": prepared.extras[PROPOSED_BOXES][None]} if "boxes" in names else {}
    rows = [backend.run({names[0]: one, **more}, [OUTPUT])[OUTPUT] for one in runs]
    if not rows:
        return None
    whole = np.concatenate([np.asarray(one, np.float32).reshape(len(one), -1) for one in rows])
    mean: Array = whole.mean(0)
    return mean


def _slices(array: Array, geometry: Geometry) -> list[Array]:
    """A few slices of a volume (C, I, J, K), evenly spaced where there is something, as inputs of a 2D graph."""
    stack = np.moveaxis(array, geometry.axis + 1, 0)
    filled = np.flatnonzero([bool(one.any()) for one in stack])
    if not len(filled):
        return []
    chosen = filled[np.linspace(0, len(filled) - 1, _SLICES + 2).round().astype(int)[1:-1]]
    reach = geometry.slices // 2
    return [np.ascontiguousarray(slice_with_neighbours(stack, int(n), reach))[None] for n in dict.fromkeys(chosen)]


def _middle(array: Array, geometry: Geometry) -> list[Array]:
    """The patch of a volume (C, I, J, K) at the middle of what is not zero, padded with zeros."""
    box = bounding_box(array[0])
    if box is None:
        return []
    size = tuple(array.shape[1:]) if geometry.window is None else geometry.window.size
    patch = np.zeros((array.shape[0], *size), np.float32)
    put, take = [slice(None)], [slice(None)]
    for side, length, whole in zip(box, size, array.shape[1:], strict=True):
        start = max(0, min((side.start + side.stop - length) // 2, whole - length))
        stop = min(whole, start + length)
        take.append(slice(start, stop))
        put.append(slice(0, stop - start))
    patch[tuple(put)] = array[tuple(take)]
    return [patch[None]]


def judge(guard: Guard, embedding: Array | None, prepared: Prepared) -> Familiar:
    """The guard's verdict on a prepared input and its embedding (D,), None where there is nothing to see."""
    if embedding is None:
        return Familiar("no", 0.0, "there is nothing in it to see")
    return guard.judge(embedding, **geometry_of(prepared.source))


def geometry_of(image: Image) -> dict[str, tuple[Any, ...]]:
    """Size in pixels and, of a volume, voxel spacing in mm, as `Guard.judge` takes them."""
    spacing = () if image.affine is None else tuple(float(v) for v in image.spacing)
    return {"size": tuple(int(n) for n in image.shape), "spacing": spacing}


def refuse(familiar: Familiar, *, model: str, where: str) -> None:
    """Raise UnfamiliarError if the verdict is "no"."""
    if familiar.verdict == "no":
        words = f"is not what {model} was trained on: {familiar.why}"
        error = UnfamiliarError(words, where, "to predict it all the same: --anyway (anyway=True)")
        error.familiar = familiar
        raise error


def unsure_note(familiar: Familiar) -> tuple[str, ...]:
    """Return the note on an input that is answered though it may not be of the model's kind."""
    if familiar.verdict == "yes":
        return ()
    word = "not sure to be" if familiar.verdict == "unsure" else "not"
    return (f"{word} what the model was trained on: {familiar.why} (p {familiar.p:.3f})",)
