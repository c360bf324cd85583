"""An output file is whole or not there, whatever happens while it is written."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from medzoo.errors import UserError
from medzoo.io import atomic_path, atomic_write
from medzoo.io.atomic import remove_unfinished


def test_writes_over_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    assert atomic_write(path, lambda handle: handle.write(b"one")) == path
    atomic_write(path, lambda handle: handle.write(b"two"))
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["a.bin"]  # noqa: PTH208


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt(), ValueError()])
def test_a_failure_half_way_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def fail(handle: object) -> None:
        handle.write(b"half")  # type: ignore[attr-defined]
        raise error

    expected = UserError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        atomic_write(path, fail)
    if expected is UserError:
        assert str(caught.value) == f"{path}: cannot be written: No space left on device (choose another place)"
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_folder_in_the_way_or_a_file_as_parent(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path, fault in ((tmp_path / "folder", tmp_path / "folder"), (tmp_path / "file" / "a", tmp_path / "file")):
        with pytest.raises(UserError) as caught:
            atomic_write(path, lambda handle: handle.write(b"x"))
        assert str(caught.value).startswith(f"{fault}: cannot be written: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def test_mode_link_and_device(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    real, link = tmp_path / "real", tmp_path / "link"
    link.symlink_to(real)
    atomic_write(link, lambda handle: handle.write(b"x"))
    assert link.is_symlink()
    assert real.read_bytes() == b"x"
    assert stat.S_IMODE(real.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    atomic_write(fifo, lambda handle: handle.write(b"y"))
    assert os.read(reader, 9) == b"y"
    os.close(reader)
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_path_form_keeps_the_suffix(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "a.nii.gz") as beside:
        assert beside.parent == tmp_path
        assert beside.name.endswith(".nii.gz")
        assert not (tmp_path / "a.nii.gz").exists()
        beside.write_bytes(b"x")
    assert (tmp_path / "a.nii.gz").read_bytes() == b"x"


def test_what_a_killed_process_left_of_these_files_is_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ("006.json", ".0123456789ab.007.json", ".006.json", ".0123456789ag.006.json")
    for name in (*kept, ".0123456789ab.006.json", ".ba9876543210.006_mask.nii.gz"):
        (tmp_path / name).write_bytes(b"half")
    remove_unfinished([tmp_path / "006", tmp_path / "absent" / "006"])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
