"""Decode a detector's boxes: of a picture, its tiles, proposed regions or a volume, on the source grid."""

from __future__ import annotations

from functools import partial

from medzoo.imaging.instance_masks import InstanceMasks
from medzoo.preprocess.extras import PROPOSED_BOXES
from medzoo.results import Detections
from medzoo.runtime.backends import detection_outputs
from medzoo.runtime.decode.tiles import Boxes, detect_in_tiles
from medzoo.runtime.decode.volume_boxes import detect_volume
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.types import Array


def decode_detections(predictor: Predictor, prepared: Prepared, start: float) -> Detections:
    """Detect in a prepared picture, its tiles or proposed regions, or slice by slice in a volume.

    `start` is the time.perf_counter of the call.
    """
    array, proposed = prepared.image.array, prepared.extras.get(PROPOSED_BOXES)
    cut, patches = 0, None
    if proposed is None and array.ndim == 4 and predictor.metadata.geometry.dims == 2:
        boxes, scores, classes = detect_volume(predictor.backend, array, threshold=predictor.threshold)
    elif prepared.tile is not None:
        (boxes, scores, classes, patches), cut = detect_in_tiles(partial(_boxes, predictor), array, prepared.tile)
    else:
        boxes, scores, classes, patches = _boxes(predictor, array, proposed)
    facts = predictor.common_fields(prepared, start)
    if cut:
        note = f"{cut} of the boxes end where a tile does: objects larger than half a tile need a larger one"
        facts["notes"] += (note,)
    return Detections(
        boxes=prepared.transform.boxes_to_source(boxes),
        scores=scores,
        classes=classes,
        labels=predictor.metadata.labels,
        masks=None if patches is None else InstanceMasks(patches, boxes, prepared.transform),
        **facts,
    )


def _boxes(predictor: Predictor, array: Array, proposed: Array | None = None) -> Boxes:
    """Return boxes (N, 4), scores (N,), classes (N,) and, of a model that has them, masks (N, m, m) at or above the
    threshold.

    array: a prepared picture (C, H, W), or regions (R, C, h, w) of the boxes `proposed` (R, 4).
    """
    given = {"image": array} if proposed is None else {"regions": array, "boxes": proposed}
    raw = detection_outputs(predictor.backend.run({name: one[None] for name, one in given.items()}))
    kept = int(raw["count"][0])
    above = raw["scores"][0, :kept] >= predictor.threshold
    boxes, scores, classes = (raw[name][0, :kept][above] for name in ("boxes", "scores", "labels"))
    return boxes, scores, classes, raw["masks"][0, :kept][above] if "masks" in raw else None
