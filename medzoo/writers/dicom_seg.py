"""Format `dicom-seg`: masks as DICOM Segmentation objects, of detections with a segment each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medzoo.artifact.environment import installed_version
from medzoo.errors import UserError
from medzoo.io.deidentify import Deidentifier
from medzoo.results import Detections, Result, Segmentation
from medzoo.writer import Writer


class DicomSegWriter(Writer):
    """See Writer."""

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return ("_seg.dcm",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        path = base.with_name(f"{base.name}_seg.dcm")
        if isinstance(result, Detections):
            write_found(path, result, self.options.deidentify)
            return result
        from medzoo.io.dicom.segmentation import write_segmentation

        if not isinstance(result, Segmentation):
            raise UserError(f"--format dicom-seg takes a mask, this model is of task {result.task}", result.input)
        write_segmentation(
            path,
            result.mask,
            result.image,
            result.labels,
            model=result.model,
            version=installed_version("medzoo") or "0",
            deidentify=self.options.deidentify,
        )
        return replace(result, mask_path=path)


def write_found(path: Path, result: Detections, deidentify: Deidentifier | None) -> list[int]:
    """Write the masks of detections, a segment each; returns the rows of the detections in the order of the segments.

    Those whose masks hold no pixel are left out. Raises UserError for a model without masks, and where nothing is left.
    """
    from medzoo.io.dicom.segmentation import write_instances

    masks = result.masks
    if masks is None:
        words = f"--format dicom-seg takes a mask, this model is of task {result.task} and gives boxes alone"
        raise UserError(words, result.input, "use --format dicom-sr")
    rows = [int(n) for n in result.by_score if masks.crop(int(n))[1].any()]
    if not rows:
        raise UserError("nothing was found, of which no DICOM SEG can be made", result.input, "use --format dicom-sr")
    write_instances(
        path,
        [masks[n] for n in rows],
        result.image,
        [result.labels[int(result.classes[n])] for n in rows],
        model=result.model,
        version=installed_version("medzoo") or "0",
        deidentify=deidentify,
    )
    return rows


ENTRY = DicomSegWriter
