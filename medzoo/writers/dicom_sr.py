"""Format `dicom-sr`: findings as DICOM Structured Reports, with the SEG of their masks where they have some."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medzoo.artifact.environment import installed_version
from medzoo.errors import UserError
from medzoo.imaging.measures import Component
from medzoo.results import Detections, Result, Segmentation
from medzoo.types import Array
from medzoo.writer import Writer
from medzoo.writers.dicom_seg import write_found


class DicomSrWriter(Writer):
    """See Writer. Of a segmentation its connected parts are reported, where they were asked for."""

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return ("_sr.dcm", "_seg.dcm")

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        if isinstance(result, Segmentation) and self.options.components:
            self._write_components(result, base)
            return result
        if not isinstance(result, Detections):
            hint = "add --components" if isinstance(result, Segmentation) else None
            raise UserError(f"--format dicom-sr takes boxes, this model is of task {result.task}", result.input, hint)
        from medzoo.io.dicom.structured_report import write_report

        segments: dict[int, int] = {}
        seg = base.with_name(f"{base.name}_seg.dcm")
        if result.masks is not None and any(result.masks.crop(n)[1].any() for n in range(len(result))):
            segments = {row: number for number, row in enumerate(write_found(seg, result, self.options.deidentify), 1)}
        write_report(
            base.with_name(f"{base.name}_sr.dcm"),
            result.boxes,
            result.scores,
            [result.labels[int(c)] for c in result.classes],
            result.image,
            measures=[result.measures(n) for n in range(len(result))],
            segmentation=seg if segments else None,
            segments=segments,
            model=result.model,
            version=installed_version("medzoo") or "0",
            parameters=_verdict(result),
            deidentify=self.options.deidentify,
        )
        return result

    def _write_components(self, result: Segmentation, base: Path) -> None:
        """A segment and a group of measurements for each connected part of each label."""
        from medzoo.io.dicom.segmentation import write_instances
        from medzoo.io.dicom.structured_report import write_report

        parts, version = result.components(), installed_version("medzoo") or "0"
        names = [result.labels[one.value] for one in parts]
        seg = base.with_name(f"{base.name}_seg.dcm")
        if parts:
            write_instances(
                seg,
                [_whole(one, result.mask.shape) for one in parts],
                result.image,
                names,
                model=result.model,
                version=version,
                deidentify=self.options.deidentify,
            )
        write_report(
            base.with_name(f"{base.name}_sr.dcm"),
            np.array([one.box for one in parts]).reshape(-1, 2 * result.mask.ndim),
            np.ones(len(parts)),
            names,
            result.image,
            measures=[one.measures for one in parts],
            segmentation=seg if parts else None,
            segments={row: row + 1 for row in range(len(parts))},
            parameters=_verdict(result),
            model=result.model,
            version=version,
            deidentify=self.options.deidentify,
        )


def _verdict(result: Result) -> tuple[str, ...]:
    """Return the guard's verdict on the input."""
    verdict = result.familiar
    return () if verdict is None else (f"familiar: {verdict.verdict}, p {verdict.p:.3f}, {verdict.why}",)


def _whole(part: Component, shape: tuple[int, ...]) -> Array:
    """A connected part on the image's grid."""
    mask, n = np.zeros(shape, np.uint8), len(shape)
    low, high = part.box[:n].astype(int), part.box[n:].astype(int)
    axes = (low[::-1], high[::-1]) if n == 2 else (low, high)
    mask[tuple(slice(a, b) for a, b in zip(*axes, strict=True))] = part.mask
    return mask


ENTRY = DicomSrWriter
