"""The cache: what is kept is what was made, for these bytes and this key alone, with many workers at once."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from medzoo.io import cache
from medzoo.io.cache import cached, cached_result


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))


def counted(calls: list[int], value: float) -> np.ndarray:
    calls.append(1)
    return np.full((3, 4), value, np.float32)


def test_made_once_for_the_same_bytes(tmp_path: Path) -> None:
    calls: list[int] = []
    first, copy = tmp_path / "a.bin", tmp_path / "b.bin"
    first.write_bytes(b"pixels")
    copy.write_bytes(b"pixels")
    for path in (first, first, copy):
        found = cached(path, "decode", lambda: counted(calls, 2))
        np.testing.assert_array_equal(found, np.full((3, 4), 2, np.float32))
        assert not found.flags.writeable
    assert len(calls) == 1


def test_other_bytes_or_another_key_are_made_anew(tmp_path: Path) -> None:
    calls: list[int] = []
    path = tmp_path / "a.bin"
    path.write_bytes(b"pixels")
    cached(path, "decode", lambda: counted(calls, 2))
    assert cached(path, "decode, resized", lambda: counted(calls, 3))[0, 0] == 3
    path.write_bytes(b"others")
    assert cached(path, "decode", lambda: counted(calls, 4))[0, 0] == 4
    assert len(calls) == 3


def test_what_comes_from_many_files_is_kept_under_a_key_that_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    for key, value in (("a b", 2), ("a b", 3), ("a c", 4)):
        cached_result(key, lambda value=value: counted(calls, value))  # type: ignore[misc]
    assert cached_result("a b", lambda: counted(calls, 5))[0, 0] == 2
    assert len(calls) == 2
    monkeypatch.setenv("MEDZOO_CACHE", "")
    assert cached_result("a b", lambda: counted(calls, 5))[0, 0] == 5


def test_a_damaged_entry_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"pixels")
    cached(path, "k", lambda: np.arange(100.0))
    (entry,) = (tmp_path / "cache").glob("*/*.npy")
    entry.write_bytes(entry.read_bytes()[:200])
    np.testing.assert_array_equal(cached(path, "k", lambda: np.arange(100.0)), np.arange(100.0))
    assert entry.stat().st_size > 800
    assert entry.stat().st_mode & 0o077 == 0


def test_nothing_is_kept_of_what_fails_or_where_nothing_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"pixels")
    with pytest.raises(ZeroDivisionError):
        cached(path, "k", lambda: np.array([1 // 0]))
    assert not list((tmp_path / "cache").glob("*/*"))
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    for named in ("", str(blocked)):
        monkeypatch.setenv("MEDZOO_CACHE", named)
        assert cached(path, "k", lambda: np.ones(2)).sum() == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "file"]


def test_what_was_used_longest_ago_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_CACHE_GB", "0.00002")  # two entries of 8 kB and their headers fit
    path = tmp_path / "a.bin"
    path.write_bytes(b"pixels")
    for n in range(4):
        monkeypatch.setattr(cache, "_due", 0)
        cached(path, f"k{n}", lambda: np.zeros(1000))
        for entry in (tmp_path / "cache").glob("*/*.npy"):
            os.utime(entry, ns=(entry.stat().st_mtime_ns - 10**9,) * 2)
    assert len(list((tmp_path / "cache").glob("*/*.npy"))) == 2
    calls: list[int] = []
    cached(path, "k3", lambda: counted(calls, 1))
    assert not calls


def work(argument: tuple[str, int]) -> float:
    path, n = argument
    return float(cached(path, f"k{n % 3}", lambda: np.full(20_000, n % 3, float)).mean())


def test_many_workers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"pixels")
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        found = list(pool.map(work, [(str(path), n) for n in range(60)]))
    assert found == [n % 3 for n in range(60)]
    names = [p.name for p in (tmp_path / "cache").glob("*/*")]
    assert len(names) == 3
    assert not any(name.startswith(".") for name in names)


@pytest.mark.parametrize("place", ["header", "first value", "middle", "last value", "digest", "end"])
def test_a_flipped_byte_is_found_and_the_entry_made_anew(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path))
    array = np.arange(1000, dtype=np.int16)
    assert np.array_equal(cache.cached_result("key", lambda: array), array)
    (entry,) = tmp_path.glob("*/*.npy")
    raw = bytearray(entry.read_bytes())
    at = {"header": 30, "first value": 128, "middle": 1000, "last value": 2127, "digest": 2130, "end": -1}[place]
    raw[at] ^= 4
    entry.write_bytes(bytes(raw))
    monkeypatch.setattr(cache, "_intact", set())  # as another process
    assert np.array_equal(cache.cached_result("key", lambda: array), array)
    assert "is damaged and is computed again" in caplog.text
    caplog.clear()
    monkeypatch.setattr(cache, "_intact", set())
    assert np.array_equal(cache.cached_result("key", lambda: array + 1), array)  # from the disk, sound again
    assert caplog.text == ""


def test_an_entry_that_was_cut_or_has_more_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path))
    for change in (lambda raw: raw[:-30], lambda raw: raw + b"x", lambda raw: raw[:100], lambda raw: b""):
        cache.cached_result("key", lambda: np.ones(50))
        (entry,) = tmp_path.glob("*/*.npy")
        entry.write_bytes(change(entry.read_bytes()))
        monkeypatch.setattr(cache, "_intact", set())
        assert np.array_equal(cache.cached_result("key", lambda: np.full(50, 2.0)), np.full(50, 2.0))
        entry.unlink()
