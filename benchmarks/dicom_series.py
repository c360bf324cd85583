"""Reading a DICOM series of 300 slices of 512 x 512 (CT, rescaled), beside SimpleITK: python -m benchmarks.dicom_series

Both read the same files into one array of HU, in turns, files warm in the system's cache; SimpleITK with one thread
and with its own choice. The arrays are compared first.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from benchmarks.record import record, summary
from medzoo.io import read_image

SLICES, SIDE, ROUNDS = 300, 512, 5


def write_series(folder: Path) -> None:
    """300 slices of noise with the header of a usual CT."""
    draw = np.random.default_rng(0)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(SLICES):
        d = Dataset()
        d.file_meta = FileMetaDataset()
        d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, generate_uid()
        d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = study, series, frame
        d.Modality, d.Manufacturer, d.SeriesDescription, d.InstanceNumber = "CT", "made", "thorax", k + 1
        d.PatientName, d.PatientID, d.StudyDate, d.StudyTime = "A^B", "1", "20240101", "120000"
        d.SliceThickness, d.KVP, d.XRayTubeCurrent, d.ConvolutionKernel = 1.0, 120, 200, "B"
        d.Rows = d.Columns = SIDE
        d.PixelSpacing, d.ImageOrientationPatient = [0.7, 0.7], [1, 0, 0, 0, 1, 0]
        d.ImagePositionPatient = [-180, -180, float(k)]
        d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 1
        d.RescaleSlope, d.RescaleIntercept = 1, -1024
        d.PixelData = draw.integers(0, 3000, (SIDE, SIDE), np.int16).tobytes()
        d.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)


def by_simpleitk(folder: Path, threads: int | None) -> np.ndarray:
    """(K, J, I) float32."""
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    if threads:
        reader.SetNumberOfThreads(threads)
    return np.asarray(SimpleITK.GetArrayFromImage(reader.Execute()))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder)
        ways: dict[str, Callable[[], np.ndarray]] = {
            "medzoo": lambda: read_image(folder).array,
            "simpleitk": lambda: by_simpleitk(folder, None),
            "simpleitk, one thread": lambda: by_simpleitk(folder, 1),
        }
        ours, theirs = ways["medzoo"](), ways["simpleitk"]()
        np.testing.assert_array_equal(ours[0].transpose(2, 1, 0), theirs)
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, read in ways.items():
                start = time.perf_counter()
                read()
                seconds[way].append(time.perf_counter() - start)
    fastest = min(statistics.median(v) for way, v in seconds.items() if way != "medzoo")
    record(
        "dicom_series",
        slices=SLICES,
        side=SIDE,
        seconds={way: summary(values) for way, values in seconds.items()},
        times_as_fast_as_simpleitk=round(fastest / statistics.median(seconds["medzoo"]), 2),
    )


if __name__ == "__main__":
    main()
