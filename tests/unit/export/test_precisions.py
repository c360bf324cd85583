"""Fewer bits: what is converted and what is not, through the gate into the model folder, and refused at the gate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import medzoo
from medzoo.cli import main
from medzoo.commands.export import export
from medzoo.commands.verify import verify
from medzoo.errors import UserError
from medzoo.export.half import half_bytes
from medzoo.export.integer import integer_bytes
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.runtime.parity.gate import Golden, compare

RNG = np.random.default_rng(0)


def graph() -> bytes:
    """image / 65535 -> two convolutions -> mean -> softmax: the image has values that float16 cannot hold."""
    weights = {
        "scale": np.float32(65535),
        "w1": RNG.normal(0, 0.4, (8, 1, 3, 3)).astype(np.float32),
        "w2": RNG.normal(0, 0.4, (8, 8, 3, 3)).astype(np.float32),
        "w3": RNG.normal(0, 0.4, (2, 8, 1, 1)).astype(np.float32),
        "axes": np.array([2, 3]),
    }
    nodes = [
        helper.make_node("Div", ["image", "scale"], ["scaled"], name="div"),
        helper.make_node("Conv", ["scaled", "w1"], ["a"], name="c1"),
        helper.make_node("Relu", ["a"], ["b"], name="r1"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="c2"),
        helper.make_node("Relu", ["c"], ["d"], name="r2"),
        helper.make_node("Conv", ["d", "w3"], ["e"], name="c3"),
        helper.make_node("ReduceMean", ["e", "axes"], ["f"], name="mean", keepdims=0),
        helper.make_node("Softmax", ["f"], ["probabilities"], name="softmax", axis=1),
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, "height", "width"])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    facts = Metadata(name="g", task="classify", labels=("a", "b"), outputs=("probabilities",))
    helper.set_model_props(model, {KEY: facts.model_dump_json()})
    return bytes(model.SerializeToString())


def bright(count: int = 1) -> Any:
    return {"image": RNG.uniform(0, 65535, (count, 1, 20, 24)).astype(np.float32)}


def test_half_precision_holds_weights_and_keeps_float32_at_both_ends() -> None:
    raw = graph()
    model = onnx.load_from_string(half_bytes(raw))
    kinds = {value.name: value.data_type for value in model.graph.initializer}
    assert {name: kind for name, kind in kinds.items() if name.startswith("w")} == {
        f"w{n}/half": TensorProto.FLOAT16 for n in (1, 2, 3)
    }
    assert kinds["scale"] == TensorProto.FLOAT
    for value in (*model.graph.input, *model.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    # One way in, one way out: nothing goes back and forth between the convolutions.
    assert [node.op_type for node in model.graph.node].count("Cast") == 2
    given = bright(2)
    one, two = (OnnxBackend(data, device="cpu").run(given) for data in (raw, half_bytes(raw)))
    assert 0 < np.abs(one["probabilities"] - two["probabilities"]).max() < 2e-3


def test_whole_numbers_between_the_first_and_the_last_weights() -> None:
    raw = graph()
    made = integer_bytes(raw, [bright() for _ in range(4)])
    model = onnx.load_from_string(made)
    eight = [value for value in model.graph.initializer if value.data_type == TensorProto.INT8 and len(value.dims) == 4]
    assert len(eight) == 1  # w2: the first sees the image, the last makes the scores
    assert np.abs(numpy_helper.to_array(eight[0])).max() <= 64  # seven bits
    scales = [
        value for value in model.graph.initializer if value.name.startswith("w2") and value.name.endswith("scale")
    ]
    assert scales
    assert list(scales[0].dims) == [8]  # one for each output channel
    given = bright(2)
    one, two = (OnnxBackend(data, device="cpu").run(given) for data in (raw, made))
    assert 0 < np.abs(one["probabilities"] - two["probabilities"]).max() < 0.05


def detections(boxes: Any, scores: Any) -> dict[str, Any]:
    """One image's, in three rows of which those beyond its own are zero."""
    made = {"boxes": np.zeros((1, 3, 4), np.float32), "scores": np.zeros((1, 3), np.float32)}
    for row, (box, score) in enumerate(zip(boxes, scores, strict=True)):
        made["boxes"][0, row], made["scores"][0, row] = box, score
    return {**made, "labels": np.zeros((1, 3), np.int64), "count": np.array([len(boxes)])}


@pytest.mark.parametrize(
    ("got", "broken"),
    [
        (([[1, 1, 21, 20], [50, 50, 60, 60]], [0.88, 0.05]), None),
        (([[0, 0, 20, 20]], [0.7]), "scores"),
        (([[0, 0, 20, 28]], [0.9]), "boxes"),
        (([], []), "labels"),
        (([[0, 0, 20, 20], [40, 40, 60, 60]], [0.9, 0.8]), "labels"),
    ],
)
def test_sure_detections_are_compared_and_doubtful_ones_are_not(got: Any, broken: str | None) -> None:
    expected = detections([[0, 0, 20, 20], [30, 30, 34, 34]], [0.9, 0.1])
    found = compare(Golden("g", {}), expected, detections(*got), precision="fp16")
    assert [one.output for one in found if not one.holds] == ([broken] if broken else [])


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_a_file_of_fewer_bits_becomes_part_of_the_folder(model: Path, mni_t1: Path, monkeypatch: Any) -> None:
    import nibabel

    # A figure over a few slices is enough here.
    monkeypatch.setattr("medzoo.export.precision.primary_metric", lambda *_: ("dice", 0.9))
    for precision in ("fp16", "int8"):
        with pytest.raises(SystemExit) as ended:
            main(["export", str(model), "--precision", precision, "-o", str(model)])
        assert ended.value.code == 0
    checks = {check.name for check in verify(model)}
    assert {"parity", "parity fp16", "parity int8", "card"} <= checks
    manifest = json.loads((model / "manifest.json").read_text())
    assert manifest["precisions"]["int8"]["metric"]["allowed"] == 0.005  # of Dice, whatever the precision
    assert "| fp16 | dice" in (model / "README.md").read_text()
    scan = nibabel.load(mni_t1).slicer[:, :, 90:92]
    masks = {}
    for precision in ("auto", "fp32", "fp16", "int8"):
        predictor = medzoo.load(model, precision=precision, device="cpu")
        assert predictor.metadata.precision == ("fp32" if precision == "auto" else precision)
        masks[precision] = predictor.predict(scan).mask
    assert (masks["fp16"] != masks["fp32"]).mean() < 0.002
    assert (masks["int8"] != masks["fp32"]).mean() < 0.05
    with pytest.raises(UserError, match="is in fp16, not in int8 as requested"):
        medzoo.load(model / "model.fp16.onnx", precision="int8")


def test_a_metric_that_falls_too_far_leaves_no_file(
    model: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = iter([("dice", 0.9), ("dice", 0.85)])
    monkeypatch.setattr("medzoo.export.precision.primary_metric", lambda *_: next(figures))
    with pytest.raises(SystemExit) as ended:
        main(["export", str(model), "--precision", "fp16", "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "dice on" in said
    assert "falls from 0.9000 to 0.8500 in fp16, allowed is a loss of 0.005" in said
    assert not list(tmp_path.glob("out/*"))


def test_an_output_that_differs_too_far_leaves_no_file(model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def damaged(raw: bytes) -> bytes:
        made = onnx.load_from_string(half_bytes(raw))
        for value in made.graph.initializer:
            if value.data_type == TensorProto.FLOAT16 and len(value.dims) == 4:
                value.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(value), value.name))
        return bytes(made.SerializeToString())

    monkeypatch.setattr("medzoo.export.half.half_bytes", damaged)
    with pytest.raises(UserError, match=r"output 'probabilities' differs from PyTorch by .* on .*; 0.03 is allowed"):
        export(model, out=tmp_path / "out", precision="fp16")
    assert not list(tmp_path.glob("out/*"))


def test_bf16_is_torch_s_once_its_loss_is_known(
    model: Path, mni_t1: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import nibabel

    with pytest.raises(UserError, match="the loss of this model in bf16 was never measured"):
        medzoo.load(model, precision="bf16")
    figures = iter([("dice", 0.9), ("dice", 0.894), ("dice", 0.9), ("dice", 0.897)])
    monkeypatch.setattr("medzoo.export.precision.primary_metric", lambda *_: next(figures))
    with pytest.raises(UserError, match=r"falls from 0.9000 to 0.8940 in bf16, allowed is a loss of 0.005"):
        export(model, out=model, precision="bf16")
    assert "precisions" not in json.loads((model / "manifest.json").read_text())
    with pytest.raises(SystemExit) as ended:
        main(["export", str(model), "--precision", "bf16", "-o", str(model)])
    assert ended.value.code == 0
    assert "0.9000 in float32, 0.8970 in bf16, loss 0.0030, allowed 0.005" in capsys.readouterr().err
    assert "| bf16 | dice" in (model / "README.md").read_text()
    assert "card" in {check.name for check in verify(model)}
    scan = nibabel.load(mni_t1).slicer[:, :, 90:92]
    half = medzoo.load(model, precision="bf16", device="cpu")
    assert half.metadata.precision == "bf16"
    assert (half.predict(scan).mask != medzoo.load(model, device="cpu").predict(scan).mask).mean() < 0.03
    with pytest.raises(UserError, match="bf16 runs in torch, not in ONNX Runtime"):
        medzoo.load(model, precision="bf16", backend="onnx")
    with pytest.raises(UserError, match="bf16 is not written as a file of its own"):
        export(model, out=tmp_path, precision="bf16")
