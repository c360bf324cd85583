"""Format `dicom-seg`: masks as DICOM Segmentation objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from medzoo.artifact.environment import installed_version
from medzoo.errors import UserError
from medzoo.results import Result, Segmentation
from medzoo.writer import Writer


class DicomSegWriter(Writer):
    """See Writer."""

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return ("_seg.dcm",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        from medzoo.io.dicom.segmentation import write_segmentation

        if not isinstance(result, Segmentation):
            raise UserError(f"--format dicom-seg takes a mask, this model is of task {result.task}", result.input)
        path = base.with_name(f"{base.name}_seg.dcm")
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


ENTRY = DicomSegWriter
