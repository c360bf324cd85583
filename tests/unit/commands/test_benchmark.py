"""`medzoo benchmark` on a model that was trained for a few seconds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.cli import main
from medzoo.commands.benchmark import _inputs, benchmark
from medzoo.errors import UserError
from medzoo.runtime.parity.gate import Golden


def test_each_backend_is_measured_beside_its_parity(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["benchmark", str(tiny_model), "--size", "64", "--seconds", "0.5", "--json", "-o", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    said = printed.err.splitlines()
    # Each is named before it is waited for.
    assert said.index("onnx cpu fp32: starting") < said.index("torch cpu fp32: starting")
    assert json.loads((tmp_path / "benchmark.json").read_text()) == document
    with Pillow.open(tmp_path / "benchmark.png") as picture:
        assert picture.width > 600
    rows = {(row["backend"], row["precision"]): row for row in document["rows"]}
    assert {("onnx", "fp32"), ("torch", "fp32")} <= set(rows)
    assert document["input"] == {"image": [1, 1, 64, 64]}
    assert "fp16" in document["absent"] or ("onnx", "fp16") in rows
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p95_ms"]
        assert row["per_second"] > 0
        assert row["peak_mb"] > 30
        if row["backend"] in ("onnx", "torch"):
            assert row["first_s"] > 0
            assert f"{row['backend']} cpu {row['precision']}: first answer after {row['first_s']:.3f} s" in said
        else:
            assert row["first_s"] is None
    assert rows["torch", "fp32"]["differences"]["probabilities"] <= 1e-4
    assert rows["onnx", "fp32"]["differences"]["probabilities"] <= 1e-4
    # torch itself takes more memory than all of the runtime.
    assert rows["torch", "fp32"]["peak_mb"] > rows["onnx", "fp32"]["peak_mb"]


def test_inputs_are_repeated_and_cut() -> None:
    golden = Golden("g", {"image": np.arange(2 * 3 * 5, dtype=np.float32).reshape(2, 1, 3, 5)})
    made = _inputs(golden, 3, 4)["image"]
    assert made.shape == (3, 1, 4, 4)
    assert made[0, 0, 3].tolist() == made[0, 0, 0].tolist() == [0, 1, 2, 3]
    assert made[2, 0, 0].tolist() == made[0, 0, 0].tolist()


def test_an_onnx_file_alone_holds_nothing_to_compare_with(tiny_model: Path) -> None:
    with pytest.raises(UserError, match="is not a model folder"):
        benchmark(tiny_model / "model.onnx")
