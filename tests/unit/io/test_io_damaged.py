"""Files with bytes changed or cut off: an image of finite values, or one line that names the file."""

from __future__ import annotations

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.io import read_image

REAL = Path(pydicom.__file__).parent / "data" / "test_files"


def whole(suffix: str) -> bytes:
    rng = np.random.default_rng(0)
    if suffix == ".dcm":
        return (REAL / "CT_small.dcm").read_bytes()
    if suffix in (".nii", ".mgh"):
        values = rng.integers(1, 255, (6, 7, 8)).astype(np.float32)
        kind = nib.Nifti1Image if suffix == ".nii" else nib.MGHImage
        return bytes(kind(values, np.diag([1.0, 2, 3, 1])).to_bytes())
    buffer = io.BytesIO()
    Pillow.fromarray(rng.integers(0, 255, (30, 40, 3)).astype(np.uint8)).save(buffer, Pillow.EXTENSION[suffix])
    return buffer.getvalue()


Pillow.init()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".nii", ".mgh", ".dcm", ".png", ".jpg", ".tif", ".bmp"])
def test_no_damage_escapes(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(11)
    original = whole(suffix)
    path = tmp_path / f"a{suffix}"
    refused = 0
    for n in range(60):
        data = bytearray(original)
        reach = min(len(data), (64, 400, 2000, len(data))[n % 4])
        for place in rng.integers(0, reach, rng.integers(1, 6)):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data[: rng.integers(1, len(data))] if n % 7 == 0 else data)
        try:
            words = ""
            assert np.isfinite(read_image(path).array).all()
        except UserError as error:
            words = str(error)
        refused += bool(words)
        assert not words or (str(path) in words and "\n" not in words)
    assert refused > 5
