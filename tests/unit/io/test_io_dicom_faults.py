"""Errors name attributes and say nothing of what stands in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.dicom.deidentify import redact_message
from tests.unit.io.test_io_dicom import slices


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("Unable to convert '29.06.1951' to 'DA' object", "Unable to convert '...' to 'DA' object"),
        ("'Dataset' object has no attribute 'Rows'", "'...' object has no attribute 'Rows'"),
        ('could not convert string to float: "Doe^Jane"', "could not convert string to float: '...'"),
        ("no quotes", "no quotes"),
    ],
)
def test_only_names_of_attributes_stay(words: str, kept: str) -> None:
    assert redact_message(ValueError(words)) == kept


def test_a_broken_header_is_not_quoted(tmp_path: Path) -> None:
    dataset = slices()[0]
    dataset.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    raw = (tmp_path / "a.dcm").read_bytes()
    at = raw.index(b"\x28\x00\x30\x00DS")  # Pixel Spacing
    length = int.from_bytes(raw[at + 6 : at + 8], "little")
    (tmp_path / "a.dcm").write_bytes(raw[: at + 8] + b"Doe\\Jane".ljust(length)[:length] + raw[at + 8 + length :])
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "a.dcm", kind="volume")
    assert "Doe" not in str(caught.value)
    assert str(tmp_path / "a.dcm") in str(caught.value)
