"""Pictures in another range than the model's: brought to it where that is certain, else refused with both ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

import medzoo
from medzoo.cli import app
from medzoo.errors import UserError
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.value_range import check_tensors, tensor_range, unusual_range
from tests.unit.runtime.toy_backends import MeanValue

PHANTOM = Path(__file__).resolve().parents[3] / "docs" / "images" / "phantom.png"
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (20, 30), dtype=np.uint8)
SMOOTH = np.add.outer(np.linspace(0, 0.5, 20), np.linspace(0, 0.5, 30))  # 0 to 1, between the 256 steps


def bright(source: Any, **fields: Any) -> float:
    answer = Predictor(MeanValue(**fields)).predict(source)
    return float(answer.probabilities["bright"])


@pytest.mark.parametrize(
    "same",
    [
        GREY.astype(np.int64),
        GREY.astype(">u2"),
        GREY.astype(np.float32),
        GREY / 255,
        (GREY / 255).astype(np.float32),
        (GREY / 255).astype(np.float16),
        (GREY.astype(np.float32) / 255 - 0.5) / 0.5,
        GREY / 127.5 - 1,
        Pillow.fromarray((GREY / 255).astype(np.float32)),
        Pillow.fromarray(GREY.astype(np.int32)),
    ],
    ids=["int64", "big-endian", "float", "0..1", "ToTensor", "float16", "Normalize", "-1..1", "PIL F", "PIL I"],
)
def test_values_that_are_certainly_8_bit_are_predicted_as_8_bit(same: Any) -> None:
    assert bright(same) == bright(GREY)


def test_a_conversion_is_noted_and_a_plain_picture_has_no_notes() -> None:
    model = Predictor(MeanValue())
    assert model.predict(GREY / 255).to_dict()["notes"] == ["its values, 0 to 1, were rescaled to 0 to 255"]
    assert "notes" not in model.predict(GREY).to_dict()
    assert "notes" not in model.predict(GREY.astype(float)).to_dict()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            SMOOTH,
            r"from 0 to 1 \(float64\), but mean was trained on .* 0 to 255 \(multiply by 255, or pass uint8\)",
        ),
        (2 * SMOOTH - 1, r"from -1 to 1 .* from 0 to 255 \(\(array \+ 1\) \* 127.5 rescales"),
        ((GREY - GREY.mean()) / GREY.std(), r"from -1\.\d+ to 1\.\d+ .* from 0 to 255 \(pass the stored values"),
        (np.log1p(GREY), r"from 0 to 5\.5.* from 0 to 255 \(pass the stored values"),
        (np.sqrt(GREY / 4.0), r"from 0 to 255"),
        (GREY > 100, r"the picture is boolean.* from 0 to 255 .*\* 255"),
        ((GREY > 100).astype(np.int64), r"from 0 to 1 \(int64\).*\* 255"),
        ((GREY > 100).astype(np.float32), r"from 0 to 1 \(float32\).*\* 255"),
        (GREY.astype(np.int16) - 128, r"from -128 to 127 \(int16\)"),
        (
            GREY.astype(np.uint16) * 16,
            r"the picture has 16 bits per pixel.*from \d+ to 40\d\d, those of training from 0 to 255",
        ),
        (GREY * 1.5, r"the picture has values up to 38.*from 0 to 255"),
        (Pillow.fromarray(SMOOTH.astype(np.float32)), r"multiply by 255"),
    ],
)
def test_another_range_is_refused_with_both_and_the_way_out(wrong: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        bright(wrong)


@pytest.mark.parametrize("highest", [1, 2, 7])
def test_an_almost_black_picture_is_predicted(highest: int) -> None:
    dark = (GREY > 128).astype(np.uint8) * np.uint8(highest)
    assert bright(dark) == pytest.approx(dark.mean() / 255, rel=1e-6)
    if highest > 1:  # with 0 and 1 alone another type says nothing of what they are
        assert bright(dark.astype(np.float32)) == bright(dark.astype(np.int64)) == bright(dark)
    assert bright(np.zeros((5, 6), np.float32)) == 0


def test_interpolation_overshoot_is_accepted_and_a_subtracted_mean_is_not() -> None:
    from scipy.ndimage import zoom

    ringing = zoom(GREY.astype(np.float32), 3, order=3)
    ringing = ringing.clip(-25, 280)
    assert ringing.min() < -5
    assert ringing.max() > 260
    assert 0.4 < bright(ringing) < 0.6
    skewed = np.where(GREY < 200, 10, GREY).astype(np.float32)
    for centred in (GREY - 128.0, GREY - GREY.mean(), skewed - 31):
        with pytest.raises(UserError, match=r"from 0 to 255 \(pass the stored values"):
            bright(centred)


def test_a_float_tiff_is_read_by_the_same_rule_by_python_and_the_command_line(tmp_path: Path) -> None:
    with Pillow.open(PHANTOM) as opened:
        grey = np.asarray(opened.convert("L"))
    for name, values in (("exact", grey / 255), ("between", grey / 300)):
        Pillow.fromarray(values.astype(np.float32)).save(tmp_path / f"{name}.tiff")
    model = medzoo.load("breast-ultrasound-cnn")
    assert model.predict(tmp_path / "exact.tiff").probabilities == model.predict(PHANTOM).probabilities
    refused = CliRunner().invoke(
        app, ["predict", "breast-ultrasound-cnn", str(tmp_path / "between.tiff"), "-o", str(tmp_path / "out")]
    )
    assert refused.exit_code == 2
    assert "between.tiff: values range from 0 to 0.8" in refused.output
    assert "multiply by 255" in refused.output


def test_a_model_of_16_bits_takes_its_own_steps() -> None:
    deep = GREY.astype(np.uint16) * 200
    assert bright(deep / 65535, bits=16) == bright(deep, bits=16)
    with pytest.raises(UserError, match=r"from 0 to 65535 \(multiply by 65535, or pass uint16\)"):
        bright(SMOOTH, bits=16)


@pytest.mark.parametrize(
    "flat", [GREY, GREY // 16, np.repeat(GREY[..., None], 3, axis=2), Pillow.fromarray(GREY), GREY > 100]
)
def test_a_model_of_16_bits_refuses_8(flat: Any) -> None:
    with pytest.raises(UserError, match=r"(8 bits per pixel|boolean).* but mean was trained on"):
        bright(flat, bits=16)


@pytest.mark.parametrize("dark", [GREY.astype(np.uint16), GREY.astype(np.int32), GREY.astype(np.float32)])
def test_a_dark_picture_of_a_model_of_16_bits_is_noted(dark: Any) -> None:
    answer = Predictor(MeanValue(bits=16)).predict(dark)
    assert answer.notes[0].startswith("its highest value is 255 of 65535: it is almost black")
    assert Predictor(MeanValue(bits=16)).predict(dark.astype(np.uint16) * 100).notes == ()


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32])
def test_a_faint_picture_is_noted(kind: type) -> None:
    faint = GREY // 20
    assert Predictor(MeanValue()).predict(faint.astype(kind)).notes == (
        "its highest value is 12 of 255: it is almost black, or on another scale",
    )


def test_tensors_of_8_bits_are_refused_by_a_model_of_16() -> None:
    model = MeanValue(bits=16).metadata
    tensor = GREY[None, None].astype(np.float32)
    check_tensors(tensor_range(model), model, {"image": tensor * 200})
    with pytest.raises(UserError, match="those of 8 bits, but mean was trained on 16-bit pictures"):
        check_tensors(tensor_range(model), model, {"image": tensor})


def test_a_model_that_was_trained_on_floats_takes_those() -> None:
    assert unusual_range(0, 255) is None
    assert unusual_range(0, 1) == (0, 1)
    assert unusual_range(-200, 900) == (-200, 900)
    assert unusual_range(-30, 272) is None  # as interpolation overshoots
    assert bright(SMOOTH, values=(0.0, 1.0)) == pytest.approx(SMOOTH.mean() / 255)
    with pytest.raises(UserError, match=r"from 0 to 255 \(uint8\), but mean was trained on values from 0 to 1"):
        bright(GREY, values=(0.0, 1.0))
    plain, own = MeanValue().metadata, MeanValue(values=(0.0, 1.0)).metadata
    assert "values" not in plain.model_dump_json()  # which earlier versions could not read
    assert type(own).model_validate_json(own.model_dump_json()) == own


def test_a_step_that_rescales_takes_any_unit() -> None:
    host = ({"op": "zscore"},)
    assert bright(GREY / 300, host=host) == pytest.approx(bright(GREY, host=host), abs=1e-6)


def test_volumes_are_in_units_of_their_own(tiny_model: Path, mni_t1: Path) -> None:
    import nibabel

    scan = nibabel.load(mni_t1).slicer[:, :, 90:92]
    model = medzoo.load(tiny_model)
    values = np.asarray(scan.get_fdata(), np.float32)
    for array in (values, values / values.max(), values - 1000):
        assert model.predict(nibabel.Nifti1Image(array, scan.affine)).notes == ()
