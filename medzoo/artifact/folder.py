"""Read and write model folders: the files, their digests, all or nothing.

Fixed names: recipe.yaml, manifest.json, manifest.sha256, README.md (card), model.onnx, model.safetensors.
manifest.json lists the SHA-256 of every file it vouches for; manifest.sha256 is the digest of its own bytes. A folder
that holds anything else is refused, but for what `IGNORED` names.

A folder is replaced by a journal: the new files are made in .staged-*, brought to the disk, and committed by the rename
of that folder to .new; then they are moved to their places. Whatever ends this - a kill, a loss of power - before the
rename the old folder is there, after it whoever opens the folder moves the rest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.artifact.manifest import DIGEST, MANIFEST, digest_line, is_plain_name, parse_manifest, read_manifest
from medzoo.errors import Fault, UserError
from medzoo.escape import json_text
from medzoo.io.durable import folder_lock, sync_file, sync_folder

# Names, one a line, of files that the manifest lists and this copy does without (the wheel's copies have no weights
# for torch). What is there must still be what the manifest says.
LEFT_OUT = "left-out.txt"
TRAINING = "training"
"""Folder of a training inside its model folder: checkpoints, logs, and the record that `--resume` compares."""
IGNORED = frozenset({LEFT_OUT, ".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that a model folder may hold besides those of its manifest: the list above, and what desktops leave. Files
whose names begin with "._" (macOS) and the folder `TRAINING` are passed over too; nothing of them is ever read."""
STAGED, COMMITTED = ".staged-", ".new"
_SHOWN = 5  # files that are too many, in one error


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
        """Read and check a model folder. Raises UserError that names each file which is missing or differs.

        >>> ModelFolder.open("zoo/breast-mass-svm").manifest["task"]
        'classify'
        """
        path = Path(path)
        if not path.is_dir():
            raise UserError("is not a folder", where=str(path), hint="give a model folder")
        finish_replacing(path)
        with folder_lock(path, shared=True):
            manifest = read_manifest(path)
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
        if name in omitted_files(self.path):
            raise UserError(
                f"this copy of the model has no {name}",
                where=str(self.path),
                hint=f"download it with medzoo fetch {self.name} --from BASE",
            )
        return self.path / name


def check(path: Path, manifest: Mapping[str, Any]) -> list[Fault]:
    """Compare a folder with its manifest: one fault a file, unlisted files included."""
    faults: list[Fault] = []
    absent = omitted_files(path)
    for name, facts in manifest["files"].items():
        file = path / name
        if not is_plain_name(name) or any(one.is_symlink() for one in (file, *file.parents[: name.count("/")])):
            faults.append(Fault(f"the manifest names {name!r}, which is not a plain file inside the folder", str(path)))
        elif name in absent and not file.exists():
            continue
        elif not file.is_file():
            faults.append(Fault("is missing, but the manifest lists it", str(file), "fetch or train the model again"))
        elif file.stat().st_size != facts["bytes"] or sha256(file) != facts["sha256"]:
            faults.append(
                Fault(
                    "differs from the digest in manifest.json: the file was changed or damaged",
                    str(file),
                    "fetch or train the model again",
                )
            )
    return faults + _unlisted_faults(path, manifest["files"])


def unlisted_files(path: Path, listed: Iterable[str]) -> Iterator[str]:
    """Files of a model folder that are not `listed` and not ignored; links always count."""
    names = {MANIFEST, DIGEST, *listed}
    folders = {str(parent) for name in names for parent in Path(name).parents}
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(path / inside) as entries:
            for entry in sorted(entries, key=lambda one: one.name):
                name = f"{inside}/{entry.name}" if inside else entry.name
                if name in names:
                    continue  # looked at file by file
                if entry.is_symlink():
                    yield name
                elif entry.is_dir():
                    own = not inside and (name in (TRAINING, COMMITTED) or name.startswith(STAGED))
                    if name in folders:
                        pending.append(name)
                    elif not own and any(os.scandir(entry.path)):
                        yield f"{name}/"
                elif not entry.is_file() or not (entry.name in IGNORED or entry.name.startswith("._")):
                    yield name


def _unlisted_faults(path: Path, listed: Iterable[str]) -> list[Fault]:
    found = list(unlisted_files(path, listed))
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    if not found:
        return []
    words = f"holds {', '.join(map(repr, found[:_SHOWN]))}{more}, which its manifest does not list"
    return [Fault(words, str(path), "move it elsewhere, as its content is not verified")]


def omitted_files(path: Path) -> frozenset[str]:
    """Files that this copy of a model folder leaves out, as it states itself."""
    listed = path / LEFT_OUT
    if not listed.is_file():
        return frozenset()
    try:
        return frozenset(listed.read_text(encoding="utf-8").split())
    except UnicodeDecodeError as error:
        raise UserError("is not UTF-8", where=str(listed), hint="fetch the model again") from error


def write_folder(path: Path, files: Mapping[str, bytes | Path], manifest: Mapping[str, Any]) -> ModelFolder:
    """Write `files` and the manifest that vouches for them into `path`, durably.

    A reader, at any moment and after any crash, sees the old folder or the new one. Files of the old manifest that are
    not in the new one are removed; a Path among `files` may be the file's own place. Raises UserError, and leaves the
    old folder, where the system refuses or `path` holds files that are no part of a model.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with folder_lock(path):
            _finish(path)
            refuse_foreign_files(path, files)
            for left in path.glob(f"{STAGED}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            stage = Path(tempfile.mkdtemp(prefix=STAGED, dir=path))
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
        parse_manifest(raw, where=str(path / MANIFEST))  # what could not be read again is not written
        (stage / MANIFEST).write_bytes(raw)
        (stage / DIGEST).write_bytes(digest_line(raw))
        _sync_tree(stage)
        with folder_lock(path):
            _finish(path)
            stage.rename(path / COMMITTED)
            sync_folder(path)
            _finish(path)
    except OSError as error:
        raise UserError(
            f"could not be written: {error.strerror or error}",
            where=str(path),
            hint="free space or choose another -o",
        ) from error
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return ModelFolder.open(path)


def refuse_foreign_files(path: Path, files: Iterable[str]) -> None:
    """Raises UserError where `path` holds what is neither part of the model in it nor one of `files`."""
    try:
        before = read_manifest(path)["files"] if (path / MANIFEST).exists() else {}
    except UserError:  # the folder is damaged, which writing it anew repairs
        before = {}
    found = list(unlisted_files(path, [*before, *files]))
    if found:
        raise UserError(
            f"holds {', '.join(map(repr, found[:_SHOWN]))}, which is not part of a model, so no model is written here",
            where=str(path),
            hint="choose another -o, or move it elsewhere",
        )


def finish_replacing(path: Path) -> None:
    """Move to their places what a killed process had committed. Raises UserError where the system refuses."""
    if not (path / COMMITTED).is_dir():
        return
    try:
        with folder_lock(path):
            _finish(path)
    except OSError as error:
        raise UserError(
            f"an interrupted write cannot be completed: {error.strerror or error}",
            where=str(path),
            hint="make the folder writable",
        ) from error


def _finish(path: Path) -> None:
    """Move what is committed to its place, the manifest and its digest last; may be ended and begun again anywhere."""
    new = path / COMMITTED
    if not new.is_dir() or new.is_symlink():
        return
    if (new / MANIFEST).is_file():
        wanted = parse_manifest((new / MANIFEST).read_bytes(), where=str(new / MANIFEST))["files"]
        try:
            before = read_manifest(path)["files"] if (path / MANIFEST).exists() else {}
        except UserError:
            before = {}
        for name in before:
            if name not in wanted and is_plain_name(name):
                (path / name).unlink(missing_ok=True)
                for parent in Path(name).parents:
                    with suppress(OSError):  # others of its files are still there
                        (path / parent).rmdir()
        for name in wanted:
            if (new / name).is_file():
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).replace(path / name)
        (path / LEFT_OUT).unlink(missing_ok=True)  # the new folder does without nothing
        (new / MANIFEST).replace(path / MANIFEST)
    if (new / DIGEST).is_file():
        (new / DIGEST).replace(path / DIGEST)
    sync_folder(path)
    shutil.rmtree(new)


def _sync_tree(folder: Path) -> None:
    for inside, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(inside) / name)
        sync_folder(Path(inside))
