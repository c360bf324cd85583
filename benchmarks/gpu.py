"""CUDA in half precision beside the CPU in single, for a model of each family: parity and speed, where a GPU is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.record import record
from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model
from medzoo.commands.benchmark import benchmark
from medzoo.commands.export import export
from medzoo.errors import UserError
from medzoo.runtime.backends.devices import cuda_usable

MODELS = ("brain-tissue", "brain-tissue-unet", "breast-lesion-rcnn", "lenet-mass", "breast-mass-svm")
SECONDS = 8.0  # of each


def main(*models: str) -> None:
    """`models`: by default one of each family. A model without a half-precision file gets one in a copy of it."""
    if not cuda_usable():
        print("not measured: there is no CUDA device here that ONNX Runtime can use", file=sys.stderr)
        return
    device = subprocess.run(
        ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True
    ).stdout.strip()
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        for model in models or MODELS:
            folder = Path(shutil.copytree(find_model(model), Path(name) / model))
            if "model.fp16.onnx" not in ModelFolder.open(folder).manifest["files"]:
                try:
                    export(folder, out=folder, precision="fp16")
                except UserError as error:  # the gate refuses it: the float32 file is measured on both devices
                    print(f"{model}: {error}", file=sys.stderr)
            # What was measured stays measured where the next one is cut off.
            found[model] = benchmark(folder, seconds=SECONDS, say=partial(print, model, flush=True)).to_dict()
            record("gpu", device=device, models=found)


if __name__ == "__main__":
    main(*sys.argv[1:])
