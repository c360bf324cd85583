"""Format `auto`: a mask as NIfTI or PNG, anything else as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medzoo.results import Result, Segmentation
from medzoo.task import task_of
from medzoo.writer import Writer


class AutoWriter(Writer):
    """See Writer."""

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return ("_mask.png", "_mask.nii.gz") if task_of(task).gives_mask else (".json",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        if isinstance(result, Segmentation):
            suffix = ".png" if result.image.affine is None else ".nii.gz"
            return result.save(base.with_name(f"{base.name}_mask{suffix}"))
        return result.save(base.with_name(f"{base.name}.json"))


ENTRY = AutoWriter
