"""`predict --explain` on a trained classifier, and where it must say that it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.cli import main
from medzoo.commands import explain
from medzoo.commands.explain import Explainer
from medzoo.errors import UserError

MODEL = Path(__file__).resolve().parents[3] / "zoo" / "breast-ultrasound-cnn"


def test_a_prediction_comes_with_heat_maps_and_its_conformal_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "p.png"
    grey = np.random.default_rng(0).integers(0, 90, (96, 128)).astype(np.uint8)
    grey[30:60, 40:90] //= 6
    Pillow.fromarray(grey).save(picture)
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(MODEL), str(picture), str(bad), "--explain", "--json", "-o", str(tmp_path / "out")])
    assert ended.value.code == 2
    first, second = json.loads(capsys.readouterr().out)
    assert "error" in second
    threshold = Explainer(MODEL).predictor.metadata.conformal
    assert threshold is not None
    held = [label for label, p in first["probabilities"].items() if p >= threshold.threshold]
    assert first["label_set"] == held
    assert first["coverage"] == threshold.coverage
    assert first["sure"] is (len(held) == 1)
    assert first["explanation"]["label"] == first["label"]
    heat = np.asarray(Pillow.open(first["explanation"]["heat"])).astype(int)
    assert (heat[..., 0] - heat[..., 2]).max() > 60  # warm somewhere
    assert Pillow.open(first["explanation"]["maps"]).height > 400


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (str(MODEL / "model.onnx"), "but this is an ONNX file"),
        ("http://127.0.0.1:9/x", "but this is a server"),
        (str(MODEL.parent / "breast-mass-svm"), "this model is not one"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_line(model: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        Explainer(model)
    assert "\n" not in str(caught.value)


def test_without_torch_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "has_torch", lambda: False)
    with pytest.raises(UserError, match="PyTorch is not installed"):
        Explainer(MODEL)
