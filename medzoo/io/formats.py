"""The table of image formats that medzoo reads, by suffix and by magic bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

FormatName = Literal["nifti", "mgh", "nrrd", "metaimage", "dicom", "archive", "picture"]


@dataclass(frozen=True)
class Format:
    """A format: its suffixes, and (offset, bytes) marks, one of which its files bear."""

    name: FormatName
    suffixes: tuple[str, ...]
    marks: tuple[tuple[int, bytes], ...]


FORMATS = (
    Format(
        "nifti",
        (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img"),
        ((344, b"n+1\0"), (4, b"n+2\0"), (344, b"ni1\0"), (4, b"ni2\0")),
    ),
    Format("mgh", (".mgh.gz", ".mgz", ".mgh"), ()),
    Format("nrrd", (".nrrd", ".nhdr"), ((0, b"NRRD"),)),
    Format("metaimage", (".mha", ".mhd"), ((0, b"ObjectType = Image"),)),
    Format("dicom", (".dcm", ".dicom", ".ima"), ((128, b"DICM"),)),
    Format("archive", (".zip",), ((0, b"PK\3\4"), (0, b"PK\5\6"), (0, b"PK\7\x08"))),
    Format(
        "picture",
        (".png", ".jpeg", ".jpg", ".tiff", ".tif", ".bmp"),
        ((0, b"\x89PNG"), (0, b"\xff\xd8\xff"), (0, b"II*\0"), (0, b"MM\0*"), (0, b"BM")),
    ),
)
_ARCHIVE = next(f for f in FORMATS if f.name == "archive")
_FOREIGN = (
    ("a tar archive", 257, b"ustar"),
    ("a 7z archive", 0, b"7z\xbc\xaf\x27\x1c"),
    ("a rar archive", 0, b"Rar!\x1a\x07"),
    ("an xz file", 0, b"\xfd7zXZ\0"),
    ("a zstd file", 0, b"\x28\xb5\x2f\xfd"),
    ("a bzip2 file", 0, b"BZh91AY&SY"),
)
SUFFIXES = tuple(suffix for f in FORMATS for suffix in f.suffixes)


def suffix(path: str | PurePath) -> str:
    """The suffix of `path` that medzoo knows (".nii.gz" as one), in lower case; else its last one, or ""."""
    name = PurePath(path).name.lower()
    return next((s for s in SUFFIXES if name.endswith(s)), PurePath(name).suffix)


def stem(path: str | PurePath) -> str:
    """The file name of `path` without its suffix (".nii.gz" counts as one)."""
    name = PurePath(path).name
    return name[: len(name) - len(suffix(path))] or name


def is_image_file(path: PurePath) -> bool:
    """True if a file in a folder is an image by its suffix; of a NIfTI pair only the header is."""
    return suffix(path) in SUFFIXES and not suffix(path).startswith(".img")


def format_of(path: str | PurePath, head: bytes = b"") -> FormatName | None:
    """The format by suffix, else by `head`, the file's first bytes (unpacked if gzip); None if it is none.

    A zip archive is known by its bytes whatever its suffix: no other format that medzoo reads begins like one.
    """
    if any(head.startswith(mark) for _, mark in _ARCHIVE.marks):
        return "archive"
    known = suffix(path)
    for f in FORMATS:
        if known in f.suffixes:
            return f.name
    for f in FORMATS:
        if any(head[at : at + len(mark)] == mark for at, mark in f.marks):
            return f.name
    return None


def foreign_archive(head: bytes) -> str | None:
    """The name of a kind of archive that medzoo does not read, by a file's first bytes; None if it is none."""
    return next((name for name, at, mark in _FOREIGN if head[at : at + len(mark)] == mark), None)
