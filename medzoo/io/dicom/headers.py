"""Find the DICOM images of a folder or archive, read their headers once, and select one series."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from medzoo.errors import UserError
from medzoo.io.archive import check_directory
from medzoo.io.dicom.declared_size import refuse_padding
from medzoo.io.dicom.deidentify import redact_message
from medzoo.io.limits import limits
from medzoo.types import Array

SUFFIXES = (".dcm", ".dicom", ".ima")
_PIXELS = 0x7FE00010
_DEFLATED = b"1.2.840.10008.1.2.1.99"
PIXEL_DATA = b"\xe0\x7f\x10\x00"
_START = 132  # bytes that tell DICOM from others
_NAMED = 5  # files that an error names
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
        return _short(self.name)

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
        """True to stop reading: endless padding would else be read element by element."""
        last[:] = [*last, tag] if tag in last else [tag]
        if len(last) == 3:  # pydicom looks at a first one twice
            raise UserError("is damaged: an element repeats endlessly", where)
        return stop_before_pixels and bool(tag == _PIXELS)

    try:
        with _opened(source) as handle:
            _check_deflated(handle, where)
            refuse_padding(handle, where)
            dataset = read_partial(handle, stop_when=stop, force=True)
            dataset.filename = None if dataset.filename is None else str(dataset.filename)
            return dataset
    except UserError:
        raise
    except Exception as error:  # pydicom raises a kind of its own for every fault of a file
        raise UserError(f"is not a DICOM file, or is damaged: {redact_message(error)}", where) from error


@dataclass(frozen=True, eq=False)
class Found:
    """The images of a folder or archive, and the files that should be images of it and cannot be read."""

    images: list[Header]
    unread: list[Unread]

    def series(self, where: str, *, wanted: str | None = None) -> list[Header]:
        """The images of the one series, or of the one called `wanted`; see `one_series`.

        Raises UserError that names every file of the series, or of an unknown one, that cannot be read: a volume with
        a slice left out is another volume.
        """
        images = one_series(self.images, where, wanted=wanted) if self.images else []
        own = {str(one.head.get("SeriesInstanceUID", "")) for one in images}
        unread = [one for one in self.unread if one.series is None or not images or one.series in own]
        if not unread:
            return images
        listed = "; ".join(f"{one.short} {one.why}" for one in unread[:_NAMED])
        more = f"; and {len(unread) - _NAMED} more" if len(unread) > _NAMED else ""
        count = f"{len(unread)} of its files cannot be read"
        raise UserError(f"{count}: {listed}{more}", where, "replace them by intact files, or remove them")


@dataclass(frozen=True, eq=False)
class Unread:
    """A file that should be an image and is none, `why`, and its series as far as its header goes."""

    name: str
    why: str
    series: str | None = None

    @property
    def short(self) -> str:
        """The name without its folders."""
        return _short(self.name)


@dataclass(frozen=True, eq=False)
class _File:
    """A file in a folder or an entry of an archive, not yet read: `start` are its first bytes."""

    name: str
    start: bytes
    size: int
    read: Callable[[], bytes] | None

    @property
    def kind(self) -> tuple[str, str]:
        """Its folder and its suffix, which files of one series share; a number behind a dot is no suffix."""
        suffix = Path(self.name).suffix.lower()
        return str(Path(self.name).parent), "" if suffix[1:].isdecimal() else suffix


def in_folder(folder: Path, *, objects: bool = False) -> Found:
    """Every DICOM image below `folder`, by name; files of other kinds are passed over.

    `objects`: those without pixels, such as an RTSTRUCT, are taken too.
    """
    files = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")):
        try:
            with path.open("rb") as handle:
                files.append(_File(str(path), handle.read(_START), path.stat().st_size, None))
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", str(path)) from error
    return _found(files, objects=objects)


def in_archive(path: Path) -> Found:
    """Every DICOM image in a zip archive. Raises UserError for one that is damaged, locked or a bomb."""
    where = str(path)
    check_directory(path)
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
            files = []
            for entry in sorted(entries, key=lambda e: e.filename):
                if entry.flag_bits & 1:
                    raise UserError("is password protected", where, "unpack it first")
                if _short(entry.filename).startswith(".") or entry.filename.startswith("__MACOSX/"):
                    continue
                with archive.open(entry) as handle:
                    start = handle.read(_START)
                read = partial(_entry, archive, entry, where)
                files.append(_File(f"{where}!{entry.filename}", start, entry.file_size, read))
            return _found(files)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise UserError(f"is a truncated, damaged or unreadable archive: {error}", where) from error


def _entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, where: str) -> bytes:
    with archive.open(entry) as handle:
        data = handle.read(entry.file_size)
    if len(data) != entry.file_size:
        raise UserError(f"its entry {entry.filename} differs in length from what the archive states", where)
    return data


def _found(files: Sequence[_File], *, objects: bool = False) -> Found:
    # Parsing is Python's own work: threads would only wait for each other.
    kinds = {file.kind for file in files if _has_mark(file.start)}
    found = Found([], [])
    for file in files:
        expected = file.kind[1] in SUFFIXES or file.kind in kinds
        if not (expected or _has_mark(file.start)):
            continue
        one = _image(file, objects=objects)
        if isinstance(one, Header):
            found.images.append(one)
        elif one is not None:
            found.unread.append(one)
    return found


def _image(file: _File, *, objects: bool) -> Header | Unread | None:
    """Read a file's header; returns the reason if it cannot be read, None for an object that is not an image (with
    `objects` its header)."""
    if not file.size:
        return Unread(file.name, "is empty (0 bytes)")
    marked = _has_mark(file.start)
    if not marked and not _begins_unmarked(file.start):
        # Beside images without a suffix may lie a text without one.
        return None if file.kind[1] == "" and _is_text(file.start) else Unread(file.name, "holds no DICOM")
    try:
        if file.read is None:
            with Path(file.name).open("rb") as handle:
                header = _header(file.name, handle, None)
        else:
            data = file.read()
            header = _header(file.name, io.BytesIO(data), data)
    except UserError as error:
        return Unread(file.name, error.faults[0].message)
    series = str(header.head.get("SeriesInstanceUID") or "") or None
    if "Rows" in header.head and "Columns" in header.head:
        return header
    if _is_image(header):
        return Unread(file.name, "is truncated: its header ends before its pixels", series)
    return header if objects else None


def _is_image(header: Header) -> bool:
    """True if an object without rows is an image by its class (PS3.4 B.5), or ends before its class."""
    import pydicom  # noqa: F401  (the whole first: threads import at once)
    from pydicom.uid import UID

    meta = header.head.file_meta if hasattr(header.head, "file_meta") else {}
    kind = str(header.head.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")
    return not kind or "Image Storage" in UID(kind).name or " - For " in UID(kind).name


def _has_mark(start: bytes) -> bool:
    return start[128:132] == b"DICM"


def _begins_unmarked(start: bytes) -> bool:
    """True if a file without DICOM's preamble begins with an element of the first groups."""
    return start[:2] in (b"\2\0", b"\x08\0") and start[3:4] == b"\0"


def _is_text(start: bytes) -> bool:
    return b"\0" not in start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start)


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
            message = f"{some} called {wanted!r}: {_listed(series)}"
            raise UserError(message, where, "name one as FOLDER#NAME", private=_descriptions(headers))
        return series[named[0]]
    if len(series) > 1:
        message = f"holds {len(series)} series: {_listed(series)}"
        raise UserError(message, where, "name one of them as FOLDER#NAME", private=_descriptions(headers))
    return list(headers)


def _listed(series: dict[str, list[Header]]) -> str:
    lines = []
    for uid, members in sorted(series.items()):
        head = members[0].head
        number = f"#{head.SeriesNumber} " if head.get("SeriesNumber") is not None else ""
        name = head.get("SeriesDescription", "") or f"series {uid[-12:]}"
        lines.append(f"{number}{head.get('Modality', '?')} {name}: {len(members)} images")
    return "; ".join(lines)


def _descriptions(headers: Sequence[Header]) -> list[str]:
    """Series descriptions quoted in an error; they may name the patient."""
    return sorted({str(one.head.get("SeriesDescription", "")).strip() for one in headers})


def _is_called(uid: str, head: Any, wanted: str) -> bool:
    names = (str(head.get("SeriesDescription", "")).strip().lower(), str(head.get("SeriesNumber", "")))
    return wanted.strip().lower() in names or (len(wanted) >= 4 and uid.endswith(wanted))


def _short(name: str) -> str:
    return name.rsplit("!", 1)[-1].rsplit("/", 1)[-1]


def _header(name: str, handle: BinaryIO, data: bytes | None) -> Header:
    head = read_dataset(handle, name, stop_before_pixels=True)
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
    """Open a path for the block; pass an open file through."""

    def __init__(self, source: Path | BinaryIO) -> None:
        self.source = source

    def __enter__(self) -> BinaryIO:
        self.handle = self.source.open("rb") if isinstance(self.source, Path) else self.source
        return self.handle

    def __exit__(self, *_: object) -> None:
        if isinstance(self.source, Path):
            self.handle.close()


def walk(dataset: Any) -> Iterator[Any]:
    """Iterate over the elements of a dataset and of its sequences."""
    for element in dataset:
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from walk(item)
