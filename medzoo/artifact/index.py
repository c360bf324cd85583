"""The index of released models: size and SHA-256 of every file of every model, pinned by its own digest.

zoo/index.json lies beside the models. The package holds the SHA-256 of exactly one index (index.sha256 beside
this module), so whatever brings the files - a web server, a stick, a colleague - need not be trusted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from medzoo.artifact.folder import ModelFolder, sha256
from medzoo.artifact.manifest import DIGEST, MANIFEST, is_plain_name
from medzoo.errors import UserError

INDEX = "index.json"
PIN = Path(__file__).with_name("index.sha256")
_HEX = re.compile(r"[0-9a-f]{64}")
_MODEL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# A model folder is at most a few files of at most 25 MB; an index that says more is damaged or hostile.
_LARGEST = 200_000_000


@dataclass(frozen=True)
class IndexFile:
    """One file of a released model."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Index:
    """Released models by name, each the tuple of its files."""

    models: Mapping[str, tuple[IndexFile, ...]]
    digest: str = ""
    """SHA-256 of the index.json itself."""

    @classmethod
    def read(cls, raw: bytes, *, pin: str, where: str) -> Index:
        """From the bytes of an index.json. Raises UserError unless their SHA-256 is `pin`."""
        found = hashlib.sha256(raw).hexdigest()
        if found != pin:
            raise UserError(
                f"has the SHA-256 {found[:16]}..., but this version of medzoo expects {pin[:16]}...",
                where=where,
                hint="fetch from the zoo of this release, or give --index-sha256 of the one you trust",
            )
        try:
            document = json.loads(raw)
            models = {
                name: tuple(IndexFile(str(file), int(facts["bytes"]), str(facts["sha256"])) for file, facts in files)
                for name, files in ((name, one["files"].items()) for name, one in document["models"].items())
            }
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise UserError(f"is not an index of models: {error}", where=where) from None
        for name, files in models.items():
            for one in files:
                sound = is_plain_name(one.name) and _HEX.fullmatch(one.sha256) and 0 <= one.bytes <= _LARGEST
                if not _MODEL.fullmatch(name) or not sound:
                    raise UserError(f"lists {name}/{one.name}, which cannot be a file of a model", where=where)
        return cls(models, found)


def pinned_digest() -> str:
    """The SHA-256 of the index that this package was released with."""
    return PIN.read_text(encoding="ascii").split()[0]


@cache
def released_index() -> Index:
    """The index of the models that this package was released with: of a checkout's zoo/, or the wheel's copy.

    Raises UserError where it is not there or is another one, as nothing then says what a released model is.
    """
    package = Path(__file__).resolve().parents[1]
    for place in (package.parent / "zoo" / INDEX, package / "zoo" / INDEX):
        if place.is_file():
            return Index.read(place.read_bytes(), pin=pinned_digest(), where=str(place))
    raise UserError(
        "the index of released models is missing from the installation", where=str(package), hint="install it again"
    )


def is_released(folder: Path, *, named: str) -> bool:
    """Return True if `folder` is the released model `named` by its manifest, which vouches for the
    other files."""
    listed = {one.name: one for one in released_index().models[named]}[MANIFEST]
    return (folder / MANIFEST).is_file() and sha256(folder / MANIFEST) == listed.sha256


def build_index(zoo: Path) -> bytes:
    """index.json of a folder of model folders. Raises UserError for a folder that its manifest does not vouch for."""
    models: dict[str, Any] = {}
    for manifest in sorted(zoo.glob(f"*/{MANIFEST}")):
        folder = ModelFolder.open(manifest.parent)
        names = sorted([*folder.manifest["files"], MANIFEST, DIGEST])
        files = {n: {"bytes": (folder.path / n).stat().st_size, "sha256": sha256(folder.path / n)} for n in names}
        models[manifest.parent.name] = {
            "bytes": sum(int(facts["bytes"]) for facts in files.values()),
            "files": files,
        }
    return (json.dumps({"format": 1, "models": models}, indent=1) + "\n").encode()


def pin_line(raw: bytes) -> bytes:
    """index.sha256 for an index."""
    return f"{hashlib.sha256(raw).hexdigest()}  {INDEX}\n".encode()
