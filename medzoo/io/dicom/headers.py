"""The files of a series: found in a folder or an archive, their headers read once, one series chosen."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medzoo.errors import UserError
from medzoo.io.dicom.faults import said
from medzoo.io.limits import limits
from medzoo.types import Array

SUFFIXES = (".dcm", ".dicom", ".ima")
_PIXELS = 0x7FE00010
_DEFLATED = b"1.2.840.10008.1.2.1.99"
PIXEL_DATA = b"\xe0\x7f\x10\x00"
MOST_INFLATED = 1 << 30  # bytes that a deflated file may unpack to
DEFLATE = 1032  # deflate cannot pack more than this many bytes into one


@dataclass(frozen=True, eq=False)
class Header:
    """An image's header without its pixels. `name`: the file, in an archive "FILE.zip!ENTRY"; `data`: the bytes
    of an archive's entry; `offset`: where the plain pixels begin, 0 if the pixel element has no plain head."""

    name: str
    head: Any
    data: bytes | None
    offset: int

    @property
    def short(self) -> str:
        """The name without its folders."""
        return self.name.rsplit("!", 1)[-1].rsplit("/", 1)[-1]

    def dataset(self) -> Any:
        """The whole dataset. Raises UserError."""
        return read_dataset(io.BytesIO(self.data) if self.data is not None else Path(self.name), self.name)

    def values(self, dtype: np.dtype[Any]) -> Array | None:
        """The stored plain pixels (rows, columns); None if the file does not hold as many."""
        shape = int(self.head.Rows), int(self.head.Columns)
        count = shape[0] * shape[1]
        if self.data is not None:
            if len(self.data) < self.offset + count * dtype.itemsize:
                return None
            return np.frombuffer(self.data, dtype, count, self.offset).reshape(shape)
        array: Array = np.fromfile(self.name, dtype, count, offset=self.offset)
        return array.reshape(shape) if array.size == count else None


def read_dataset(source: Path | BinaryIO, where: str, *, stop_before_pixels: bool = False) -> Any:
    """A pydicom dataset from a path or an open file, with `stop_before_pixels` its header. Raises UserError."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.filereader import read_partial

    last: list[Any] = []

    def stop(tag: Any, representation: str | None, length: int) -> bool:
        """Whether to stop here. Padding without end would else be read element by element."""
        last[:] = [*last, tag] if tag in last else [tag]
        if len(last) == 3:  # pydicom looks at a first one twice
            raise UserError("is damaged: an element stands there again and again", where)
        return stop_before_pixels and bool(tag == _PIXELS)

    try:
        with _opened(source) as handle:
            _check_deflated(handle, where)
            dataset = read_partial(handle, stop_when=stop, force=True)
            dataset.filename = None if dataset.filename is None else str(dataset.filename)
            return dataset
    except UserError:
        raise
    except Exception as error:  # pydicom raises a kind of its own for every fault of a file
        raise UserError(f"is no DICOM file, or is damaged: {said(error)}", where) from error


def in_folder(folder: Path) -> list[Header]:
    """Every DICOM image below `folder`, by name; other files are passed over."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    # Parsing is Python's own work: threads would only wait for each other.
    return [header for header in map(_of_file, paths) if header is not None]


def in_archive(path: Path) -> list[Header]:
    """Every DICOM image in a zip archive. Raises UserError for one that is damaged, locked or a bomb."""
    where = str(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [e for e in archive.infolist() if not e.is_dir()]
            if len(entries) > limits().archive_entries:
                raise UserError(
                    f"holds {len(entries)} files, more than medzoo reads",
                    where,
                    f"at most {limits().archive_entries} are read here",
                )
            claimed = sum(e.file_size for e in entries)
            if claimed > min(limits().archive_bytes, DEFLATE * path.stat().st_size):
                raise UserError(f"would unpack to {claimed / 1e9:.1f} GB, more than medzoo reads", where)
            found = []
            for entry in sorted(entries, key=lambda e: e.filename):
                if entry.flag_bits & 1:
                    raise UserError("is locked by a password", where, "unpack it first")
                with archive.open(entry) as handle:
                    if not _marked(handle.read(132), entry.filename):
                        continue
                with archive.open(entry) as handle:
                    data = handle.read(entry.file_size)
                if len(data) != entry.file_size:
                    raise UserError(f"its entry {entry.filename} is not as long as the archive says", where)
                header = _header(f"{where}!{entry.filename}", io.BytesIO(data), data)
                found += [header] if header is not None else []
            return found
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise UserError(f"is a damaged or unreadable archive: {error}", where) from error


def one_series(headers: Sequence[Header], where: str, *, wanted: str | None = None) -> list[Header]:
    """The images of the one series, or of the one that `wanted` names: its description, number, or the end of its
    UID. Raises UserError that lists them where there are several, or none of that name."""
    series: dict[str, list[Header]] = {}
    for header in headers:
        series.setdefault(str(header.head.get("SeriesInstanceUID", "")), []).append(header)
    if wanted is not None:
        named = [uid for uid, members in series.items() if _is_called(uid, members[0].head, wanted)]
        if len(named) != 1:
            some = f"{len(named)} of its series are" if named else "none of its series is"
            raise UserError(f"{some} called {wanted!r}: {_listed(series)}", where, "name one as FOLDER#NAME")
        return series[named[0]]
    if len(series) > 1:
        raise UserError(f"holds {len(series)} series: {_listed(series)}", where, "name one of them as FOLDER#NAME")
    return list(headers)


def _listed(series: dict[str, list[Header]]) -> str:
    lines = []
    for uid, members in sorted(series.items()):
        head = members[0].head
        number = f"#{head.SeriesNumber} " if head.get("SeriesNumber") is not None else ""
        name = head.get("SeriesDescription", "") or f"series {uid[-12:]}"
        lines.append(f"{number}{head.get('Modality', '?')} {name}: {len(members)} images")
    return "; ".join(lines)


def _is_called(uid: str, head: Any, wanted: str) -> bool:
    names = (str(head.get("SeriesDescription", "")).strip().lower(), str(head.get("SeriesNumber", "")))
    return wanted.strip().lower() in names or (len(wanted) >= 4 and uid.endswith(wanted))


def _marked(start: bytes, name: str) -> bool:
    """Whether a file is DICOM: by its mark, or by its suffix if it begins with an element of the first groups."""
    return start[128:132] == b"DICM" or (name.lower().endswith(SUFFIXES) and start[:2] in (b"\2\0", b"\x08\0"))


def _of_file(path: Path) -> Header | None:
    with path.open("rb") as handle:
        if not _marked(handle.read(132), path.name):
            return None
        handle.seek(0)
        return _header(str(path), handle, None)


def _header(name: str, handle: BinaryIO, data: bytes | None) -> Header | None:
    head = read_dataset(handle, name, stop_before_pixels=True)
    if "Rows" not in head or "Columns" not in head:
        return None
    # pydicom stops in front of the pixel element: what lies there is its tag, in explicit VR also the VR.
    start = handle.tell()
    element = handle.read(12)
    offset = 0
    if element[:4] == PIXEL_DATA and element[4:6] in (b"OW", b"OB"):
        offset = start + 12
    elif element[:4] == PIXEL_DATA and getattr(head, "original_encoding", (None, None))[0]:
        offset = start + 8
    return Header(name, head, data, offset)


def _check_deflated(handle: BinaryIO, where: str) -> None:
    """Refuse a deflated dataset that unpacks beyond reason, which pydicom would unpack whole; leaves `handle` at its
    start."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.filereader import _read_file_meta_info, read_preamble
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    try:
        if _DEFLATED not in handle.read(4096):
            return
        handle.seek(0)
        if not read_preamble(handle, force=True):
            return
        if _read_file_meta_info(handle).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
            return
        unpacker, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while piece := handle.read(1 << 20):
            while piece:
                size += len(unpacker.decompress(piece, 1 << 22))
                piece = unpacker.unconsumed_tail
                if size > (most := min(limits().archive_bytes, MOST_INFLATED)):
                    raise UserError(f"would unpack to more than {most >> 20} MB", where)
    finally:
        handle.seek(0)


class _opened:  # noqa: N801 - a context manager
    """A path opened and closed, or an open file as it is."""

    def __init__(self, source: Path | BinaryIO) -> None:
        self.source = source

    def __enter__(self) -> BinaryIO:
        self.handle = self.source.open("rb") if isinstance(self.source, Path) else self.source
        return self.handle

    def __exit__(self, *_: object) -> None:
        if isinstance(self.source, Path):
            self.handle.close()


def walk(dataset: Any) -> Iterator[Any]:
    """Every element of a dataset and of its sequences."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item)
