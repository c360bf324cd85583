"""The worst predictions of a model: a sheet of pictures for its card, and one volume for the viewer."""

from __future__ import annotations

import gzip
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medzoo.data.audit.burnt_in import has_burnt_in_text
from medzoo.data.audit.groups import grey_view
from medzoo.data.dataset import Dataset, Item, Sample
from medzoo.errors import UserError
from medzoo.evaluation.score import protocols
from medzoo.imaging.text_lines import blank_text
from medzoo.metrics import Scores
from medzoo.plots.colours import grey_window, to_bytes
from medzoo.plots.sheet import in_rows, sheet_jpeg, tile
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image

SHEET, VOLUME, PREDICTION, TRUTH = "worst.jpg", "worst.nii.gz", "worst-answer.nii.gz", "worst-truth.nii.gz"
FILES = (SHEET, VOLUME, PREDICTION, TRUTH)
_MOST = 6
_VOXELS = 1_500_000  # of the volume in the viewer


@dataclass(frozen=True, eq=False)
class WorstCases:
    """`cases`: item and words of each, worst first; `files`: the sheet and, of volumes, the worst one."""

    cases: list[dict[str, str]]
    files: dict[str, bytes]


def worst_cases(
    predictor: Predictor, data: Dataset, items: Sequence[Item], scores: Scores, *, most: int = _MOST
) -> WorstCases:
    """Predict and draw the worst of `items` again. Items without an error are left out."""
    ranked = sorted(zip(scores.main.errors(), scores.items, strict=True), key=lambda pair: (-pair[0][0], pair[1]))
    by_id = {item.id: item for item in items}
    cases, tiles = [], []
    files: dict[str, bytes] = {}
    for (fault, words), name in ranked[:most]:
        if fault <= 0:
            break
        sample = data.load(by_id[name])
        options = next(iter(protocols(predictor, sample).values()))
        prepared = predictor.prepare(sample.image, anyway=True, **options)
        result = predictor.predict_prepared(prepared)
        cases.append({"item": name, "words": words})
        shown = _blank_burnt_in(sample.image)
        if shown is None:
            continue
        if result.image is not None:
            result = replace(result, image=_blank_burnt_in(result.image) or shown)
        sample = replace(sample, image=shown)
        task = predictor.task
        tiles.append(tile(task.draw_case(result, sample), f"{name}: {words}"))
        if not files and sample.image.affine is not None and (masks := task.case_masks(result, sample)) is not None:
            files = _volumes(sample, *masks)
    if tiles:
        files[SHEET] = sheet_jpeg(in_rows(tiles, 3))
    return WorstCases(cases, files)


def _blank_burnt_in(image: Image) -> Image | None:
    """The image with burnt-in text blanked, as it may be published with a model. None if its header states that text is
    burnt in, and none is found."""
    if not image.meta.get("burnt_in") and (image.affine is not None or not has_burnt_in_text(grey_view(image))):
        return image
    try:
        return blank_text(image)
    except UserError:
        return None


def _volumes(sample: Sample, prediction: Array, truth: Array) -> dict[str, bytes]:
    """The scan, the prediction and the truth on a grid that a page can hold, cropped to what is not zero."""
    image = sample.image
    grey = image.array[0]
    inside = np.argwhere(grey > grey.min())
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    step = max(1, int(np.ceil((np.prod(high - low) / _VOXELS) ** (1 / 3))))
    cut = tuple(slice(int(a), int(b), step) for a, b in zip(low, high, strict=True))
    assert image.affine is not None
    affine = image.affine.copy()
    affine[:3, 3] = affine[:3, :3] @ low + affine[:3, 3]
    affine[:3, :3] = affine[:3, :3] * step
    arrays = {VOLUME: to_bytes(grey, grey_window(grey)), PREDICTION: prediction, TRUTH: truth}
    return {name: _nifti(array[cut].astype(np.uint8), affine) for name, array in arrays.items()}


def _nifti(array: Array, affine: Array) -> bytes:
    """A .nii.gz whose bytes depend on nothing but its content."""
    import nibabel

    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed:
        packed.write(nibabel.Nifti1Image(array, affine).to_bytes())
    return out.getvalue()
