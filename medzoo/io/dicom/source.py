"""Headers of the DICOM files that an image was read from, for derived objects; with or without the patient."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

from medzoo.errors import UserError
from medzoo.io.deidentify import Deidentifier
from medzoo.io.dicom.charset import as_utf8
from medzoo.io.dicom.deidentify import EMPTY, deidentified
from medzoo.io.dicom.functional_groups import at_root
from medzoo.io.dicom.headers import read_dataset
from medzoo.types import Image


def source_headers(image: Image, *, deidentify: Deidentifier | None = None) -> list[Any]:
    """The header of every file of a DICOM image in the order of its slices, pixels left out, text in UTF-8.

    `deidentify`: of each header only what is allowed, with the UIDs of that run. Raises UserError for an image that
    does not come from DICOM files, and for text in a character set that cannot be read.
    """
    where = image.source or "image"
    if image.meta.get("format") != "dicom":
        raise UserError("was not read from DICOM, so there is no study to add to", where, "choose another --format")
    heads = [at_root(_head(str(name))) for name in image.meta["files"]]
    for head in heads:
        if not head.get("StudyInstanceUID") or not head.get("SOPInstanceUID") or not head.get("SOPClassUID"):
            raise UserError("its header lacks the UIDs that a derived object refers to", where)
    if deidentify is not None:
        return [deidentified(head, deidentify.uid, where) for head in heads]
    as_utf8(heads[0], where)  # what an object says of patient and study is the first one's
    for head in heads:
        for key in EMPTY:  # present but empty where they are missing (type 2)
            if key not in head:
                setattr(head, key, "")
    return heads


def _head(name: str) -> Any:
    path, _, entry = name.partition("!")
    if not entry or Path(name).exists():
        return read_dataset(Path(name), name, stop_before_pixels=True)
    while not Path(path).is_file() and entry:  # a folder may have a "!" in its name
        more, _, entry = entry.partition("!")
        path = f"{path}!{more}"
    with zipfile.ZipFile(path) as archive, archive.open(entry) as handle:
        return read_dataset(io.BytesIO(handle.read()), name, stop_before_pixels=True)
