"""A copy of a model that does without some files, as the wheel's do, still refuses what differs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medzoo.artifact import ModelFolder, write_folder
from medzoo.commands.verify import verify
from medzoo.errors import UserError


def test_a_file_that_was_left_out_is_missed_only_when_it_is_needed(tmp_path: Path) -> None:
    write_folder(tmp_path, {"model.onnx": b"graph", "model.safetensors": b"weights"}, {"name": "made"})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: is missing"):
        ModelFolder.open(tmp_path)
    (tmp_path / "left-out.txt").write_text("model.safetensors\n")
    folder = ModelFolder.open(tmp_path)
    assert folder.file("model.onnx").read_bytes() == b"graph"
    with pytest.raises(UserError, match="medzoo fetch made"):
        folder.file("model.safetensors")


def test_saying_that_a_file_is_left_out_does_not_let_a_changed_one_pass(tmp_path: Path) -> None:
    write_folder(tmp_path, {"model.onnx": b"graph"}, {"name": "made"})
    (tmp_path / "left-out.txt").write_text("model.onnx\n")
    (tmp_path / "model.onnx").write_bytes(b"grapf")
    with pytest.raises(UserError, match=r"model\.onnx: differs"):
        ModelFolder.open(tmp_path)


def test_a_copy_without_some_files_is_verified_by_what_it_has(tmp_path: Path) -> None:
    zoo = Path(__file__).parents[3] / "zoo" / "breast-lesion-rcnn"
    copy = tmp_path / "breast-lesion-rcnn"
    shutil.copytree(zoo, copy, ignore=shutil.ignore_patterns("*.int8.onnx", "*.safetensors"))
    (copy / "left-out.txt").write_text("model.int8.onnx\nmodel.safetensors\n")
    checks = {check.name: check.words for check in verify(copy)}
    assert "not in this copy: model.int8.onnx, model.safetensors" in checks["digests"]
    assert "parity" in checks
    assert "parity int8" not in checks
