"""Format `dicom-sr`: detections as DICOM Structured Reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medzoo.artifact.environment import installed_version
from medzoo.errors import UserError
from medzoo.results import Detections, Result
from medzoo.writer import Writer


class DicomSrWriter(Writer):
    """See Writer."""

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return ("_sr.dcm",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        from medzoo.io.dicom.structured_report import write_report

        if not isinstance(result, Detections):
            raise UserError(f"--format dicom-sr takes boxes, this model is of task {result.task}", result.input)
        names = [result.labels[int(c)] for c in result.classes]
        verdict = result.familiar
        said = () if verdict is None else (f"familiar: {verdict.verdict}, p {verdict.p:.3f}, {verdict.why}",)
        write_report(
            base.with_name(f"{base.name}_sr.dcm"),
            result.boxes,
            result.scores,
            names,
            result.image,
            model=result.model,
            version=installed_version("medzoo") or "0",
            parameters=said,
            deidentify=self.options.deidentify,
        )
        return result


ENTRY = DicomSrWriter
