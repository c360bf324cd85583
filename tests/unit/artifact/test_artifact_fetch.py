"""Fetching: over HTTP, from folders and archives; cut lines, kills, two at once, and sources that lie."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medzoo.artifact import ModelFolder, write_folder
from medzoo.artifact.index import build_index
from medzoo.artifact.locate import find_model
from medzoo.commands.fetch import fetch
from medzoo.errors import UserError

Zoo = tuple[Path, str]


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Zoo:
    """Two models of half a megabyte with their index, and the SHA-256 of that; an empty cache."""
    base = tmp_path / "zoo"
    for seed, name in enumerate(("first", "second")):
        files = {"model.onnx": bytes((i * (seed + 3)) % 251 for i in range(500_000)), "recipe.yaml": b"medzoo: 1\n"}
        write_folder(base / name, files, {"name": name})
    raw = build_index(base)
    (base / "index.json").write_bytes(raw)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("MEDZOO_FETCH_FROM", raising=False)
    return base, hashlib.sha256(raw).hexdigest()


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder with ranges; drops each line after `most` bytes of a body if told so."""

    most = 0
    ranges = True
    slow = 0.0
    seen: list[str]

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        asked = self.headers.get("Range") if self.ranges else None
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.seen.append(f"{path.name}@{start}")
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        body = body[start:]
        limit = self.most or len(body)
        for at in range(0, min(limit, len(body)), 50_000):
            self.wfile.write(body[at : min(at + 50_000, limit)])
            time.sleep(self.slow)
        if limit < len(body):
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(zoo: Zoo) -> Iterator[Callable[..., tuple[str, list[str]]]]:
    """Start a server of the zoo; return its address and the list of requests."""
    started: list[http.server.ThreadingHTTPServer] = []

    def start(**settings: object) -> tuple[str, list[str]]:
        seen: list[str] = []
        kind = type("Own", (Server,), {**settings, "seen": seen})
        server = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), lambda *arguments: kind(*arguments, directory=str(zoo[0]))
        )
        started.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}", seen

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def test_a_model_comes_over_http_and_is_then_found_by_name(
    zoo: Zoo, serve: Callable[..., tuple[str, list[str]]]
) -> None:
    address, seen = serve()
    found = fetch(["first"], base=address, index_sha256=zoo[1])
    assert ModelFolder.open(found["first"]).name == "first"
    assert find_model("first") == found["first"]
    asked = len(seen)
    fetch(["first"], base=address, index_sha256=zoo[1])
    assert seen[asked:] == ["index.json@0"], "what is whole is not brought again"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_line_that_drops_goes_on_where_it_ended(
    zoo: Zoo, serve: Callable[..., tuple[str, list[str]]], ranges: bool
) -> None:
    address, seen = serve(most=120_000, ranges=ranges)
    errors = 0
    for _ in range(6):
        try:
            fetch(["first"], base=address, index_sha256=zoo[1])
            break
        except UserError as error:
            errors += "first/model.onnx: ends after" in str(error)
            with pytest.raises(UserError, match="no such model"):
                find_model("first")
    starts = [int(one.split("@")[1]) for one in seen if one.startswith("model.onnx")]
    if ranges:
        assert errors == 1
        assert starts == [0, 120_000, 240_000, 360_000, 480_000]
    else:
        assert errors == 6, "without ranges a line this short can never bring the file, but says so"


def find_cache() -> Path:
    """The folder in which `first` is put together."""
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "medzoo" / "models" / ".incoming"
    return folder / "first"


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_models_come_from_folders_and_archives(zoo: Zoo, tmp_path: Path, kind: str) -> None:
    base = zoo[0]
    if kind != "folder":
        name = shutil.make_archive(str(tmp_path / "all"), {"zip": "zip", "tar.gz": "gztar"}[kind], zoo[0].parent, "zoo")
        base = Path(name)
    found = fetch([], base=base, index_sha256=zoo[1])
    assert {ModelFolder.open(path).name for path in found.values()} == {"first", "second"}


def test_any_flipped_byte_of_any_file_is_refused_by_name(zoo: Zoo) -> None:
    base, pin = zoo
    for path in sorted(base.rglob("*")):
        if not path.is_file():
            continue
        right = path.read_bytes()
        path.write_bytes(bytes([right[0] ^ 1]) + right[1:])
        with pytest.raises(UserError, match=r"index\.json|was discarded") as caught:
            fetch([], base=base, index_sha256=pin)
        assert path.relative_to(base).as_posix() in str(caught.value)
        path.write_bytes(right)
    assert set(fetch([], base=base, index_sha256=pin)) == {"first", "second"}


def test_a_source_that_never_ends_is_cut_off(zoo: Zoo) -> None:
    with (zoo[0] / "first" / "recipe.yaml").open("ab") as file:
        file.truncate(50_000_000)
    with pytest.raises(UserError, match=r"first/recipe\.yaml: is longer than the 10 bytes"):
        fetch(["first"], base=zoo[0], index_sha256=zoo[1])
    assert sum(path.stat().st_size for path in find_cache().rglob("*") if path.is_file()) < 1_000_000


def hostile(path: Path, zoo: Path, entries: list[tuple[str, str]]) -> Path:
    """An archive of a zoo with further members: (name, kind)."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in zoo.rglob("*.*"):
                archive.write(file, file.relative_to(zoo))
            for name, kind in entries:
                info = zipfile.ZipInfo(name)
                info.external_attr = (0o120777 if kind == "link" else 0o100644) << 16
                archive.writestr(info, "/etc/passwd")
        return path
    with tarfile.open(path, "w") as tar:
        tar.add(zoo, ".")
        for name, kind in entries:
            member = tarfile.TarInfo(name)
            types = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE}
            member.type = types.get(kind, tarfile.REGTYPE)
            member.linkname = "/etc/passwd"
            member.size = 1 if kind == "file" else 0
            tar.addfile(member, io.BytesIO(b"x"))
    return path


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [("../escaped", "file"), ("/tmp/escaped", "file"), ("first/../../escaped", "file"), ("first/model", "link")],
)
def test_an_archive_that_reaches_outside_is_refused_whole(
    zoo: Zoo, tmp_path: Path, suffix: str, name: str, kind: str
) -> None:
    archive = hostile(tmp_path / f"bad.{suffix}", zoo[0], [(name, kind)])
    with pytest.raises(UserError, match="nothing was taken from it") as caught:
        fetch(["first"], base=archive, index_sha256=zoo[1])
    assert name in str(caught.value)
    assert not (tmp_path / "cache").exists()
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("kind", ["hard", "device"])
def test_hard_links_and_devices_in_a_tar_are_refused(zoo: Zoo, tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match="nothing was taken from it"):
        fetch(["first"], base=hostile(tmp_path / "bad.tar", zoo[0], [("first/x", kind)]), index_sha256=zoo[1])


def test_a_bomb_in_an_archive_writes_no_more_than_the_index_says(zoo: Zoo, tmp_path: Path) -> None:
    (zoo[0] / "first" / "recipe.yaml").write_bytes(bytes(40_000_000))
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in zoo[0].rglob("*.*"):
            archive.write(file, file.relative_to(zoo[0]))
    assert path.stat().st_size < 2_000_000
    with pytest.raises(UserError, match=r"recipe\.yaml: is longer than the 10 bytes"):
        fetch(["first"], base=path, index_sha256=zoo[1])
    assert sum(one.stat().st_size for one in (tmp_path / "cache").rglob("*") if one.is_file()) < 1_000_000


def command(zoo: Zoo, base: str) -> list[str]:
    return [sys.executable, "-m", "medzoo", "fetch", "first", "--from", base, "--index-sha256", zoo[1]]


def test_two_processes_at_once_leave_one_whole_model(zoo: Zoo, serve: Callable[..., tuple[str, list[str]]]) -> None:
    address, seen = serve(slow=0.02)
    both = [subprocess.Popen(command(zoo, address), stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    ModelFolder.open(find_model("first"))
    assert seen.count("model.onnx@0") == 1, "the second waited, and found the work done"


def test_after_a_kill_the_next_fetch_goes_on(zoo: Zoo, serve: Callable[..., tuple[str, list[str]]]) -> None:
    address, seen = serve(slow=0.2)
    one = subprocess.Popen(command(zoo, address), stderr=subprocess.DEVNULL)
    part = find_cache() / "model.onnx.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 50_000):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    one.send_signal(signal.SIGKILL)
    one.wait()
    had = part.stat().st_size
    assert 0 < had < 500_000
    with pytest.raises(UserError, match="no such model"):
        find_model("first")
    fast, seen = serve()
    fetch(["first"], base=fast, index_sha256=zoo[1])
    assert f"model.onnx@{had}" in seen
    ModelFolder.open(find_model("first"))


def test_a_model_that_was_damaged_on_this_machine_is_brought_again(zoo: Zoo) -> None:
    path = fetch(["first"], base=zoo[0], index_sha256=zoo[1])["first"]
    (path / "model.onnx").write_bytes(b"other")
    fetch(["first"], base=zoo[0], index_sha256=zoo[1])
    ModelFolder.open(path)


def test_faults_of_the_user_are_named(zoo: Zoo, tmp_path: Path) -> None:
    base, pin = zoo
    for models, options, words in (
        (["frist"], {"base": base, "index_sha256": pin}, "did you mean 'first'"),
        (["first"], {"index_sha256": pin}, "MEDZOO_FETCH_FROM"),
        (["first"], {"base": tmp_path / "nothing", "index_sha256": pin}, "is not a source of models"),
        (["first"], {"base": base}, "but this version of medzoo expects"),
        (["first"], {"base": "http://127.0.0.1:9", "index_sha256": pin}, "the connection failed"),
    ):
        with pytest.raises(UserError, match=words):
            fetch(models, **options)  # type: ignore[arg-type]


def test_an_index_with_the_right_digest_but_of_another_shape_is_refused(zoo: Zoo) -> None:
    raw = json.dumps({"models": ["first"]}).encode()
    (zoo[0] / "index.json").write_bytes(raw)
    with pytest.raises(UserError, match="is not an index of models"):
        fetch(["first"], base=zoo[0], index_sha256=hashlib.sha256(raw).hexdigest())
