"""Format `nifti`: masks of volumes as NIfTI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medzoo.errors import UserError
from medzoo.results import Detections, Result, Segmentation
from medzoo.writer import Writer


class NiftiWriter(Writer):
    """See Writer."""

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return ("_mask.nii.gz",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        has_mask = isinstance(result, Segmentation) or (isinstance(result, Detections) and result.masks is not None)
        if not has_mask or result.image is None or result.image.affine is None:
            raise UserError("only the mask of a volume can be written as NIfTI", result.input, "use --format auto")
        return result.save(base.with_name(f"{base.name}_mask.nii.gz"))


ENTRY = NiftiWriter
