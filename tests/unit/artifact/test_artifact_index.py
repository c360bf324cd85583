"""The index of the zoo is current, and no byte of any released file can change unnoticed."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from medzoo.artifact import DIGEST, MANIFEST, ModelFolder
from medzoo.artifact.index import INDEX, PIN, Index, build_index, pin_line, pinned_digest
from medzoo.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
MODELS = sorted(path.parent for path in ROOT.glob("zoo/*/manifest.json"))


def test_the_index_is_current_and_pinned() -> None:
    raw = (ROOT / "zoo" / INDEX).read_bytes()
    assert raw == build_index(ROOT / "zoo"), "run: make zoo-index"
    assert pin_line(raw) == PIN.read_bytes(), "run: make zoo-index"
    index = Index.read(raw, pin=pinned_digest(), where="zoo")
    assert set(index.models) == {folder.name for folder in MODELS}


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_flipped_byte_is_refused_by_the_files_name(folder: Path, tmp_path: Path) -> None:
    refuse_flips(folder, tmp_path, turns=0)


@pytest.mark.long
@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_hundred_flipped_bytes_are_refused_by_the_files_name(folder: Path, tmp_path: Path) -> None:
    refuse_flips(folder, tmp_path, turns=100)


def refuse_flips(folder: Path, tmp_path: Path, *, turns: int) -> None:
    """Flip one bit at a time, in each file of a model in turn and in each once at least: every one must be found, and
    its file named."""
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy, copy_function=shutil.copyfile)
    names = [path.relative_to(copy).as_posix() for path in sorted(copy.rglob("*")) if path.is_file()]
    chance = random.Random(folder.name)
    for turn in range(max(turns, len(names))):
        name = names[turn % len(names)]
        path = copy / name
        at, bit = chance.randrange(path.stat().st_size), 1 << chance.randrange(8)
        with path.open("r+b") as file:
            file.seek(at)
            right = file.read(1)
            file.seek(at)
            file.write(bytes([right[0] ^ bit]))
        with pytest.raises(UserError) as caught:
            ModelFolder.open(copy)
        assert name in str(caught.value), f"byte {at} of {name}"
        with path.open("r+b") as file:
            file.seek(at)
            file.write(right)
    assert {MANIFEST, DIGEST} < set(names)
    ModelFolder.open(copy)


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "a/../../x", "a\\..\\x", "C:/x", ".hidden", "a//b", "a/./b", "", "x\n", "a/.git/b"],
)
def test_an_index_that_leaves_the_folder_is_refused(name: str) -> None:
    import hashlib
    import json

    files = {name: {"bytes": 1, "sha256": "0" * 64}}
    raw = json.dumps({"models": {"model": {"files": files}}}).encode()
    with pytest.raises(UserError, match="cannot be a file of a model"):
        Index.read(raw, pin=hashlib.sha256(raw).hexdigest(), where="zoo")


def test_a_model_folder_with_a_link_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(MODELS[0], folder)
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to(MODELS[0] / "model.onnx")
    with pytest.raises(UserError, match=r"model\.onnx"):
        ModelFolder.open(folder)
