"""The members of a pipeline folder, which its manifest names by digest."""

from __future__ import annotations

from pathlib import Path

from medzoo.artifact.folder import ModelFolder
from medzoo.artifact.locate import zoo_models
from medzoo.artifact.manifest import MANIFEST
from medzoo.errors import UserError


def member_folder(name: str, *, beside: Path, digest: str | None = None) -> ModelFolder:
    """Find a member model: a folder of that name beside the pipeline, or in the zoo.

    Raises UserError where there is none, or where it is not the version of `digest` (see member_digest).
    """
    places = [beside.parent / name, *([zoo_models()[name]] if name in zoo_models() else [])]
    found = [place for place in places if (place / MANIFEST).is_file()]
    if not found:
        raise UserError(
            f"the pipeline's member model {name!r} is missing", str(beside), f"run medzoo fetch {name}, or train it"
        )
    for place in found:
        folder = ModelFolder.open(place)
        if digest is None or member_digest(folder) == digest:
            return folder
    raise UserError(
        f"the member model {name!r} at {found[0]} is not the version that the pipeline names",
        str(beside),
        "fetch that version, or rebuild the pipeline with: medzoo train",
    )


def member_digest(folder: ModelFolder) -> str:
    """Identify a member's version: the SHA-256 of its graph, which holds weights, preprocessing, labels and threshold.

    A measurement that is recorded later, such as its speed, leaves the version as it is. Raises UserError for a
    pipeline, which cannot be a member.
    """
    if "members" in folder.manifest:
        raise UserError("is a pipeline itself and cannot be a member of another one", where=str(folder.path))
    return str(folder.manifest["files"]["model.onnx"]["sha256"])


def pipeline_members(folder: ModelFolder) -> dict[str, ModelFolder]:
    """The members of a pipeline folder by role, their digests checked. Raises UserError, see member_folder."""
    return {
        role: member_folder(member["name"], beside=folder.path, digest=member["digest"])
        for role, member in folder.manifest["members"].items()
    }
