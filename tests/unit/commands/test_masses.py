"""The SVM's whole way on made ultrasound: train, evaluate, predict with an outline, a box or neither."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

import medzoo
from medzoo.cli import main
from medzoo.commands.train import train
from medzoo.data.catalog import Catalog
from medzoo.errors import UserError
from medzoo.recipe import load_recipe
from medzoo.results import Classification
from medzoo.types import Array

ROOT = Path(__file__).resolve().parents[3]
RECIPE = """
medzoo: 1
name: made-svm
task: classify
labels: [benign, malignant]
data: {{type: busi, allow_leaks: true, root: {root}, split: {{group: image, train: 0.6, val: 0.1, test: 0.3}}}}
preprocess:
  host: [{{op: features, groups: [shape15, grey], polarity: dark, candidates: 2, side: 96, flag: true}}]
model: {{type: svm, cost: [1], gamma: [0.03], learn_from: [given, found], apart: true}}
metrics: [auc, balanced-accuracy]
"""


def mass(number: int, malignant: bool) -> tuple[Array, Array]:
    """A dark round mass, or a dark star, in speckle; and its mask."""
    rng = np.random.default_rng(number)
    y, x = np.indices((96, 120))
    dy, dx = y - 40 - rng.integers(-4, 5), x - 60 - rng.integers(-6, 7)
    edge = rng.uniform(15, 22) * (1 + (0.35 * np.cos(7 * np.arctan2(dy, dx)) if malignant else 0))
    mask = np.hypot(dy, dx) < edge
    picture = np.where(mask, 50, 150) + rng.normal(0, 10, mask.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in BUSI's layout with 18 pictures of each class."""
    root = tmp_path_factory.mktemp("busi")
    for label in ("benign", "malignant"):
        (root / label).mkdir()
        for k in range(1, 19):
            picture, mask = mass(k + (100 if label == "malignant" else 0), label == "malignant")
            Pillow.fromarray(picture).save(root / label / f"{label} ({k}).png")
            Pillow.fromarray(mask).save(root / label / f"{label} ({k})_mask.png")
    return root


@pytest.fixture(scope="module")
def model(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made-svm")
    (folder / "made.yaml").write_text(RECIPE.format(root=made))
    return train(folder / "made.yaml", out=folder / "model").folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple]:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def test_both_protocols_stand_side_by_side_with_size_beside_each(model: Path) -> None:
    manifest = json.loads((model / "manifest.json").read_text())
    figures = {figure["name"]: figure for figure in manifest["metrics"]["figures"]}
    assert next(iter(figures)) == "machine-outline/auc"
    for protocol in ("machine-outline", "expert-outline"):
        for name in ("auc", "auc/size-only", "auc/minus-size-only", "balanced-accuracy/majority"):
            figure = figures[f"{protocol}/{name}"]
            assert figure["protocol"].startswith(protocol.replace("-", " "))
        difference = figures[f"{protocol}/auc"]["value"] - figures[f"{protocol}/auc/size-only"]["value"]
        assert figures[f"{protocol}/auc/minus-size-only"]["value"] == pytest.approx(difference)
    assert figures["expert-outline/auc"]["value"] > 0.95
    assert figures["machine-outline/auc"]["value"] > 0.8


def test_the_card_states_the_features_and_rules(model: Path) -> None:
    card = (model / "README.md").read_text()
    assert "Rules to check by hand" in card
    assert "|---" in card
    assert "**machine outline**" in card


def test_the_folder_verifies_and_holds_no_pickle(model: Path, run: Callable[..., tuple]) -> None:
    assert run("verify", model)[0] == 0
    assert {path.suffix for path in model.iterdir() if path.is_file()} <= {
        ".yaml",
        ".json",
        ".sha256",
        ".md",
        ".onnx",
        ".safetensors",
        ".npz",
        ".jpg",
    }


def test_predict_says_which_outline_it_used(model: Path, made: Path, run: Callable[..., tuple]) -> None:
    picture = made / "malignant" / "malignant (3).png"
    options = {
        "given": ("--mask", made / "malignant" / "malignant (3)_mask.png"),
        "box": ("--box", "30,10,95,75"),
        "found": (),
    }
    for outline, option in options.items():
        code, out, err = run("predict", model, picture, "-o", outline, "--json", *option)
        assert code == 0, err
        (answer,) = json.loads(out)
        assert answer["outline"] == outline
        assert set(answer["contributions"]) == set(answer["features"])
        assert {"phi1", "ff", "grey_mean", "outline_given"} <= set(answer["features"])
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert Path(outline, "malignant (3).png").is_file()


def test_torch_and_onnx_agree_and_the_outline_comes_back(model: Path, made: Path) -> None:
    picture, mask = made / "benign" / "benign (2).png", made / "benign" / "benign (2)_mask.png"
    answers = [medzoo.load(model, backend=backend).predict(picture, mask=mask) for backend in ("onnx", "torch")]
    drawn = np.asarray(Pillow.open(mask)) > 0
    for answer in answers:
        assert isinstance(answer, Classification)
        assert answer.mask is not None
        assert 2 * (answer.mask & drawn).sum() / (answer.mask.sum() + drawn.sum()) > 0.97
        assert answer.label == "benign"
    one, two = (np.array(list(answer.probabilities.values())) for answer in answers)
    assert np.allclose(one, two, atol=1e-4)


def test_the_outline_can_be_drawn_as_a_few_harmonics_rebuild_it(model: Path, made: Path, tmp_path: Path) -> None:
    result = medzoo.load(model).predict(made / "malignant" / "malignant (4).png")
    plain, rebuilt = tmp_path / "plain.png", tmp_path / "rebuilt.png"
    result.plot(plain)
    result.plot(rebuilt, harmonics=3)
    assert plain.read_bytes() != rebuilt.read_bytes()


def test_wrong_outlines_fail_in_their_place(model: Path, made: Path, run: Callable[..., tuple]) -> None:
    picture = made / "benign" / "benign (1).png"
    Pillow.fromarray(np.zeros((96, 120), np.uint8)).save("empty.png")
    Pillow.fromarray(np.full((50, 60), 255, np.uint8)).save("small.png")
    Pillow.fromarray(np.full((96, 120), 7, np.uint8)).save("flat.png")
    for arguments, words in (
        ((picture, "--mask", "empty.png"), "the mask is empty"),
        ((picture, "--mask", "small.png"), "the mask is 60 x 50 but its image is 120 x 96"),
        (("flat.png",), "constant"),
        ((picture, "--box", "90,10,30,75"), "the box"),
        ((picture, "--box", "1,2,3"), "--box"),
        ((picture, picture, "--mask", "empty.png"), "a single INPUT"),
        ((picture, "--mask", "empty.png", "--box", "1,2,30,40"), "both"),
    ):
        code, _, err = run("predict", model, *arguments, "-o", "out")
        assert code == 2, words
        assert words in err
        assert "Traceback" not in err


def test_devices_and_epochs_are_faults_of_the_recipe_with_their_lines(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    path.write_text(RECIPE.format(root=made) + "train:\n  epochs: 3\n  devices: 2\n")
    with pytest.raises(UserError) as caught:
        load_recipe(path, catalog=Catalog())
    lines = [str(fault) for fault in caught.value.faults]
    assert any("made.yaml:12" in line and "epochs" in line for line in lines), lines
    assert any("made.yaml:13" in line and "devices" in line for line in lines), lines


def test_a_recipe_without_features_names_what_is_missing(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "made.yaml"
    text = RECIPE.format(root=made).splitlines()
    path.write_text("\n".join(line for line in text if "host" not in line and line != "preprocess:"))
    with pytest.raises(UserError, match=r"preprocess\.host: .*no host step computes"):
        train(path, out=tmp_path / "model")


NODULE = ROOT / "zoo" / "nodule-svm"


def test_a_nodule_is_classified_from_a_contour_file_a_mask_volume_or_a_mask_picture(
    run: Callable[..., tuple], tmp_path: Path
) -> None:
    t = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    rows = [f"{6 * np.cos(a)},{6 * np.sin(a)},{z}" for z in (-3.0, 0.0, 3.0) for a in t]
    Path("nodule.csv").write_text("x,y,z\n" + "\n".join(rows))
    grid = np.indices((30, 30, 9)).transpose(1, 2, 3, 0) - (14.5, 14.5, 4)
    inside = (np.hypot(grid[..., 0], grid[..., 1]) < 6) & (np.abs(grid[..., 2]) < 1.5)
    nibabel.save(nibabel.Nifti1Image(inside.astype(np.uint8), np.diag([1, 1, 3, 1])), "nodule.nii.gz")
    Pillow.fromarray(inside[..., 4].astype(np.uint8) * 255).save("nodule.png")
    code, out, err = run("predict", NODULE, "nodule.csv", "nodule.nii.gz", "nodule.png", "-o", "out", "--json")
    assert code == 0, err
    contour, volume, picture = json.loads(out)
    for answer in (contour, volume, picture):
        assert answer["outline"] == "given"
        assert answer["features"]["diameter"] == pytest.approx(12, rel=0.08)
    assert contour["features"]["volume"] == pytest.approx(np.pi * 36 * 9, rel=0.02)
    assert volume["features"]["volume"] == pytest.approx(contour["features"]["volume"], rel=0.05)
    assert "a pixel counts as 1 mm" in picture["notes"][0]


def test_a_model_of_outlines_takes_no_mask_and_no_short_contour(run: Callable[..., tuple]) -> None:
    Path("short.csv").write_text("x,y\n0,0\n1,0\n1,1\n0,1\n")
    code, _, err = run("predict", NODULE, "short.csv", "-o", "out")
    assert code == 2
    assert "short.csv: a contour of 4 points is too short" in err
    code, _, err = run("predict", NODULE, "short.csv", "--box", "0,0,1,1", "-o", "out")
    assert code == 2
