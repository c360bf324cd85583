"""Arrays in archives: bombs and headers that lie are refused before anything is unpacked."""

from __future__ import annotations

import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from medzoo.data.public import medmnist
from medzoo.errors import UserError


def opened(path: Path) -> medmnist.MedMnist:
    return medmnist.ENTRY.open(medmnist.Params(root=path), "classify", ["a", "b"])  # type: ignore[return-value]


def arrays() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    found = {}
    for part in ("train", "val", "test"):
        found[f"{part}_images"] = draw.integers(0, 255, (6, 28, 28), np.uint8)
        found[f"{part}_labels"] = draw.integers(0, 2, (6, 1), np.uint8)
    return found


def header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def packed(path: Path, name: str, data: bytes, *, times: int = 1) -> Path:
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w", force_zip64=True) as entry,
    ):
        entry.write(data)
        for _ in range(times - 1):
            entry.write(bytes(1 << 24))
    return path


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **arrays())
        assert len(opened(tmp_path / "a.npz").items()) == 18


@pytest.mark.parametrize("kind", ["bomb", "long header", "short header", "object", "cut", "no archive", "empty"])
def test_damaged_archives_are_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "d.npz"
    if kind == "bomb":
        packed(path, "train_images.npy", header(((1 << 24) * 20, 1)), times=21)
    elif kind == "long header":
        packed(path, "train_images.npy", header((1 << 40, 1 << 20)) + bytes(100))
    elif kind == "short header":
        packed(path, "train_images.npy", header((5,)) + bytes(100))
    elif kind == "object":
        np.savez(path, train_images=np.array([{}], object))
    else:
        np.savez_compressed(path, **arrays())
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[: len(whole) // 2], "no archive": b"x" * 500, "empty": b""}[kind])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        opened(path).items()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB
    assert [p.name for p in tmp_path.iterdir()] == ["d.npz"]
