"""The files that `predict` leaves, one class a `--format`: each takes answers one by one and is closed at the end."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from medzoo.artifact.environment import installed
from medzoo.commands.coco_ids import CocoIds
from medzoo.errors import UserError
from medzoo.escape import escaped, json_text
from medzoo.io.atomic import atomic_write
from medzoo.io.deidentify import Deidentifier
from medzoo.results import Classification, Detections, Failure, Result, Segmentation

FormatName = Literal["auto", "nifti", "dicom-seg", "dicom-sr", "coco", "csv", "png"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)


class Output(Protocol):
    """Where answers go; `together`: answers are handed over in their order, from one thread."""

    together: bool

    def write(self, result: Result, base: Path) -> Result:
        """Keep one answer under the name `base` (no suffix); returns it with the paths it was written to.

        Raises UserError for an answer that has no such form.
        """

    def fail(self, failure: Failure, name: str) -> None:
        """Note an input that was not answered, called `name` in what is written."""

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

    def fail(self, failure: Failure, name: str) -> None:
        """Nothing is written of it."""

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
    """All answers in FOLDER/predictions.csv: a row for each box, each label of a mask, each label of a class; one row
    for an input in which nothing was found, and one with a column `error` for an input that was not answered.

    Text is printable (see `escaped`), and none of it is a formula to a spreadsheet (see `cell`).
    """

    together = True

    def __init__(self, folder: Path, *, model: str = "") -> None:
        self.path, self.model = folder / "predictions.csv", model
        self.rows: list[dict[str, Any]] = []

    def write(self, result: Result, base: Path) -> Result:
        head = {"input": cell(result.input), "model": cell(result.model)}
        rows: list[dict[str, Any]] = []
        if isinstance(result, Classification):
            rows += [head | {"label": cell(k), "probability": f"{p:.6f}"} for k, p in result.probabilities.items()]
        elif isinstance(result, Segmentation):
            ml = result.volumes_ml
            unit, sizes = ("area_px", result.counts) if ml is None else ("volume_ml", ml)
            rows += [head | {"label": cell(k), unit: f"{v:.6g}"} for k, v in sizes.items()]
        elif isinstance(result, Detections):
            names = ("x0", "y0", "x1", "y1") if result.image.affine is None else ("i0", "j0", "k0", "i1", "j1", "k1")
            for one in result.to_dict()["detections"]:
                row = head | {"label": cell(one["label"]), "score": one["score"]}
                row |= dict(zip(names, one["box"], strict=True))
                for end, corner in enumerate(one.get("box_mm", ())):
                    row |= {f"{axis}{end}_mm": v for axis, v in zip("xyz", corner, strict=True)}
                rows.append(row)
        self.rows += rows or [head]
        return result

    def fail(self, failure: Failure, name: str) -> None:
        """A row that says why."""
        # The words are one printable line already.
        words = failure.to_dict()["error"]
        self.rows.append({"input": cell(name), "model": cell(self.model), "error": as_text(words)})

    def close(self) -> None:
        found = dict.fromkeys(key for row in self.rows for key in row)
        columns = [*dict.fromkeys(["input", "model", "label", *(key for key in found if key != "error")])]
        columns += ["error"] if "error" in found else []
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        atomic_write(self.path, lambda handle: handle.write(text.getvalue().encode()))


def cell(text: str) -> str:
    """Text from outside for a CSV file: one printable line, and never a formula."""
    return as_text(escaped(text))


def as_text(words: str) -> str:
    """Words that a spreadsheet would take for a formula, as they begin with =, +, - or @ (or one of these at full
    width), behind an apostrophe, which makes them text (OWASP, CSV Injection); so are words behind an apostrophe."""
    return f"'{words}" if is_formula(words) or words.startswith("'") else words


def is_formula(words: str) -> bool:
    """Whether a spreadsheet could take words for a formula."""
    return words.startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))


class CocoOutput(AutoOutput):
    """All answers on pictures in FOLDER/predictions.json, a data set of COCO: boxes with scores, masks as run lengths
    (COCO's own format, column by column).

    `ids`: of images and categories, from the annotation file that the results are for; else numbers from 1 on. With
    `ids`, FOLDER/results.json is COCO's list of results, which `pycocotools` loads (COCO.loadRes) against that file.
    """

    together = True

    def __init__(self, folder: Path, *, ids: CocoIds | None = None) -> None:
        self.path, self.results, self.ids = folder / "predictions.json", folder / "results.json", ids
        self.images: list[Mapping[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.labels: tuple[str, ...] = ()

    def write(self, result: Result, base: Path) -> Result:
        if not isinstance(result, Segmentation | Detections) or result.image.affine is not None:
            raise UserError("COCO holds boxes and masks of pictures alone", result.input, "use --format auto or csv")
        height, width = result.image.shape
        image: Mapping[str, Any] = {"id": len(self.images) + 1, "file_name": result.input}
        image = {**image, "height": height, "width": width}
        if self.ids is not None:
            image = self.ids.image(result.image.source or result.input, (height, width))
            if any(one["id"] == image["id"] for one in self.images):
                raise UserError(f"is the image {image['file_name']!r}, which is answered already", result.input)
        wanted = result.labels[1:] if isinstance(result, Segmentation) else result.labels
        self.labels = tuple(wanted)
        found = [*self._found(result, wanted)]  # all of it, or nothing
        self.images.append(image)
        for number, one in enumerate(found, len(self.annotations) + 1):
            self.annotations.append({"id": number, "image_id": image["id"], **one})
        return result

    def _found(self, result: Segmentation | Detections, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
        height, width = result.image.shape
        if isinstance(result, Detections):
            for one in result.to_dict()["detections"]:
                x0, y0, x1, y1 = one["box"]
                box = [x0, y0, x1 - x0, y1 - y0]
                yield self._annotation(one["label"], box, (x1 - x0) * (y1 - y0), score=one["score"])
            return
        for value, label in enumerate(labels, 1):
            mask = result.mask == value
            if not mask.any():
                continue
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
            runs = {"size": [height, width], "counts": run_lengths(mask)}
            yield self._annotation(label, [float(v) for v in box], float(mask.sum()), segmentation=runs)

    def _annotation(self, label: str, box: list[float], area: float, **more: Any) -> dict[str, Any]:
        return {
            "category_id": self.labels.index(label) + 1 if self.ids is None else self.ids.category(label),
            "bbox": [round(v, 3) for v in box],
            "area": round(area, 3),
            "iscrowd": int("segmentation" in more),
            **more,
        }

    def close(self) -> None:
        categories: Sequence[Any] = [{"id": n, "name": label} for n, label in enumerate(self.labels, 1)]
        if self.ids is not None:
            categories = self.ids.categories
        document = {"images": self.images, "annotations": self.annotations, "categories": categories}
        _write_json(self.path, document)
        if self.ids is not None:
            kept = ("image_id", "category_id", "bbox", "segmentation", "score")
            # A mask of a label has no score of its own, and an evaluation needs one.
            rows = [{"score": 1.0} | {key: one[key] for key in kept if key in one} for one in self.annotations]
            _write_json(self.results, rows)


def _write_json(path: Path, document: Any) -> None:
    text = json_text(document) + "\n"
    atomic_write(path, lambda handle: handle.write(text.encode()))


def run_lengths(mask: Any) -> list[int]:
    """Lengths of runs of a mask (H, W) read column by column, the first of zeros."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(np.r_[False, flat, False]))
    lengths = np.diff(np.r_[0, edges, len(flat)])
    return [int(n) for n in lengths[: len(lengths) - (lengths[-1] == 0)]]


def added_by(form: FormatName, task: str, *, pictures: bool, surfaces: bool = False) -> list[str]:
    """What the files of an answer add to its name."""
    own: Mapping[FormatName, Sequence[str]] = {
        "auto": ("_mask.png", "_mask.nii.gz") if task == "segment" else (".json",),
        "nifti": ("_mask.nii.gz",),
        "dicom-seg": ("_seg.dcm",),
        "dicom-sr": ("_sr.dcm",),
    }
    drawn = [".png"] if pictures else []
    return [*own.get(form, ()), *drawn, *(["_surfaces.glb", "_surfaces.png"] if surfaces else [])]


# What holds the answers of a whole run together, by --format.
SUMMARIES: Mapping[FormatName, Sequence[str]] = {
    "csv": ("predictions.csv",),
    "coco": ("predictions.json", "results.json"),
}


def open_output(
    form: FormatName,
    folder: Path,
    *,
    deidentify: Deidentifier | None = None,
    model: str = "",
    ids: CocoIds | None = None,
) -> Output:
    """The output of a `--format`; `model`: the name under which failures are noted. Raises UserError for one that there
    is not."""
    made: Mapping[str, Callable[[], Output]] = {
        "auto": AutoOutput,
        "nifti": NiftiOutput,
        "png": PngOutput,
        "csv": lambda: CsvOutput(folder, model=model),
        "coco": lambda: CocoOutput(folder, ids=ids),
        "dicom-seg": lambda: DicomOutput("dicom-seg", deidentify=deidentify),
        "dicom-sr": lambda: DicomOutput("dicom-sr", deidentify=deidentify),
    }
    return made[form]()
