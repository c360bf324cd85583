from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from medzoo.artifact import ModelFolder, write_folder
from medzoo.errors import UserError

FILES = {"model.onnx": b"graph" * 1000, "recipe.yaml": b"medzoo: 1\n", "README.md": b"# card\n"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "model", FILES, {"name": "toy"})
    return tmp_path / "model"


def test_what_was_written_opens_and_leaves_nothing_beside(folder: Path) -> None:
    opened = ModelFolder.open(folder)
    assert opened.name == "toy"
    assert opened.file("model.onnx").read_bytes() == FILES["model.onnx"]
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json", "manifest.sha256"}


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("where", [0, -1])
def test_a_changed_byte_is_refused_by_the_files_name(folder: Path, name: str, where: int) -> None:
    raw = bytearray((folder / name).read_bytes())
    place = where if name != "manifest.sha256" else 3
    raw[place] ^= 1
    (folder / name).write_bytes(bytes(raw))
    with pytest.raises(UserError) as caught:
        ModelFolder.open(folder)
    assert (name if name != "manifest.sha256" else "manifest.json") in str(caught.value)


@pytest.mark.parametrize("name", [*FILES, "manifest.json", "manifest.sha256"])
def test_a_missing_file_is_refused_by_name(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        ModelFolder.open(folder)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_a_manifest_cannot_name_files_outside_its_folder(folder: Path, name: str) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": "0" * 64, "bytes": 1}
    raw = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(raw)
    (folder / "manifest.sha256").write_text(f"{hashlib.sha256(raw).hexdigest()}  manifest.json\n")
    with pytest.raises(UserError, match="not a plain file inside the folder"):
        ModelFolder.open(folder)


def test_a_link_in_the_place_of_a_file_is_refused(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(FILES["model.onnx"])
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(elsewhere)
    with pytest.raises(UserError, match=r"model\.onnx"):
        ModelFolder.open(folder)


def test_a_disk_that_fills_up_leaves_the_old_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device"):
        write_folder(folder, {"model.onnx": b"new"}, {"name": "toy"})
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert ModelFolder.open(folder).name == "toy"


def test_a_folder_that_is_a_file_is_a_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="taken"):
        write_folder(tmp_path / "taken", FILES, {"name": "toy"})
