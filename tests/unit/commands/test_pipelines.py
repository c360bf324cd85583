"""A pipeline names its members by digest: another version, or none, is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo import load
from medzoo.artifact import ModelFolder, write_folder
from medzoo.artifact.pipeline import member_digest, member_folder, pipeline_members
from medzoo.commands.verify import verify
from medzoo.errors import UserError


def member(path: Path, *, graph: bytes = b"a graph", card: bytes = b"a card") -> ModelFolder:
    return write_folder(path / "finder-x", {"README.md": card, "model.onnx": graph}, {"name": "finder-x"})


@pytest.fixture
def pipeline(tmp_path: Path) -> ModelFolder:
    digest = member_digest(member(tmp_path))
    manifest = {"name": "both", "members": {"find": {"name": "finder-x", "digest": digest}}}
    return write_folder(tmp_path / "both", {"recipe.yaml": b"medzoo: 1\n"}, manifest)


def test_members_beside_the_pipeline_are_found(pipeline: ModelFolder) -> None:
    assert {role: folder.name for role, folder in pipeline_members(pipeline).items()} == {"find": "finder-x"}


def test_another_version_of_a_member_is_refused(pipeline: ModelFolder, tmp_path: Path) -> None:
    member(tmp_path, graph=b"another graph")
    with pytest.raises(UserError, match=r"'finder-x' at .* is not the version that the pipeline names"):
        load(pipeline.path)


def test_a_member_whose_card_alone_was_renewed_is_the_same_version(pipeline: ModelFolder, tmp_path: Path) -> None:
    member(tmp_path, card=b"a card with the speed of another machine")
    assert set(pipeline_members(pipeline)) == {"find"}


def test_a_pipeline_is_no_member(pipeline: ModelFolder) -> None:
    with pytest.raises(UserError, match="both: is a pipeline itself"):
        member_digest(pipeline)


def test_a_changed_file_of_a_member_is_refused(pipeline: ModelFolder, tmp_path: Path) -> None:
    (tmp_path / "finder-x" / "README.md").write_bytes(b"b card")
    with pytest.raises(UserError, match=r"README\.md: differs from the digest"):
        load(pipeline.path)


def test_a_missing_member_is_named(pipeline: ModelFolder) -> None:
    with pytest.raises(UserError, match="'other-x' is missing"):
        member_folder("other-x", beside=pipeline.path)


def test_verify_reads_the_pipelines_own_files_first(pipeline: ModelFolder) -> None:
    (pipeline.path / "recipe.yaml").write_bytes(b"medzoo: 2\n")
    with pytest.raises(UserError, match=r"recipe\.yaml: differs"):
        verify(pipeline.path)
