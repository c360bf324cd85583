"""Decode a segmenter's labels: by slices or tiles, resampled to the source grid."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.measures import holes
from medzoo.results import Segmentation
from medzoo.results.segmentation import Phases
from medzoo.runtime.backends import Backend
from medzoo.runtime.decode.components import apply_rules
from medzoo.runtime.decode.resample import is_resampled, resample_labels
from medzoo.runtime.decode.slices import Counted, probability_maps, run_count, segment_array
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.types import Array, Image


def decode_segmentation(predictor: Predictor, prepared: Prepared, start: float) -> Segmentation:
    """Segment a prepared image, or each phase of it, on the source grid; `start` is the time.perf_counter of the call.

    Of several phases the mask is that of end diastole, the one in which the model's first cavity is largest.
    """
    if prepared.phases:
        answers = [_decode_one(predictor, phase, start) for phase in prepared.phases]
        counts = [answer.counts for answer in answers]
        first = predictor.metadata.phases[0]
        full, empty = (extreme(range(len(counts)), key=lambda n: counts[n][first]) for extreme in (max, min))
        return replace(
            answers[full],
            input=prepared.name,
            seconds=time.perf_counter() - start,
            phases=Phases(
                masks=tuple(answer.mask for answer in answers),
                end_diastole=full,
                end_systole=empty,
                ejection_fractions={
                    label: 1 - counts[empty][label] / counts[full][label]
                    for label in predictor.metadata.phases
                    if counts[full][label]
                },
            ),
        )
    return _decode_one(predictor, prepared, start)


def _decode_one(predictor: Predictor, prepared: Prepared, start: float) -> Segmentation:
    slab = 1 if predictor.backend.device == "cpu" else 8
    array, transform = prepared.image.array, prepared.transform
    if predictor.metadata.geometry.dims == 3:
        _check_volume(array, prepared.source.source, predictor.metadata.name)
    backend: Backend = predictor.backend
    progress = predictor.progress
    counted: Counted | None = None
    if progress is not None and prepared.source.affine is not None:
        total = run_count(predictor.metadata.geometry, array, slab=slab)
        backend = counted = Counted(backend, total, partial(progress, prepared.name))
    if is_resampled(transform) and "probabilities" in predictor.metadata.outputs:
        maps = probability_maps(backend, array, slab=slab)
        mask = resample_labels(maps, transform, inside=_foreground(predictor, prepared.source))
    else:
        mask = transform.mask_to_source(segment_array(backend, array, slab=slab))
    if counted is not None:
        counted.finish()
    affine = prepared.source.affine
    voxel = 1.0 if affine is None else abs(float(np.linalg.det(affine[:3, :3])))
    mask = apply_rules(mask, predictor.metadata.components, voxel=voxel)
    return Segmentation(mask=mask, labels=predictor.metadata.labels, **predictor.common_fields(prepared, start))


def _check_volume(array: Array, where: str | None, name: str) -> None:
    """Raise UserError unless a prepared array (C, *spatial) is a volume of two or more slices along every axis."""
    if array.ndim != 4:
        raise UserError(f"is a picture, but {name} takes volumes", where, "give it the whole scan")
    if min(array.shape[1:]) < 2:
        size = " x ".join(map(str, array.shape[1:]))
        raise UserError(
            f"of {size} voxels is a single slice, but {name} takes volumes", where, "give it the whole scan"
        )


def _foreground(predictor: Predictor, source: Image) -> Array | None:
    """Return the foreground mask of the source for a graph that treats zeros as background; None for others."""
    if predictor.metadata.geometry.foreground != "nonzero":
        return None
    inside: Array = source.array[0] != 0
    return inside | holes(inside)
