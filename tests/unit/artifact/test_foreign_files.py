"""A model folder that holds anything its manifest does not list is refused; so is a manifest that is none."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medzoo.artifact import ModelFolder, write_folder
from medzoo.artifact.manifest import digest_line
from medzoo.errors import UserError

FILES = {"model.onnx": b"graph", "recipe.yaml": b"medzoo: 1\n", "parts/curve.png": b"png"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model", FILES, {"name": "toy"}).path


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        ModelFolder.open(folder)
    words = str(caught.value)
    assert "\n" not in words
    return words


@pytest.mark.parametrize(
    "name",
    ["outside.bin", ".hidden", "weights.data", "parts/more.bin", "model.onnx.data", "manifest.json.bak", "é.txt"],
)
def test_a_file_that_the_manifest_does_not_list(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\0")
    assert f"holds {name!r}, which its manifest does not list" in refused(folder)


def test_a_folder_that_the_manifest_does_not_list(folder: Path) -> None:
    (folder / "more").mkdir()
    assert ModelFolder.open(folder).name == "toy"  # nothing in it
    (folder / "more" / "weights.bin").write_bytes(b"")
    assert "holds 'more/'" in refused(folder)


@pytest.mark.parametrize("name", ["outside.bin", ".DS_Store", "training", "left-out.txt", "parts/._x"])
@pytest.mark.parametrize("to", ["file", "folder", "nothing"])
def test_a_link_whatever_it_is_called(folder: Path, tmp_path: Path, name: str, to: str) -> None:
    (tmp_path / "file").write_bytes(b"model.onnx")
    (tmp_path / "folder").mkdir()
    (folder / name).symlink_to(tmp_path / to)
    assert f"holds {name!r}" in refused(folder)


def test_a_pipe_whatever_it_is_called(folder: Path) -> None:
    os.mkfifo(folder / "Thumbs.db")
    assert "holds 'Thumbs.db'" in refused(folder)


@pytest.mark.parametrize("name", [".DS_Store", "._model.onnx", "Thumbs.db", "desktop.ini", "parts/.DS_Store"])
def test_what_desktops_leave_is_passed_over(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\0")
    assert ModelFolder.open(folder).name == "toy"


def test_what_a_training_keeps_is_passed_over(folder: Path) -> None:
    (folder / "training" / "checkpoints").mkdir(parents=True)
    (folder / "training" / "checkpoints" / "best.ckpt").write_bytes(b"state")
    assert ModelFolder.open(folder).name == "toy"


def test_nothing_is_written_where_something_else_lies(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match=r"holds 'thesis\.tex', which is not part of a model"):
        write_folder(tmp_path, FILES, {"name": "toy"})
    assert [one.name for one in tmp_path.iterdir()] == ["thesis.tex"]


def test_files_of_the_old_manifest_alone_are_removed(folder: Path) -> None:
    write_folder(folder, {"model.onnx": b"new"}, {"name": "toy"})
    assert {one.name for one in folder.iterdir() if one.is_file()} == {"model.onnx", "manifest.json", "manifest.sha256"}


FACTS = {"sha256": "0" * 64, "bytes": 1}
SOUND: dict[str, Any] = {"name": "toy", "files": {"model.onnx": FACTS}}


def without(field: str) -> Callable[[], dict[str, Any]]:
    return lambda: {name: value for name, value in SOUND.items() if name != field}


MALFORMED: dict[str, Any] = {
    "no files": without("files")(),
    "no name": without("name")(),
    "empty files": SOUND | {"files": {}},
    "list of files": SOUND | {"files": ["model.onnx"]},
    "null facts": SOUND | {"files": {"model.onnx": None}},
    "no size": SOUND | {"files": {"model.onnx": {"sha256": "0" * 64}}},
    "short digest": SOUND | {"files": {"model.onnx": FACTS | {"sha256": "0"}}},
    "digest of another kind": SOUND | {"files": {"model.onnx": FACTS | {"sha256": 7}}},
    "negative size": SOUND | {"files": {"model.onnx": FACTS | {"bytes": -1}}},
    "size that is true": SOUND | {"files": {"model.onnx": FACTS | {"bytes": True}}},
    "way out": SOUND | {"files": {"../../etc/passwd": FACTS}},
    "absolute": SOUND | {"files": {"/etc/passwd": FACTS}},
    "backslash": SOUND | {"files": {"..\\x": FACTS}},
    "control character": SOUND | {"files": {"a\x1b[31m": FACTS}},
    "name with a path": SOUND | {"name": "../../x"},
    "name with colours": SOUND | {"name": "\x1b[31mred"},
    "name that is a number": SOUND | {"name": 3},
    "members": SOUND | {"members": {"find": "x"}},
    "metrics": SOUND | {"metrics": []},
    "list": [],
    "null": None,
    "deep": '{"files":' + "[" * 100_000 + "]" * 100_000 + "}",
    "huge number": '{"files":{},"name":' + "9" * 6000 + "}",
    "NaN": '{"name": "toy", "x": NaN}',
    "a key twice": '{"name": "toy", "name": "other"}',
    "nothing": "",
}


@pytest.mark.parametrize("kind", [*MALFORMED, "not UTF-8"])
def test_a_manifest_that_is_none_is_refused_in_one_line(folder: Path, kind: str) -> None:
    document = MALFORMED.get(kind)
    raw = (
        b"\xff\xfe"
        if kind == "not UTF-8"
        else (document if isinstance(document, str) else json.dumps(document)).encode()
    )
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_bytes(digest_line(raw))
    words = refused(folder)
    assert words.startswith(f"{folder / 'manifest.json'}: is not")
    assert words.isprintable()


def test_a_manifest_of_gigabytes_is_not_read(folder: Path) -> None:
    with (folder / "manifest.json").open("r+b") as file:
        file.truncate(1 << 40)
    assert "too large for a manifest" in refused(folder)


def test_a_field_that_a_command_needs_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json: has no 'metrics'"):
        ModelFolder.open(folder).manifest["metrics"]


def test_a_list_of_what_is_left_out_that_is_no_text(folder: Path) -> None:
    (folder / "left-out.txt").write_bytes(b"\xff\xfe")
    assert "left-out.txt: is not UTF-8" in refused(folder)
