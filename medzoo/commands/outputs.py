"""The files that `predict` leaves, one class a `--format`: each takes answers one by one and is closed at the end."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from medzoo.artifact.environment import installed
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.io.deidentify import Deidentifier
from medzoo.results import Classification, Detections, Result, Segmentation

FormatName = Literal["auto", "nifti", "dicom-seg", "dicom-sr", "coco", "csv", "png"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


class Output(Protocol):
    """Where answers go; `together`: answers are handed over in their order, from one thread."""

    together: bool

    def write(self, result: Result, base: Path) -> Result:
        """Keep one answer under the name `base` (no suffix); returns it with the paths it was written to.

        Raises UserError for an answer that has no such form.
        """

    def close(self) -> None:
        """Write what holds all answers together."""


class AutoOutput:
    """A mask as NIfTI or PNG, anything else as JSON."""

    together = False

    def write(self, result: Result, base: Path) -> Result:
        if isinstance(result, Segmentation):
            suffix = ".png" if result.image.affine is None else ".nii.gz"
            return result.save(base.with_name(f"{base.name}_mask{suffix}"))
        return result.save(base.with_name(f"{base.name}.json"))

    def close(self) -> None:
        """Nothing is left."""


class NiftiOutput(AutoOutput):
    """Masks of volumes as NIfTI."""

    def write(self, result: Result, base: Path) -> Result:
        if not isinstance(result, Segmentation) or result.image.affine is None:
            raise UserError("only the mask of a volume can be written as NIfTI", result.input, "use --format auto")
        return result.save(base.with_name(f"{base.name}_mask.nii.gz"))


class PngOutput(AutoOutput):
    """The picture of each answer alone, drawn by whoever asks for pictures."""

    def write(self, result: Result, base: Path) -> Result:
        return result


class DicomOutput(AutoOutput):
    """Masks as DICOM SEG or detections as DICOM SR; `paths`: what was written, in order."""

    def __init__(self, kind: Literal["dicom-seg", "dicom-sr"], *, deidentify: Deidentifier | None = None) -> None:
        self.kind, self.deidentify = kind, deidentify
        self.paths: list[Path] = []

    def write(self, result: Result, base: Path) -> Result:
        from medzoo.io.dicom.segmentation import write_segmentation
        from medzoo.io.dicom.structured_report import write_report

        said: Mapping[str, Any] = {
            "model": result.model,
            "version": installed("medzoo") or "0",
            "deidentify": self.deidentify,
        }
        if self.kind == "dicom-seg" and isinstance(result, Segmentation):
            path = base.with_name(f"{base.name}_seg.dcm")
            self.paths.append(write_segmentation(path, result.mask, result.image, result.labels, **said))
            return replace(result, mask_path=path)
        if self.kind == "dicom-sr" and isinstance(result, Detections):
            names = [result.labels[int(c)] for c in result.classes]
            path = base.with_name(f"{base.name}_sr.dcm")
            self.paths.append(write_report(path, result.boxes, result.scores, names, result.image, **said))
            return result
        wanted = "a mask" if self.kind == "dicom-seg" else "boxes"
        raise UserError(f"--format {self.kind} takes {wanted}, this model is of task {result.task}", result.input)


class CsvOutput(AutoOutput):
    """All answers in FOLDER/predictions.csv, a row for each box, each label of a mask, each label of a class."""

    together = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "predictions.csv"
        self.rows: list[dict[str, Any]] = []

    def write(self, result: Result, base: Path) -> Result:
        head = {"input": result.input, "model": result.model}
        if isinstance(result, Classification):
            self.rows += [head | {"label": k, "probability": f"{p:.6f}"} for k, p in result.probabilities.items()]
        elif isinstance(result, Segmentation):
            ml = result.volumes_ml
            unit, sizes = ("area_px", result.counts) if ml is None else ("volume_ml", ml)
            self.rows += [head | {"label": k, unit: f"{v:.6g}"} for k, v in sizes.items()]
        else:
            names = ("x0", "y0", "x1", "y1") if result.image.affine is None else ("i0", "j0", "k0", "i1", "j1", "k1")
            for one in result.to_dict()["detections"]:
                row = head | {"label": one["label"], "score": one["score"], **dict(zip(names, one["box"], strict=True))}
                for end, corner in enumerate(one.get("box_mm", ())):
                    row |= {f"{axis}{end}_mm": v for axis, v in zip("xyz", corner, strict=True)}
                self.rows.append(row)
        return result

    def close(self) -> None:
        columns = list(dict.fromkeys(key for row in self.rows for key in row)) or ["input", "model", "label"]
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        atomic_write(self.path, lambda handle: handle.write(text.getvalue().encode()))


class CocoOutput(AutoOutput):
    """All answers on pictures in FOLDER/predictions.json: boxes with scores, masks as run lengths (COCO's own
    format, column by column)."""

    together = True

    def __init__(self, folder: Path) -> None:
        self.path = folder / "predictions.json"
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.labels: tuple[str, ...] = ()

    def write(self, result: Result, base: Path) -> Result:
        if isinstance(result, Classification) or result.image.affine is not None:
            raise UserError("COCO holds boxes and masks of pictures alone", result.input, "use --format auto or csv")
        height, width = result.image.shape
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": result.input, "height": height, "width": width})
        wanted = result.labels[1:] if isinstance(result, Segmentation) else result.labels
        self.labels = tuple(wanted)
        if isinstance(result, Detections):
            for one in result.to_dict()["detections"]:
                x0, y0, x1, y1 = one["box"]
                self._add(number, one["label"], [x0, y0, x1 - x0, y1 - y0], (x1 - x0) * (y1 - y0), score=one["score"])
            return result
        for value, label in enumerate(wanted, 1):
            mask = result.mask == value
            if not mask.any():
                continue
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
            runs = {"size": [height, width], "counts": run_lengths(mask)}
            self._add(number, label, [float(v) for v in box], float(mask.sum()), segmentation=runs)
        return result

    def _add(self, image: int, label: str, box: list[float], area: float, **more: Any) -> None:
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image,
                "category_id": self.labels.index(label) + 1,
                "bbox": [round(v, 3) for v in box],
                "area": round(area, 3),
                "iscrowd": int("segmentation" in more),
                **more,
            }
        )

    def close(self) -> None:
        document = {
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": n, "name": label} for n, label in enumerate(self.labels, 1)],
        }
        text = json.dumps(document, ensure_ascii=False) + "\n"
        atomic_write(self.path, lambda handle: handle.write(text.encode()))


def run_lengths(mask: Any) -> list[int]:
    """Lengths of runs of a mask (H, W) read column by column, the first of zeros."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.r_[False, flat, False]))
    lengths = np.diff(np.r_[0, edges, len(flat)])
    return [int(n) for n in lengths[: len(lengths) - (lengths[-1] == 0)]]


def open_output(form: FormatName, folder: Path, *, deidentify: Deidentifier | None = None) -> Output:
    """The output of a `--format`. Raises UserError for one that there is not."""
    made: Mapping[str, Callable[[], Output]] = {
        "auto": AutoOutput,
        "nifti": NiftiOutput,
        "png": PngOutput,
        "csv": lambda: CsvOutput(folder),
        "coco": lambda: CocoOutput(folder),
        "dicom-seg": lambda: DicomOutput("dicom-seg", deidentify=deidentify),
        "dicom-sr": lambda: DicomOutput("dicom-sr", deidentify=deidentify),
    }
    return made[form]()
