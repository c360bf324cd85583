"""Commands import what they need when they run, and prediction needs none of the training packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medzoo.errors import UserError


def test_prediction_needs_none_of_the_training_packages(tiny_model: Path, small_scan: Path, tmp_path: Path) -> None:
    program = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "pytorch_lightning", "torchvision", "timm", "monai", "sklearn", "onnx",
                                  "onnxscript", "safetensors", "matplotlib", "cv2", "nilearn", "numba"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from medzoo.cli import main
from medzoo.errors import UserError
main(sys.argv[1:])
"""
    command = [sys.executable, "-c", program, "predict", tiny_model, small_scan, "-o", tmp_path / "out", "--json"]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["volumes_ml"]["white-matter"] > 0


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("medzoo", ("numpy", "torch", "pydantic", "typer")),
        ("medzoo.cli", ("numpy", "torch", "pydantic", "onnxruntime")),
        ("medzoo.io", ("numpy", "PIL", "nibabel", "pydicom")),
    ],
)
def test_import_is_light(module: str, absent: tuple[str, ...]) -> None:
    program = f"import {module}, sys; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_load_takes_the_values_that_the_command_line_takes() -> None:
    from medzoo import load

    with pytest.raises(UserError, match="device: 'gpu' is not one of auto, cpu, cuda, tensorrt"):
        load("lenet-mass", device="gpu")  # type: ignore[arg-type]
