"""The wheel, installed without torch: the first command works offline, and predicts as in the training environment.

Run by `make bare` with the training environment's Python, after `make wheel`; builds .venv-bare from dist/*.whl.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BARE = ROOT / ".venv-bare"


def run(*command: str | Path) -> str:
    """Standard output of a command; a failure ends the check."""
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def first_touch(here: Path) -> None:
    """A user's first commands, from an empty folder and an empty home: the models are in the wheel."""
    spots = np.random.default_rng(0).normal(90, 25, (300, 400))
    y, x = np.indices(spots.shape)
    spots[((y - 140) / 45) ** 2 + ((x - 210) / 70) ** 2 < 1] -= 60
    Image.fromarray(spots.clip(0, 255).astype(np.uint8)).save(here / "image.png")
    clean = {"HOME": str(here), "PATH": os.environ["PATH"]}

    def medzoo(*arguments: str) -> str:
        command = [str(BARE / "bin" / "medzoo"), *arguments]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=here, env=clean).stdout

    models = {model["name"] for model in json.loads(medzoo("list", "--json"))["models"]}
    assert "breast-lesion-rcnn" in models, models
    said = medzoo("predict", "breast-lesion-rcnn", "image.png")
    assert said.startswith("image.png: "), said
    assert (here / "predictions" / "image.png").stat().st_size > 10_000, "no overlay"
    missing = [str(BARE / "bin" / "medzoo"), "predict", "breast-lesion-rcnn", "image.png", "missing.png"]
    failed = subprocess.run(missing, capture_output=True, text=True, cwd=here, env=clean)
    assert failed.returncode == 2, failed.stderr
    assert "error: missing.png: no such file" in failed.stderr, failed.stderr
    assert failed.stdout.startswith("image.png: "), failed.stdout
    for model in sorted(models):
        medzoo("show", model)
        assert "ok  digests" in medzoo("verify", model)
    print(f"from the wheel: {len(models)} models, {said.strip()}")


def main() -> None:
    (wheel,) = (ROOT / "dist").glob("medzoo-*.whl")
    assert wheel.stat().st_size <= 60_000_000, f"the wheel has {wheel.stat().st_size} bytes"
    pip = BARE / "bin" / "pip"
    if not (BARE / "bin" / "medzoo").exists():
        run(sys.executable, "-m", "venv", BARE)
        run(pip, "install", "-q", "-c", ROOT / "requirements.lock", wheel)
    run(pip, "install", "-q", "--no-deps", "--force-reinstall", wheel)
    installed = run(BARE / "bin" / "pip", "list", "--format=freeze").lower()
    for package in ("torch==", "pytorch-lightning==", "monai==", "scikit-learn==", "onnx=="):
        assert f"\n{package}" not in installed, f"the bare install brought {package}"
    with tempfile.TemporaryDirectory() as name:
        first_touch(Path(name))
    with tempfile.TemporaryDirectory() as name:
        here = Path(name)
        folder = here / "model"
        small = ["train.epochs=1", "train.steps_per_epoch=20", "model.channels=[4, 6, 8]"]
        own = Path(sys.executable).parent / "medzoo"
        run(own, "train", ROOT / "recipes" / "brain-tissue-mni.yaml", *small, "-o", folder)
        t1 = next((ROOT / ".venv").glob("lib/python3*/site-packages/nilearn/datasets/data/*t1_tal*.nii.gz"))
        masks = []
        for program, backend in ((own, "torch"), (own, "onnx"), (BARE / "bin" / "medzoo", "onnx")):
            out = here / f"out-{len(masks)}"
            run(program, "predict", folder, t1, "-o", out, "--backend", backend, "--no-pictures")
            masks.append(np.asarray(nibabel.load(next(out.glob("*_mask.nii.gz"))).dataobj))
        digests = [hashlib.sha256(mask.tobytes()).hexdigest() for mask in masks[1:]]
        assert digests[0] == digests[1], "the bare install gives another mask"
        differ = float((masks[0] != masks[1]).mean())
        assert differ < 1e-6, f"torch and ONNX Runtime differ in {differ:.2g} of the voxels"
    print("the bare install answers as the training environment does")


if __name__ == "__main__":
    main()
