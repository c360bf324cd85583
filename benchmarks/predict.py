"""Images a second of predict over PNG files, over those of the bare graph on arrays that are decoded already."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image as Pillow

from benchmarks.record import record, summary
from medzoo.artifact.locate import find_model
from medzoo.commands.predict import predict_files
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.predictor import Predictor

FILES, ROUNDS = 200, 5


def files(graph: Path) -> dict[str, object]:
    """Rates in turns: the graph alone, predict, predict that writes its JSON, and its pictures as well."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        smooth = np.add.outer(np.arange(512), np.arange(512)) / 4
        arrays = [np.uint8((smooth + rng.uniform(0, 30) + rng.uniform(0, 8, (512, 512))) % 256) for _ in range(FILES)]
        paths = [folder / f"{number}.png" for number in range(FILES)]
        for path, array in zip(paths, arrays, strict=True):
            Pillow.fromarray(array).save(path)
        backend = OnnxBackend(graph, device="cpu")
        predictor = Predictor(backend)
        channels = backend.metadata.geometry.channels
        # As ONNX Runtime comes: threads that spin for the next run.
        bare = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        decoded = [np.repeat(array.astype(np.float32)[None, None], channels, 1) for array in arrays]

        def graph_alone() -> None:
            for array in decoded:
                bare.run(list(backend.metadata.outputs), {"image": array})

        def predict() -> None:
            for _ in predictor.stream(paths):
                pass

        def written(pictures: bool) -> None:
            for _ in predict_files(predictor, [str(p) for p in paths], out=folder / "out", pictures=pictures):
                pass
            shutil.rmtree(folder / "out")

        ways: dict[str, Callable[[], None]] = {
            "bare": graph_alone,
            "predict": predict,
            "predict and write": lambda: written(False),
            "predict, write and draw": lambda: written(True),
        }
        rates: dict[str, list[float]] = {way: [] for way in ways}
        graph_alone()
        for _ in range(ROUNDS):
            for way, run in ways.items():
                start = time.perf_counter()
                run()
                rates[way].append(FILES / (time.perf_counter() - start))
    ratios = {
        f"{way} / bare": summary([a / b for a, b in zip(values, rates["bare"], strict=True)])
        for way, values in rates.items()
        if way != "bare"
    }
    return {"images_per_second": {way: summary(values) for way, values in rates.items()}, "asked": 0.9, **ratios}


def main(*models: str) -> None:
    """`models`: those whose pictures are counted."""
    chosen = models or ("breast-ultrasound-cnn", "breast-lesion-rcnn", "blood-cell-rcnn")
    record("predict", files=FILES, models={model: files(find_model(model) / "model.onnx") for model in chosen})


if __name__ == "__main__":
    main(*sys.argv[1:])
