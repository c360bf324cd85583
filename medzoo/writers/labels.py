"""Format `labels`: masks as label maps, of detections as maps of instances; PNG of a picture, NIfTI of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medzoo.errors import UserError
from medzoo.results import Detections, Result, Segmentation
from medzoo.task import task_of
from medzoo.writer import Writer


class LabelsWriter(Writer):
    """See Writer. In a map of instances 0 is the background and n the detection with `"instance": n` in the JSON that
    is written beside it."""

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        more = () if task_of(task).gives_mask else (".json",)
        return ("_mask.png", "_mask.nii.gz", *more)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        if not isinstance(result, Segmentation | Detections):
            raise UserError(f"--format labels takes masks, this model is of task {result.task}", result.input)
        suffix = ".png" if result.image.affine is None else ".nii.gz"
        if isinstance(result, Detections):
            # Instances are numbered as they are listed.
            result = result[result.by_score]
        saved = result.save(base.with_name(f"{base.name}_mask{suffix}"))
        return saved.save(base.with_name(f"{base.name}.json")) if isinstance(saved, Detections) else saved


ENTRY = LabelsWriter
