"""DICOM files, data sets and series folders as an Image.

A single file without a place in space is a picture (C, H, W). A series is a volume (1, I, J, K) with i along
the columns, j along the rows, k along the slices, in the direction of the slice normal; its affine leads to
RAS, while DICOM's own patient axes are LPS (PS3.3 C.7.6.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError
from medzoo.io.check import check_affine, check_extent, check_values, check_volume
from medzoo.types import Array, Image

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A slice may lie this far from its even place (mm, or this share of the step), which rounding explains.
PLACE_MM, PLACE_SHARE = 0.02, 0.02
SPATIAL = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing")


def read_dicom(path: Path, *, volume: bool = False) -> Image:
    """One DICOM file as a picture (C, H, W), or as a volume of one slice. Raises UserError naming it."""
    return from_dataset(_read(path), where=str(path), volume=volume)


def from_dataset(dataset: Any, *, where: str = "DICOM dataset", volume: bool = False) -> Image:
    """One pydicom dataset as a picture (C, H, W); with `volume` as one slice (1, I, J, 1). Raises UserError.

    Grey values are rescaled (modality LUT); MONOCHROME1 is turned over, so that more is always brighter.
    """
    with _one_line(where):
        return _from_dataset(dataset, where, volume=volume)


def _from_dataset(dataset: Any, where: str, *, volume: bool) -> Image:
    pixels = _pixels(dataset, where)
    check_values(pixels, where)
    meta = {"format": "dicom", "modality": str(dataset.get("Modality", "")), "files": (where,)}
    if not volume:
        return Image(pixels, None, where, meta)
    if pixels.shape[0] != 1:
        raise UserError("is a colour picture, a volume is needed", where)
    step = _normal(dataset, where) * float(dataset.get("SliceThickness") or 1.0)
    array = pixels[0].T[None, :, :, None]
    affine = _affine(dataset, step, where)
    check_affine(affine, where)
    check_volume(array, where)
    return Image(array, affine, where, meta)


def read_series(folder: Path) -> Image:
    """The one DICOM series in `folder` as a volume (1, I, J, K); a folder of one file as that file.

    Raises UserError if there is none or more than one series, if slices are missing, twice there, unevenly
    spaced or turned against each other, or if the gantry was tilted.
    """
    where = str(folder)
    with _one_line(where):
        return _read_series(folder, where)


def _read_series(folder: Path, where: str) -> Image:
    heads = _headers(folder)
    if not heads:
        raise UserError("is a folder without DICOM images", where, "name the files themselves")
    _single_series(heads, where)
    if len(heads) == 1:
        return read_dicom(heads[0][0])
    paths, first, step = _ordered(heads, where)
    check_extent((int(first.Columns), int(first.Rows), len(paths)), where)
    array: Array | None = None
    for k, path in enumerate(paths):
        pixels = _pixels(_read(path), str(path))
        if pixels.shape[0] != 1:
            raise UserError("is a colour picture among the slices of a series", str(path))
        if array is None:
            array = np.empty((1, *pixels.shape[:0:-1], len(paths)), pixels.dtype)
        array[0, :, :, k] = pixels[0].T
    assert array is not None
    affine = _affine(first, step, where)
    check_affine(affine, where)
    check_values(array, where)
    check_volume(array, where)
    meta = {"format": "dicom", "modality": str(first.get("Modality", "")), "files": tuple(map(str, paths))}
    return Image(array, affine, where, meta)


@contextmanager
def _one_line(where: str) -> Iterator[None]:
    """pydicom finds an element damaged only when it is used: each such fault as a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of a kind of its own for every fault
        raise UserError(f"is damaged: {error}", where) from error


def _read(path: Path, **options: Any) -> Any:
    import pydicom

    try:
        return pydicom.dcmread(path, force=True, **options)
    except Exception as error:  # pydicom raises a kind of its own for every fault of a file
        raise UserError(f"is no DICOM file, or is damaged: {error}", str(path)) from error


def _pixels(dataset: Any, where: str) -> Array:
    """(1 or 3, H, W) values of one frame, after the modality LUT."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    if "Rows" not in dataset or "Columns" not in dataset or "PixelData" not in dataset:
        raise UserError("is no DICOM image (it has no pixel data)", where)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise UserError(f"holds {frames} frames", where, "save the wanted frame as a file of its own")
    check_extent((int(dataset.Rows), int(dataset.Columns)), where)
    if "file_meta" not in dataset.__dict__ or "TransferSyntaxUID" not in dataset.file_meta:
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import ImplicitVRLittleEndian

        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    try:
        stored = dataset.pixel_array
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            stored = apply_color_lut(stored, dataset)
        if stored.ndim == 3:
            return np.ascontiguousarray(stored.transpose(2, 0, 1))
        values = apply_modality_lut(stored, dataset)
    except Exception as error:  # a missing decoder, a short buffer, a wrong tag: each its own kind
        hint = "for compressed files: pip install 'medzoo[dicom]'"
        raise UserError(f"its pixels cannot be decoded: {error}", where, hint) from error
    if values is not stored:
        values = values.astype(np.float32)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = _turned_over(values, dataset)
    return np.ascontiguousarray(values)[None]


def _turned_over(values: Array, dataset: Any) -> Array:
    """Lowest and highest possible value exchanged, and all between, in the dtype that came in."""
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    ends = np.array([-(1 << bits - 1), (1 << bits - 1) - 1] if signed else [0, (1 << bits) - 1], float)
    if values.dtype.kind == "f":
        ends = ends * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
    turned: Array = (ends.sum() - values.astype(float)).astype(values.dtype)
    return turned


def _headers(folder: Path) -> list[tuple[Path, Any]]:
    """Every DICOM image below `folder` with its header, by name; other files are passed over."""
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        with path.open("rb") as handle:
            marked = handle.read(132)[128:] == b"DICM"
        if marked or path.suffix.lower() in (".dcm", ".dicom", ".ima"):
            head = _read(path, stop_before_pixels=True)
            if "Rows" in head and "Columns" in head:
                found.append((path, head))
    return found


def _single_series(heads: Sequence[tuple[Path, Any]], where: str) -> None:
    series: dict[str, list[Any]] = {}
    for _, head in heads:
        series.setdefault(str(head.get("SeriesInstanceUID", "")), []).append(head)
    if len(series) > 1:
        listed = "; ".join(
            f"{h[0].get('Modality', '?')} {h[0].get('SeriesDescription', '') or 'series ' + uid[-12:]!s}: "
            f"{len(h)} images"
            for uid, h in sorted(series.items())
        )
        raise UserError(f"holds {len(series)} series: {listed}", where, "put one series in a folder of its own")


def _ordered(heads: Sequence[tuple[Path, Any]], where: str) -> tuple[list[Path], Any, Array]:
    """Paths by position along the normal, the first slice's header, the step (3,) to the next in LPS mm."""
    first = heads[0][1]
    normal = _normal(first, where)
    for path, head in heads:
        _require(head, str(path))
        same = np.allclose(head.ImageOrientationPatient, first.ImageOrientationPatient, atol=1e-3)
        if not same:
            raise UserError("its slices are turned against each other", where, f"{path.name} is the first")
        if (head.Rows, head.Columns) != (first.Rows, first.Columns) or not np.allclose(
            np.asarray(head.PixelSpacing, float), np.asarray(first.PixelSpacing, float), rtol=1e-3
        ):
            raise UserError("its slices differ in size or pixel spacing", where, f"{path.name} is the first")
    places = np.array([np.asarray(head.ImagePositionPatient, float) for _, head in heads])
    order = np.argsort(places @ normal, kind="stable")
    places = places[order]
    paths = [heads[n][0] for n in order]
    along = places @ normal
    gaps = np.diff(along)
    step = float(np.median(gaps))
    room = max(PLACE_MM, PLACE_SHARE * step)
    for k, gap in enumerate(gaps):
        pair = f"between {paths[k].name} and {paths[k + 1].name}"
        if gap < 1e-3:
            raise UserError(f"two slices lie at the same place: {paths[k].name}, {paths[k + 1].name}", where)
        if abs(gap - step) > room:
            missing = round(gap / step) - 1
            if missing >= 1 and abs(gap - (missing + 1) * step) <= room * (missing + 1):
                raise UserError(f"{missing} of its slices are missing {pair}", where)
            raise UserError(f"its slices are unevenly spaced: {gap:.3f} mm {pair}, else {step:.3f} mm", where)
    drift = places - places[0]
    across = np.linalg.norm(drift - np.outer(drift @ normal, normal), axis=1)
    if across[-1] > max(PLACE_MM, PLACE_SHARE * step) * len(gaps):
        angle = np.degrees(np.arctan2(across[-1], along[-1] - along[0]))
        raise UserError(f"its gantry was tilted by {angle:.1f} degrees", where, "resample it on a straight grid")
    return paths, heads[order[0]][1], (places[-1] - places[0]) / len(gaps)


def _require(dataset: Any, where: str) -> None:
    absent = [name for name in SPATIAL if not dataset.get(name)]
    if absent:
        raise UserError(f"does not say where it lies ({', '.join(absent)} absent)", where)


def _normal(dataset: Any, where: str) -> Array:
    """(3,) LPS direction of rows cross columns."""
    _require(dataset, where)
    turn = np.asarray(dataset.ImageOrientationPatient, float)
    return np.cross(turn[:3], turn[3:])


def _affine(dataset: Any, step: Array, where: str) -> Array:
    """(4, 4) from (column, row, slice) to RAS mm, `dataset` being the first slice (PS3.3 C.7.6.2.1)."""
    _require(dataset, where)
    turn = np.asarray(dataset.ImageOrientationPatient, float)
    between_rows, between_columns = (float(s) for s in dataset.PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = turn[:3] * between_columns
    affine[:3, 1] = turn[3:] * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = np.asarray(dataset.ImagePositionPatient, float)
    return np.asarray(LPS_TO_RAS @ affine, float)
