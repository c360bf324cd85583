"""DICOMweb: a series fetched from a server (QIDO-RS, WADO-RS; PS3.18), and objects stored there (STOW-RS)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.errors import UserError, missing_extra

_URL = re.compile(
    r"(?P<scheme>dicomwebs?)://(?P<base>[^/#?]+(?:/[^#?]*?)?)/studies/(?P<study>[0-9.]+)"
    r"(?:/series/(?P<series>[0-9.]+))?/?(?:#(?P<name>.+))?"
)
_FORM = "dicomweb://HOST:PORT/PATH/studies/UID[/series/UID] or .../studies/UID#SERIES (dicomwebs:// for https)"


@dataclass(frozen=True)
class Place:
    """A study on a server and the selected series, by UID or by name (description or number)."""

    base: str
    study: str
    series: str | None
    name: str | None


def is_dicomweb(text: str) -> bool:
    """True if an input is a dicomweb:// address."""
    return text.startswith(("dicomweb://", "dicomwebs://"))


def parse(url: str) -> Place:
    """Parse a dicomweb:// address. Raises UserError."""
    match = _URL.fullmatch(url)
    if match is None:
        raise UserError("is not the address of a study on a DICOMweb server", url, _FORM)
    scheme = "https" if match["scheme"] == "dicomwebs" else "http"
    return Place(f"{scheme}://{match['base']}", match["study"], match["series"], match["name"])


def fetch(url: str, folder: Path) -> Path:
    """Download the images of the series at `url` to `folder`; returns it.

    Raises UserError where the server does not answer, there is no such study, or it has several series of images
    and none is named; they are then listed.
    """
    place = parse(url)
    client = _client(place)
    try:
        series = place.series or _chosen(client.search_for_series(place.study), place, url)
        instances = client.retrieve_series(place.study, series)
    except UserError:
        raise
    except Exception as error:  # of requests or of the client: each its own kind
        raise UserError(f"the server did not send the series: {_words(error)}", url) from error
    if not instances:
        raise UserError("the series is empty", url)
    for number, dataset in enumerate(instances):
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
    return folder


def store(url: str, paths: Sequence[Path]) -> list[str]:
    """Send DICOM files to the study of `url`; returns their SOP instance UIDs. Raises UserError if the server
    refuses one."""
    import pydicom

    place = parse(url)
    datasets = [pydicom.dcmread(path) for path in paths]
    try:
        answer = _client(place).store_instances(datasets, study_instance_uid=place.study)
    except Exception as error:
        raise UserError(f"the server rejected the objects: {_words(error)}", url) from error
    failed = answer.get("FailedSOPSequence")
    if failed:
        raise UserError(f"the server refused {len(failed)} of {len(datasets)} objects", url)
    return [str(dataset.SOPInstanceUID) for dataset in datasets]


def _client(place: Place) -> Any:
    try:
        from dicomweb_client.api import DICOMwebClient
    except ImportError:
        raise missing_extra("dicomweb-client", "dicom") from None
    client = DICOMwebClient(place.base)
    client.set_http_retry_params(retry=False)  # a user would rather read at once that there is no server
    return client


def _chosen(found: Sequence[Any], place: Place, url: str) -> str:
    """The UID of the series that is named, or of the only one that holds images."""
    rows = []
    for one in found:
        rows.append({key: _value(one, tag) for key, tag in _TAGS.items()})
    rows = [row for row in rows if row["modality"] not in ("SEG", "SR", "PR", "KO", "RTSTRUCT", "RTPLAN", "RTDOSE")]
    if place.name is not None:
        wanted = place.name.strip().lower()
        named = [row for row in rows if wanted in (row["description"].strip().lower(), row["number"])]
    else:
        named = rows
    if len(named) == 1:
        return named[0]["uid"]
    listed = "; ".join(f"#{r['number']} {r['modality']} {r['description'] or r['uid']}" for r in rows) or "none"
    raise UserError(f"{len(named)} image series match; the study has: {listed}", url, _FORM)


_TAGS = {"uid": "0020000E", "modality": "00080060", "description": "0008103E", "number": "00200011"}


def _value(one: Any, tag: str) -> str:
    values = one.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _words(error: Exception) -> str:
    """The server's message in one line."""
    return " ".join(str(error).split())[:300]
