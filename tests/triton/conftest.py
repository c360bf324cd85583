"""A real Triton on loopback: the server in the package nvidia-pytriton, which pip brings, else the tests are skipped.

That Triton has the Python backend alone. `onnxruntime_backend.py` is a Python-based backend under the name of Triton's
ONNX Runtime backend, so that an exported repository is served as it stands.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "nvidia-pytriton==0.7.0"  # Triton 2.51
# Its Python backend was built before NumPy 2, whose arrays come out of it empty.
NUMPY = "numpy==1.26.4"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Triton:
    """The addresses of a running server, host:port."""

    http: str
    grpc: str


@pytest.fixture(scope="session")
def start_triton(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], object]:
    """A function from a model repository to a context manager that serves it."""
    folder = _installed(tmp_path_factory.mktemp("triton"))

    @contextmanager
    def start(repository: Path) -> Iterator[Triton]:
        http, grpc = _free_ports()
        command = [
            str(folder / "pytriton/tritonserver/bin/tritonserver"),
            f"--model-repository={repository}",
            "--exit-timeout-secs=5",
            f"--backend-directory={folder / 'backends'}",
            "--http-address=127.0.0.1",
            "--grpc-address=127.0.0.1",
            f"--http-port={http}",
            f"--grpc-port={grpc}",
            "--allow-metrics=false",
        ]
        environment = {
            **os.environ,
            # The Python backend finds its packages by the first python3 on the path, not by PYTHONPATH.
            "PATH": f"{folder / 'env' / 'bin'}:{os.environ['PATH']}",
            "LD_LIBRARY_PATH": f"{folder / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}",
            "OMP_NUM_THREADS": "1",
        }
        log = folder / f"{http}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
        try:
            _wait_until_ready(f"http://127.0.0.1:{http}/v2/health/ready", process, log)
            yield Triton(f"127.0.0.1:{http}", f"127.0.0.1:{grpc}")
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()

    return start


def _installed(folder: Path) -> Path:
    if sys.platform != "linux" or not 8 <= sys.version_info.minor <= 13:
        pytest.skip("the package nvidia-pytriton has Triton for Linux and Python 3.8 to 3.13")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), PACKAGE, NUMPY]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        pytest.skip(f"pip cannot download {PACKAGE} and {NUMPY}: {last}")
    venv.create(folder / "env")
    packages = folder / "env" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    # This NumPy first, then this checkout, then what the tests run with.
    (packages / "medzoo.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    for pattern, place in (("numpy-*.whl", packages), ("nvidia_pytriton-*.whl", folder)):
        (wheel,) = folder.glob(pattern)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(place)
    server = folder / "pytriton" / "tritonserver"
    python = Path(shutil.copytree(server / "backends" / "python", folder / "backends" / "python"))
    stub = f"python_backend_stubs/3.{sys.version_info.minor}/triton_python_backend_stub"
    shutil.copyfile(server / stub, python / "triton_python_backend_stub")
    for program in (server / "bin" / "tritonserver", python / "triton_python_backend_stub"):
        program.chmod(0o755)
    onnx = folder / "backends" / "onnxruntime"
    onnx.mkdir()
    shutil.copyfile(Path(__file__).with_name("onnxruntime_backend.py"), onnx / "model.py")
    return folder


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(900):
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            time.sleep(0.2)
    raise AssertionError(f"Triton was not ready in time: {log.read_text(errors='replace')[-3000:]}")
