"""Files from outside are read in processes of their own: what they may not do, and what becomes of one that fails."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.io.limits import SERVER
from medzoo.preprocess.extras import Mass
from medzoo.runtime.backends.batching import ClosedError, DeadlineError
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.runtime.protocol.tensors import InferenceRequest
from medzoo.serve import ipc
from medzoo.serve.decoder_pool import DecoderPool, supported
from medzoo.serve.ipc import IpcError, receive, send
from medzoo.serve.server import Server
from medzoo.types import GridTransform, Image

pytestmark = pytest.mark.skipif(not supported(), reason="this system passes no sockets between processes")


def soon(seconds: float = 60) -> float:
    return time.monotonic() + seconds


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(20)
        other.settimeout(20)
        yield one, other


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        equal = np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
        return type(other) is np.ndarray and one.dtype == other.dtype and equal
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(same(getattr(one, k), getattr(other, k)) for k in vars(one))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


ROWS = np.arange(12, dtype=np.int16).reshape(3, 4)
VALUES = [
    None,
    [True, 3, -2.5, "é\ud800", b"\x00\xff", (1, (2, "x")), frozenset({"a"}), {}, []],
    {0: [(1.5, np.eye(3))], "name": "CT", (1, 2): None},
    np.zeros((0, 4), np.float32),
    np.asfortranarray(np.arange(60, dtype=">u2").reshape(3, 4, 5)),
    np.arange(60.0).reshape(3, 4, 5)[:, ::-2],
    np.array(True),
    np.random.default_rng(0).integers(0, 255, (3, 400, 500), np.uint8),
    np.array([(1, 2.5)], [("a", "<i2"), ("b", "<f4")]),
    Prepared(
        "a.png",
        Image(ROWS[None], np.diag([2.0, 2, 2, 1]), "a.png", {"format": "x", "spacing": (1.0, 2.0)}),
        Image(
            np.asfortranarray(np.random.default_rng(1).uniform(0, 1, (1, 80, 90, 7))),
            None,
            None,
        ),
        GridTransform((3, 4), (6, 8), np.eye(3)),
        None,
        {"mass": Mass({"area": 3.0}, "found", ROWS > 3, 2.0, ("note",), (0.5, 0.5))},
    ),
    InferenceRequest({"image": ROWS}, ("labels",), "id", {"threshold": 0.5}, frozenset({"labels"}), True),
]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_a_value_arrives_as_it_was_sent(pair: tuple[socket.socket, socket.socket], value: Any) -> None:
    sender = threading.Thread(target=send, args=(pair[0], value))
    sender.start()
    got = receive(pair[1])
    sender.join()
    assert same(value, got)
    if isinstance(value, np.ndarray) and value.size and not value.dtype.names:
        got[...] = 1  # the receiver's own


@pytest.mark.parametrize("value", [object(), {"a": Path("x")}, np.array([object()]), [lambda: 1]])
def test_what_is_not_listed_cannot_be_sent(pair: tuple[socket.socket, socket.socket], value: Any) -> None:
    with pytest.raises(IpcError):
        send(pair[0], value)


def array_tree(**changes: Any) -> dict[str, Any]:
    return {"array": 0, "dtype": "<f4", "shape": [2], "columns": False, **changes}


@pytest.mark.parametrize(
    "tree",
    [
        array_tree(shape=[3]),
        array_tree(array=4),
        array_tree(array=-4),
        array_tree(shape=[-1, -2]),
        array_tree(dtype="|O"),
        array_tree(dtype=[["a", "|O"]]),
        array_tree(shape=[2**62, 2**62]),
        {"class": ["pathlib", "Path"], "fields": {}},
        {"class": ["medzoo.types", "Image"], "fields": {"nothing": 1}},
        {"class": ["medzoo.types", "np"], "fields": {}},
        {"class": ["medzoo.runtime.backends.onnx", "OnnxBackend"], "fields": {"source": "x"}},
        {"class": ["medzoo.io.read", "Path"], "fields": {}},
        {"class": ["medzoo.io.none", "Image"], "fields": {}},
        {"pickle": "x"},
        {"dict": [[[], 1]]},
    ],
)
def test_a_forged_message_makes_no_object(pair: tuple[socket.socket, socket.socket], tree: Any) -> None:
    import json

    raw = json.dumps(tree).encode()
    pair[0].sendall(ipc._HEAD.pack(len(raw), 8, False) + raw + bytes(8))
    with pytest.raises(IpcError):
        receive(pair[1])


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="there are no memory files here")
def test_memory_that_its_sender_could_still_change_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    raw = b'{"array":0,"dtype":"<f4","shape":[2],"columns":false}'
    memory = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.write(memory, bytes(8))
    socket.send_fds(pair[0], [ipc._HEAD.pack(len(raw), 8, True)], [memory])
    os.close(memory)
    pair[0].sendall(raw)
    with pytest.raises(IpcError, match="not sealed"):
        receive(pair[1])


def test_lengths_are_bounded_before_memory_is_set_aside(pair: tuple[socket.socket, socket.socket]) -> None:
    for head in ((2**32 - 1, 0, False), (2, 2**32 - 1, False)):
        pair[0].sendall(ipc._HEAD.pack(*head))
        with pytest.raises(IpcError, match="too long"):
            receive(pair[1])


REACHES = [
    "open('/etc/passwd')",
    "open(outside)",
    "import os; os.open(outside, os.O_RDONLY)",
    "open(inside + '/../' + 'outside')",
    "open(inside + '/new', 'w')",
    "import os; os.remove(inside + '/a')",
    "import socket; socket.socket()",
    "import socket; socket.getaddrinfo('localhost', 80)",
    "import subprocess; subprocess.run(['true'])",
    "import os; os.system('true')",
    "import os; os.execv('/bin/true', ['true'])",
    "import shutil; shutil.copy(inside + '/a', inside + '/b')",
]


@pytest.mark.parametrize("reach", REACHES)
def test_code_that_reads_a_file_reaches_no_further(reach: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("mine")
    (tmp_path / "outside").write_text("other")
    code = f"""
from medzoo.serve.sandbox import restrict_access
inside, outside = {str(tmp_path / "in")!r}, {str(tmp_path / "outside")!r}
restrict_access([inside])
assert open(inside + "/a").read() == "mine"
import json.tool
try:
    {reach.replace("; ", chr(10) + "    ")}
except PermissionError:
    print("refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "refused\n", done.stderr


@pytest.fixture
def decoders(tmp_path: Path) -> Iterator[Callable[..., DecoderPool]]:
    started: list[DecoderPool] = []

    def start(**options: Any) -> DecoderPool:
        chosen = {"count": 1, "memory": 512 << 20, "seconds": 30.0, "limits": SERVER, "folder": tmp_path, **options}
        started.append(DecoderPool(**chosen))
        return started[-1]

    yield start
    for one in started:
        one.close()


def write_png(path: Path, side: int, value: int = 200) -> Path:
    array = np.zeros((side, side), np.uint8)
    array[1:3, 2:5] = value
    Pillow.fromarray(array).save(path)
    return path


def write_bomb(path: Path, width: int, height: int) -> Path:
    """A grey PNG of one value: some kilobytes for megabytes."""

    def chunk(kind: bytes, raw: bytes) -> bytes:
        return struct.pack(">I", len(raw)) + kind + raw + struct.pack(">I", zlib.crc32(kind + raw))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * width) * height, 9)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


@pytest.fixture
def predictor(toy_graphs: dict[str, Path]) -> Predictor:
    return Predictor(OnnxBackend(toy_graphs["segment"], device="cpu", threads=1))


def test_a_decoder_prepares_as_the_predictor_does(
    decoders: Callable[..., DecoderPool], predictor: Predictor, tmp_path: Path
) -> None:
    pool = decoders()
    nifti = tmp_path / "t1.nii.gz"
    import nibabel as nib

    nib.save(nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.diag([1, 2, 3, 1])), nifti)
    from pydicom.data import get_testdata_file

    dicom = tmp_path / "scan.dcm"
    dicom.write_bytes(Path(str(get_testdata_file("CT_small.dcm"))).read_bytes())
    for path in (write_png(tmp_path / "a.png", 9), write_png(tmp_path / "large.png", 700), nifti, dicom):
        assert same(predictor.prepare(path), pool.prepare(predictor, path, deadline=soon()))
    with pytest.raises(UserError) as here:
        predictor.prepare(tmp_path / "none.png")
    with pytest.raises(UserError) as there:
        pool.prepare(predictor, tmp_path / "none.png", deadline=soon())
    assert here.value.faults == there.value.faults


def test_declared_sizes_are_checked_against_the_server_s_limits(
    decoders: Callable[..., DecoderPool], predictor: Predictor, tmp_path: Path
) -> None:
    pool = decoders()
    for width, height in ((8192, 8192), (100_000, 400), (2**31 - 1, 1)):
        bomb = write_bomb(tmp_path / "bomb.png", 100, 100)
        raw = bytearray(bomb.read_bytes())
        raw[16:33] = struct.pack(">II", width, height) + raw[24:29] + bytes(4)
        raw[29:33] = struct.pack(">I", zlib.crc32(raw[12:29]))
        bomb.write_bytes(raw)
        with pytest.raises(UserError, match=r"bomb\.png"):
            pool.prepare(predictor, bomb, deadline=soon())
    assert pool.prepare(predictor, write_png(tmp_path / "a.png", 9), deadline=soon()).source.shape == (9, 9)


def test_a_file_that_takes_more_memory_than_it_may_is_refused_alone(
    decoders: Callable[..., DecoderPool], predictor: Predictor, tmp_path: Path
) -> None:
    pool = decoders(memory=48 << 20)
    good = write_png(tmp_path / "a.png", 9)
    for width, height in ((4000, 4000), (30_000, 500), (2000, 8000)):
        with pytest.raises(UserError, match=r"(48 MB of memory|larger than medzoo reads|the decoder failed)"):
            pool.prepare(predictor, write_bomb(tmp_path / "bomb.png", width, height), deadline=soon())
        assert pool.prepare(predictor, good, deadline=soon()).source.array.max() == 200


def processes(pool: DecoderPool) -> list[int]:
    assert pool._source is not None
    children = Path(f"/proc/{pool._source.pid}/task/{pool._source.pid}/children").read_text().split()
    return [int(number) for number in children]


def wait_for(condition: Callable[[], Any]) -> Any:
    end = soon(30)
    while not (found := condition()):
        assert time.monotonic() < end, "did not come about"
        time.sleep(0.01)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGXCPU, signal.SIGBUS])
def test_a_decoder_that_dies_costs_its_own_file(
    decoders: Callable[..., DecoderPool], predictor: Predictor, tmp_path: Path, number: signal.Signals
) -> None:
    pool = decoders()
    good = write_png(tmp_path / "a.png", 9)
    pool.prepare(predictor, good, deadline=soon())
    (first,) = processes(pool)
    os.kill(first, signal.SIGSTOP)  # as if it took for ever
    killer = threading.Timer(0.3, os.kill, (first, number))
    killer.start()
    threading.Timer(0.4, os.kill, (first, signal.SIGCONT)).start() if number != signal.SIGKILL else None
    with pytest.raises(UserError, match=r"a\.png: the decoder failed on this file"):
        pool.prepare(predictor, good, deadline=soon())
    assert pool.prepare(predictor, good, deadline=soon()).source.shape == (9, 9)
    (second,) = processes(pool)
    assert second != first
    # One that dies idle costs nothing.
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: Path(f"/proc/{second}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    assert pool.prepare(predictor, good, deadline=soon()).source.shape == (9, 9)
    # Nor does the process that forks them.
    (third,) = processes(pool)
    assert pool._source is not None
    pool._source.kill()
    wait_for(lambda: not Path(f"/proc/{third}").exists())
    assert pool.prepare(predictor, good, deadline=soon()).source.shape == (9, 9)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_abandoned_work_is_stopped(decoders: Callable[..., DecoderPool], predictor: Predictor, tmp_path: Path) -> None:
    pool = decoders()
    good = write_png(tmp_path / "a.png", 9)
    for error, options in (
        (DeadlineError, {"deadline": 0.3}),
        (ClosedError, {"deadline": 60.0, "stopped": lambda: True}),
    ):
        pool.prepare(predictor, good, deadline=soon())
        (busy,) = processes(pool)
        os.kill(busy, signal.SIGSTOP)
        with pytest.raises(error):
            pool.prepare(predictor, good, **{**options, "deadline": soon(options["deadline"])})
        wait_for(lambda busy=busy: busy not in processes(pool))
    pool.prepare(predictor, good, deadline=soon())
    (kept,) = processes(pool)
    os.kill(kept, signal.SIGSTOP)
    ended: list[type[BaseException]] = []

    def ask() -> None:
        try:
            pool.prepare(predictor, good, deadline=soon(2))
        except DeadlineError as error:
            ended.append(type(error))

    waiting = threading.Thread(target=ask)
    waiting.start()
    wait_for(lambda: not pool._idle)
    with pytest.raises(DeadlineError):  # nobody is free
        pool.prepare(predictor, good, deadline=soon(0.2))
    waiting.join()
    assert ended == [DeadlineError]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_decoders_end_with_their_server_and_have_no_network(
    decoders: Callable[..., DecoderPool], predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_TOKEN", "secret")
    pool = decoders()
    pool.prepare(predictor, write_png(tmp_path / "a.png", 9), deadline=soon())
    (child,) = processes(pool)
    assert b"secret" not in Path(f"/proc/{child}/environ").read_bytes()
    mine, its = (str(Path(f"/proc/{number}/ns/net").readlink()) for number in ("self", child))
    if subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0:
        assert mine != its
    open_ = [str(entry.readlink()) for entry in Path(f"/proc/{child}/fd").iterdir()]
    assert sum(name.startswith("socket:") for name in open_) == 1
    pool.close()
    wait_for(lambda: not Path(f"/proc/{child}").exists())


def test_an_upload_that_is_too_much_for_its_decoder_fails_alone(
    toy_graphs: dict[str, Path], start: Callable[..., Server], tmp_path: Path
) -> None:
    server = start([OnnxBackend(toy_graphs["segment"], device="cpu", threads=1)], decoder_memory=48 << 20)
    bomb = write_bomb(tmp_path / "bomb.png", 4000, 4000).read_bytes()
    good = write_png(tmp_path / "a.png", 9).read_bytes()
    files = [("file", ("a.png", good)), ("file", ("bomb.png", bomb)), ("file", ("b.png", good))]
    answer = httpx.post(f"http://127.0.0.1:{server.http_port}/predict/toy-segment", files=files, timeout=60)
    assert answer.status_code == 200
    first, refused, last = answer.json()
    assert first["areas_px"] == last["areas_px"] == {"bright": 6}
    assert refused["error"].startswith("bomb.png: is larger than")
    alone = httpx.post(f"http://127.0.0.1:{server.http_port}/predict/toy-segment?name=b.png", content=bomb, timeout=60)
    assert alone.status_code == 400
    assert not [entry for entry in server.repository.spool.path.iterdir() if entry.name != "lock"]
