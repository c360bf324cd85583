"""The model folder that every stage exchanges: its files, their digests, and how it is written and refused.

Fixed names: recipe.yaml, manifest.json, manifest.sha256, README.md (card), model.onnx, model.safetensors.
manifest.json lists the SHA-256 of every file it vouches for; manifest.sha256 is the digest of its own bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.errors import Fault, UserError
from medzoo.escape import json_text

MANIFEST = "manifest.json"
DIGEST = "manifest.sha256"
# Names, one a line, of files that the manifest lists and this copy does without (the wheel's copies have no weights
# for torch). What is there must still be what the manifest says.
LEFT_OUT = "left-out.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")


def is_plain(name: str) -> bool:
    """Whether a file's name in a manifest, an index or an archive stays inside the folder, on every system."""
    return bool(_NAME.fullmatch(name)) and ".." not in name


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class ModelFolder:
    """A model folder whose manifest was read; `open` is the only way in and checks every digest."""

    path: Path
    manifest: Mapping[str, Any]

    @classmethod
    def open(cls, path: str | Path) -> ModelFolder:
        """Read and check a model folder. Raises UserError that names each file which is missing or differs."""
        path = Path(path)
        if not path.is_dir():
            raise UserError("is not a folder", where=str(path), hint="give a model folder")
        manifest = _manifest(path)
        faults = check(path, manifest)
        if faults:
            raise UserError.of(faults)
        return cls(path, manifest)

    @property
    def name(self) -> str:
        """The model's name, also on a server."""
        return str(self.manifest["name"])

    def file(self, name: str) -> Path:
        """A file that the manifest vouches for. Raises UserError if it lists none of that name."""
        if name not in self.manifest["files"]:
            raise UserError(
                f"the model has no {name}",
                where=str(self.path),
                hint=f"it has {', '.join(self.manifest['files'])}",
            )
        if name in left_out(self.path):
            raise UserError(
                f"this copy of the model has no {name}",
                where=str(self.path),
                hint=f"medzoo fetch {self.name} --from BASE brings it",
            )
        return self.path / name


def check(path: Path, manifest: Mapping[str, Any]) -> list[Fault]:
    """What differs between a folder and its manifest, a fault a file."""
    faults: list[Fault] = []
    absent = left_out(path)
    for name, facts in manifest["files"].items():
        file = path / name
        if not is_plain(name) or any(one.is_symlink() for one in (file, *file.parents[: name.count("/")])):
            faults.append(Fault(f"the manifest names {name!r}, which is not a plain file inside the folder", str(path)))
        elif name in absent and not file.exists():
            continue
        elif not file.is_file():
            faults.append(Fault("is missing, the manifest lists it", str(file), "fetch or train the model again"))
        elif file.stat().st_size != facts["bytes"] or sha256(file) != facts["sha256"]:
            faults.append(
                Fault(
                    "differs from the digest in manifest.json: the file was changed or damaged",
                    str(file),
                    "fetch or train the model again",
                )
            )
    return faults


def left_out(path: Path) -> frozenset[str]:
    """The files that a model folder says it does without."""
    listed = path / LEFT_OUT
    return frozenset(listed.read_text(encoding="utf-8").split()) if listed.is_file() else frozenset()


def write_folder(path: Path, files: Mapping[str, bytes | Path], manifest: Mapping[str, Any]) -> ModelFolder:
    """Write `files` and the manifest that vouches for them into `path`.

    Everything is staged beside its place and renamed, the manifest's digest last: a reader sees the old
    folder, a folder it refuses, or the new one, never a mixture it accepts. Files of `path` that are
    already there under the same name (a Path equal to its destination) are kept as they are.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".staged-", dir=path))
    except OSError as error:
        raise UserError(f"cannot write here: {error.strerror}", where=str(path), hint="choose another -o") from error
    try:
        facts: dict[str, dict[str, Any]] = {}
        for name, content in files.items():
            staged = stage / name
            staged.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                staged.write_bytes(content)
            else:
                shutil.copyfile(content, staged)
            facts[name] = {"sha256": sha256(staged), "bytes": staged.stat().st_size}
        document = {**manifest, "files": dict(sorted(facts.items()))}
        raw = (json_text(document, indent=1, allow_nan=False) + "\n").encode()
        (stage / MANIFEST).write_bytes(raw)
        (stage / DIGEST).write_bytes(digest_line(raw))
        (path / DIGEST).unlink(missing_ok=True)
        for name in [*files, MANIFEST, DIGEST]:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (stage / name).replace(path / name)
    except OSError as error:
        raise UserError(
            f"could not be written: {error.strerror or error}",
            where=str(path),
            hint="free space or choose another -o",
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return ModelFolder.open(path)


def digest_line(raw: bytes) -> bytes:
    """The one line of manifest.sha256, as `sha256sum -c` reads it."""
    return f"{hashlib.sha256(raw).hexdigest()}  {MANIFEST}\n".encode()


def _manifest(path: Path) -> Mapping[str, Any]:
    for name in (MANIFEST, DIGEST):
        if not (path / name).is_file():
            inside = sorted(one.parent.name for one in path.glob(f"*/{MANIFEST}"))
            raise UserError(
                f"{name} is missing, so this is not a (complete) model folder",
                where=str(path),
                hint=f"it holds model folders: {', '.join(inside)}" if inside else "medzoo train writes one",
            )
        if (path / name).is_symlink():
            raise UserError("is a link, not a file of the folder", where=str(path / name))
    raw = (path / MANIFEST).read_bytes()
    if (path / DIGEST).read_bytes() != digest_line(raw):
        raise UserError(
            f"{MANIFEST} differs from {DIGEST}: one of the two files was changed or damaged",
            where=str(path / MANIFEST),
            hint="fetch or train the model again",
        )
    document: dict[str, Any] = json.loads(raw)
    return document
