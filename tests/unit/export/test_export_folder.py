"""export/ says nothing that the server and the command line do not hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import typer
import yaml

from medzoo.cli import app
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.serve.server import Server
from tests.unit.serve.conftest import running
from tests.unit.serve.graphs import write_graph

EXPORT = Path(__file__).resolve().parents[3] / "export"
ROOT = EXPORT.parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Any:
    graph = write_graph(tmp_path_factory.mktemp("export") / "segment.onnx", "segment")
    with running([OnnxBackend(graph, device="cpu")], token="words") as started:
        yield started


def manifests(name: str) -> list[Any]:
    return list(yaml.safe_load_all((EXPORT / "kubernetes" / name).read_text()))


def serve_options() -> dict[str, Any]:
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    return {option: parameter for parameter in command.params for option in parameter.opts}


def run_client(name: str, *arguments: str, token: str = "words") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXPORT / "clients" / name), *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "MEDZOO_TOKEN": token},
        timeout=120,
    )


def test_the_clients_get_responses(server: Server, tmp_path: Path) -> None:
    image = np.zeros((1, 1, 4, 6), np.float32)
    image[0, 0, 1, 2] = 200
    np.save(tmp_path / "image.npy", image)
    for name, port in (("tensors_http.py", server.http_port), ("tensors_grpc.py", server.grpc_port)):
        done = run_client(name, f"127.0.0.1:{port}", "toy-segment", str(tmp_path / "image.npy"))
        assert "labels uint8 [1, 4, 6] [0, 0, 0, 0, 0]" in done.stdout, done.stderr
    from PIL import Image as Pillow

    Pillow.fromarray(image[0, 0].astype(np.uint8)).save(tmp_path / "a b.png")
    address = f"http://127.0.0.1:{server.http_port}"
    done = run_client("image_file.py", address, "toy-segment", str(tmp_path / "a b.png"))
    assert '"input": "a b.png"' in done.stdout
    assert '"bright": 1' in done.stdout
    refused = run_client("image_file.py", address, "toy-segment", str(tmp_path / "a b.png"), token="other")
    assert refused.returncode == 2
    assert "bearer token" in refused.stdout


def test_the_deployment_is_what_the_server_is(server: Server) -> None:
    deployment, service = manifests("medzoo.yaml")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = serve_options()
    given = [argument for argument in container["args"] if argument.startswith("--")]
    assert given
    assert set(given) <= set(options)
    drain = float(container["args"][container["args"].index("--drain") + 1])
    assert pod["terminationGracePeriodSeconds"] > drain
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": options["--http-port"].default, "grpc": options["--grpc-port"].default}
    assert {port["targetPort"] for port in service["spec"]["ports"]} == set(ports)
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    for probe in ("readinessProbe", "livenessProbe"):  # kubelet sends no token
        path = container[probe]["httpGet"]["path"]
        assert httpx.get(f"http://127.0.0.1:{server.http_port}{path}").status_code == 200
    metrics = deployment["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"]
    answer = httpx.get(f"http://127.0.0.1:{server.http_port}{metrics}", headers={"Authorization": "Bearer words"})
    assert answer.status_code == 200
    assert "MEDZOO_TOKEN" in [one["name"] for one in container["env"]]


def test_triton_is_called_in_the_same_places() -> None:
    deployment, service = manifests("triton.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert {port["port"] for port in service["spec"]["ports"]} == {8000, 8001, 8002}
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert any(argument == f"--model-repository={place}" for argument in container["args"] for place in mounted)
    (inference,) = manifests("kserve.yaml")
    claim = deployment["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert inference["spec"]["predictor"]["triton"]["storageUri"].startswith(f"pvc://{claim}/")
    assert inference["spec"]["predictor"]["triton"]["image"] == container["image"]


@pytest.mark.parametrize("name", ["Containerfile", "Containerfile.triton"])
def test_a_container_file_copies_what_is_there(name: str) -> None:
    text = (EXPORT / name).read_text()
    copied = [path for line in re.findall(r"^COPY (.*)$", text, re.M) for path in line.split()[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
    (extra,) = re.findall(r"'\.\[(\w+)\]'", text)
    assert f"\n{extra} = [" in (ROOT / "pyproject.toml").read_text()
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.M)
    if entry:
        words = yaml.safe_load(entry.group(1))
        assert words[:2] == ["medzoo", "serve"]
        assert {word for word in words if word.startswith("--")} <= set(serve_options())


def test_every_file_is_named_in_the_readme() -> None:
    readme = (EXPORT / "README.md").read_text()
    for path in EXPORT.rglob("*"):
        if path.is_file() and path.name != "README.md" and "__pycache__" not in path.parts:
            assert f"`{path.relative_to(EXPORT)}`" in readme, path
