"""A model at another site: calibrated without torch, accepted or not, compared and recomputed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from medzoo.artifact import ModelFolder
from medzoo.commands.accept import accept
from medzoo.commands.answers import agreement_of, changed_answers
from medzoo.commands.calibrate import calibrate
from medzoo.commands.verify import verify
from medzoo.errors import UserError
from medzoo.evaluation.site import LocalAnswers, local_probabilities, local_score
from medzoo.export.recalibrated import with_temperature
from medzoo.loading.load import load
from medzoo.metrics.calibration import probability_temperature, tempered
from medzoo.runtime.backends.onnx import OnnxBackend

ROOT = Path(__file__).resolve().parents[3]
MODEL = ROOT / "zoo" / "breast-mass-svm-classic"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures of a dark disc (benign) or a star (malignant) on grain, as a recipe of folders."""
    folder = tmp_path_factory.mktemp("site")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:120, :140]
    for number in range(40):
        label = ("benign", "malignant")[number % 2]
        angle = np.arctan2(y - 60, x - 70)
        radius = 22 + (0 if number % 2 == 0 else 7 * np.sin(9 * angle)) + rng.uniform(-3, 3)
        array = 150 + rng.normal(0, 12, y.shape)
        array[np.hypot(y - 60, x - 70) < radius] -= 95
        path = folder / "pictures" / label / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)).save(path)
    recipe = {
        "medzoo": 1,
        "name": "site",
        "task": "classify",
        "labels": ["benign", "malignant"],
        "data": {"type": "image-folder", "root": str(folder / "pictures"), "split": {"group": "none"}},
        "model": {"type": "lenet"},
        "train": {"epochs": 1},
        "metrics": ["auc", "sensitivity"],
    }
    (folder / "site.yaml").write_text(yaml.safe_dump(recipe))
    return folder


@pytest.fixture(scope="module")
def local(site: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return calibrate(MODEL, on=site / "site.yaml", out=tmp_path_factory.mktemp("models") / "local")


def picture(site: Path) -> str:
    return str(next((site / "pictures" / "benign").iterdir()))


def test_a_calibrated_model_names_its_parent_and_keeps_its_weights(local: ModelFolder) -> None:
    parent = ModelFolder.open(MODEL)
    assert local.manifest["parent"]["name"] == parent.name
    assert len(local.manifest["parent"]["digest"]) == 64
    weights = "model.safetensors"
    assert local.manifest["files"][weights] == parent.manifest["files"][weights]
    assert [check.name for check in verify(local.path)] == ["digests", "card", "metrics", "parity"]
    assert local.manifest["local"]["items"] == 40
    assert "Calibrated" in local.file("README.md").read_text()


def test_its_graph_gives_the_probabilities_at_the_local_temperature(site: Path, local: ModelFolder) -> None:
    before = load(MODEL).predict(picture(site))
    after = load(local.path).predict(picture(site), anyway=True)
    p = np.array([list(before.probabilities.values())])
    expected = tempered(p, local.manifest["local"]["temperature"])[0]
    assert np.allclose(list(after.probabilities.values()), expected, atol=1e-5)
    assert after.label_set is not None
    by_torch = load(local.path, backend="torch").predict(picture(site))
    assert np.allclose(list(by_torch.probabilities.values()), expected, atol=1e-4)


def test_calibrating_twice_multiplies_temperatures() -> None:
    raw = MODEL.joinpath("model.onnx").read_bytes()
    backend = OnnxBackend(raw, device="cpu")
    features = {"features": np.zeros((1, *backend.session.get_inputs()[0].shape[1:]), np.float32)}
    p = backend.run(features)["probabilities"]
    twice = OnnxBackend(with_temperature(with_temperature(raw, 2.0), 1.5), device="cpu").run(features)["probabilities"]
    assert np.allclose(twice, tempered(p, 3.0), atol=1e-6)


def test_a_temperature_is_found_and_undone() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    right = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([rng.choice(3, p=row) for row in right])
    assert probability_temperature(tempered(right, 0.4), truth) == pytest.approx(2.5, rel=0.1)
    assert np.allclose(tempered(tempered(right, 0.4), 2.5), right, atol=1e-3)


def test_sets_of_local_probabilities_cover(site: Path) -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet((1, 1), 4000)
    truth = (rng.random(4000) < p[:, 1]).astype(int)
    found = LocalAnswers(folds=np.arange(4000) % 5, truth=truth, probabilities=p)
    facts = local_probabilities(found, rule="youden: ...", coverage=0.9)
    held = tempered(p, facts["temperature"])[np.arange(4000), truth] >= facts["conformal"]["threshold"]
    assert held.mean() == pytest.approx(0.9, abs=0.02)
    assert facts["threshold"] == pytest.approx(0.5, abs=0.1)


def test_a_detector_gets_the_score_with_the_best_f1() -> None:
    found = LocalAnswers(
        folds=np.zeros(4, int),
        scores=np.array([0.9, 0.8, 0.4, 0.2]),
        hits=np.array([True, True, False, True]),
        objects=3,
    )
    assert local_score(found)["f1"] == pytest.approx(6 / 7)
    found.hits = np.array([True, True, False, False])
    assert local_score(found)["threshold"] == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        ({"figure": "machine-outline/auc", "at_least": 0.01}, True),
        ({"figure": "machine-outline/auc", "at_least": 1.01, "bound": "high"}, False),
        ({"figure": "familiar-no", "at_most": 0.5}, True),
    ],
)
def test_rules_decide(site: Path, tmp_path: Path, rule: dict[str, Any], passed: bool) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"rules": [rule]}))
    found = accept(MODEL, on=site / "site.yaml", rules=rules, out=tmp_path / "page.html")
    assert found.passed is passed
    text = found.page.read_text()
    assert ("Passed" if passed else "Failed") in text
    assert "Signature" in text
    assert "manifest SHA-256" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rules: []", "rules"),
        ("rules: [{figure: auc}]", "give either at_least or at_most"),
        ("rules: [{figure: auc, at_least: 1, atmost: 2}]", "atmost"),
        ("rules: [{figure: nothing, at_least: 1}]", "there is no figure 'nothing'"),
        ("a: [", "is not YAML"),
    ],
)
def test_rules_that_cannot_be_tried_are_named(site: Path, tmp_path: Path, text: str, words: str) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(text)
    with pytest.raises(UserError, match=words):
        accept(MODEL, on=site / "site.yaml", rules=rules, out=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_changes_before_an_upgrade_are_listed_most_changed_first(site: Path, local: ModelFolder) -> None:
    files = sorted(map(str, (site / "pictures").rglob("*.png")))[:6]
    found = changed_answers(MODEL, local.path, files)
    assert sorted(one.input for one in found) == files
    assert [one.change for one in found] == sorted((one.change for one in found), reverse=True)
    assert all(one.change == 0 for one in changed_answers(MODEL, MODEL, files))
    with pytest.raises(UserError, match="another task or other labels"):
        changed_answers(MODEL, ROOT / "zoo" / "breast-ultrasound-alexnet", files)


def test_an_answer_is_recomputed_from_its_digests(site: Path, tmp_path: Path, capsys: Any) -> None:
    from medzoo.cli import main

    def run(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        return int(ended.value.code or 0), capsys.readouterr().out

    first = picture(site)
    code, out = run("predict", str(MODEL), first, "-o", str(tmp_path / "out"), "--no-pictures", "--json")
    assert code == 0
    answer = tmp_path / "answer.json"
    answer.write_text(out)
    code, out = run("verify", str(answer), "--with", first, "--model", str(MODEL))
    assert (code, out.split(":")[0]) == (0, "identical")
    document = json.loads(answer.read_text())
    document[0]["probabilities"] = {"benign": 0.5, "malignant": 0.5}
    answer.write_text(json.dumps(document))
    code, out = run("verify", str(answer), "--with", first, "--model", str(MODEL))
    assert (code, out.split(":")[0]) == (1, "different")
    other = str(next((site / "pictures" / "malignant").iterdir()))
    assert run("verify", str(answer), "--with", other, "--model", str(MODEL))[0] == 2
    document[0]["digests"]["model"] = "0" * 64
    answer.write_text(json.dumps(document))
    assert run("verify", str(answer), "--with", first, "--model", str(MODEL))[0] == 2


def test_answers_within_tolerance_are_told_from_others() -> None:
    def boxes(*rows: tuple[float, float]) -> dict[str, Any]:
        detections = [{"label": "lesion", "score": s, "box": [x, 0, x + 10, 10]} for x, s in rows]
        return {"task": "detect", "detections": detections}

    assert agreement_of(boxes((0, 0.9)), boxes((0, 0.9))).agreement == "identical"
    assert agreement_of(boxes((0, 0.9)), boxes((0.2, 0.9005))).agreement == "within tolerance"
    assert agreement_of(boxes((0, 0.9)), boxes((3, 0.9))).agreement == "different"
    assert agreement_of(boxes((0, 0.9)), boxes((0, 0.9), (40, 0.8))).agreement == "different"
