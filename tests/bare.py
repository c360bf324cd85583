"""The bare install (no torch) answers as the training environment does: same model folder, same mask.

Run by `make bare` with the training environment's Python; builds .venv-bare from the project's own metadata.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
BARE = ROOT / ".venv-bare"


def run(*command: str | Path) -> str:
    """Standard output of a command; a failure ends the check."""
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    if not (BARE / "bin" / "medzoo").exists():
        run(sys.executable, "-m", "venv", BARE)
        run(BARE / "bin" / "pip", "install", "-q", "-c", ROOT / "requirements.lock", ROOT)
    installed = run(BARE / "bin" / "pip", "list", "--format=freeze").lower()
    for package in ("torch==", "pytorch-lightning==", "monai==", "scikit-learn==", "onnx=="):
        assert f"\n{package}" not in installed, f"the bare install brought {package}"
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
