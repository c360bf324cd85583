"""A real PACS on loopback: Debian's Orthanc with its DICOMweb plugin, installed if it can be, else skipped."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGIN = "libOrthancDicomWeb.so"


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running, empty server: 127.0.0.1:PORT/dicom-web."""
    program, plugin = _installed()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("orthanc")
    settings = {
        "Name": "medzoo",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "Plugins": [str(plugin)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/dicom-web/studies", timeout=2).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log.txt").read_text()[-2000:]
                time.sleep(0.1)
        yield f"127.0.0.1:{port}/dicom-web"
    finally:
        process.terminate()
        process.wait(20)


def _installed() -> tuple[str, Path]:
    if shutil.which("Orthanc") is None or _plugin() is None:
        if shutil.which("apt-get") is None or os.geteuid() != 0:
            pytest.skip("Orthanc is not installed, and only root on Debian can install it here with apt-get")
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["update", "-qq"],
            ["install", "-y", "-qq", "--no-install-recommends", "orthanc", "orthanc-dicomweb"],
        ):
            done = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, timeout=600)
            if done.returncode:
                last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                pytest.skip(f"apt-get cannot install orthanc and orthanc-dicomweb: {last}")
    program, plugin = shutil.which("Orthanc"), _plugin()
    if program is None or plugin is None:
        pytest.skip("Orthanc or its DICOMweb plugin is not where Debian puts them")
    return program, plugin


def _plugin() -> Path | None:
    for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc"):
        found = sorted(Path(folder).glob(f"**/{PLUGIN}*"))
        if found:
            return found[0]
    return None
