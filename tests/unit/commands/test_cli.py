"""Every command as it is typed: what it prints, where, and how it fails."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def nifti(path: Path, array: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    return path


def test_predict_writes_a_mask_on_the_scans_own_grid(run: Run, tiny_model: Path, small_scan: Path) -> None:
    code, out, err = run("predict", tiny_model, small_scan, "-o", "out", "--json")
    assert code == 0, err
    (answer,) = json.loads(out)
    assert answer["input"] == str(small_scan)
    assert answer["model"] == "brain-tissue-mni"
    mask, scan = nibabel.load(answer["mask"]), nibabel.load(small_scan)
    assert mask.shape == scan.shape
    assert np.allclose(mask.affine, scan.affine)
    assert int(mask.header["sform_code"]) == 4
    values = np.asarray(mask.dataobj)
    assert set(np.unique(values)) <= {0, 1, 2, 3}
    for index, label in enumerate(("csf", "grey-matter", "white-matter"), start=1):
        assert answer["volumes_ml"][label] == pytest.approx((values == index).sum() / 1000, abs=1e-3)
    assert (Path("out") / "brain.png").is_file()


def test_missing_header_fields_are_reported(run: Run, tiny_model: Path, small_scan: Path, tmp_path: Path) -> None:
    scan = nibabel.load(small_scan)
    scan.header.set_sform(None, 0)
    scan.header.set_qform(None, 0)
    nibabel.save(nibabel.Nifti1Image(np.asarray(scan.dataobj), None, scan.header), tmp_path / "lost.nii.gz")
    code, out, err = run("predict", tiny_model, tmp_path / "lost.nii.gz", "-o", "out", "--json", "--no-pictures")
    assert code == 0, err
    assert "no orientation (sform and qform codes are 0): taken as right to left" in json.loads(out)[0]["assumed"]
    assert f"warning: {tmp_path / 'lost.nii.gz'}: the header gives no orientation" in err


def test_a_mirrored_scan_gives_the_mirrored_mask(run: Run, tiny_model: Path, small_scan: Path, tmp_path: Path) -> None:
    scan = nibabel.load(small_scan)
    flipped = scan.slicer[::-1]
    nibabel.save(flipped, tmp_path / "flipped.nii.gz")
    both = (small_scan, tmp_path / "flipped.nii.gz")
    _, out, _ = run("predict", tiny_model, *both, "-o", "out", "--json", "--no-pictures")
    one, two = (np.asarray(nibabel.load(answer["mask"]).dataobj) for answer in json.loads(out))
    assert np.array_equal(one, two[::-1])


def test_one_bad_input_is_named_in_its_place_and_the_others_are_predicted(
    run: Run, tiny_model: Path, small_scan: Path
) -> None:
    code, out, err = run("predict", tiny_model, "missing.nii.gz", small_scan, "-o", "out", "--json", "--no-pictures")
    assert code == 2
    first, second = json.loads(out)
    assert first["input"] == "missing.nii.gz"
    assert "no such file" in first["error"]
    assert "mask" in second
    assert "missing.nii.gz: no such file" in err


def truncated(path: Path) -> Path:
    raw = gzip.compress(nibabel.Nifti1Image(np.random.default_rng(0).normal(9, 1, (9, 9, 9)), np.eye(4)).to_bytes())
    path.write_bytes(raw[: len(raw) // 2])
    return path


def text(path: Path) -> Path:
    path.write_text("not an image")
    return path


def colour_noise(path: Path) -> Path:
    Pillow.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    raw = path.read_bytes()
    path.write_bytes(raw[:40])
    return path


BAD = {
    "no image": lambda p: text(p / "notes.nii.gz"),
    "a text": lambda p: text(p / "notes.txt"),
    "truncated": lambda p: truncated(p / "cut.nii.gz"),
    "truncated picture": lambda p: colour_noise(p / "cut.png"),
    "4D": lambda p: nifti(p / "four.nii.gz", np.ones((4, 4, 4, 3), np.float32)),
    "NaN": lambda p: nifti(p / "nan.nii.gz", np.full((4, 4, 4), np.nan, np.float32)),
    "zeros": lambda p: nifti(p / "zeros.nii.gz", np.zeros((4, 4, 4), np.float32)),
    "empty file": lambda p: (p / "empty.nii.gz").touch() or p / "empty.nii.gz",
}


@pytest.mark.parametrize("kind", list(BAD))
def test_a_bad_scan_gives_one_line_that_names_it_and_leaves_nothing(
    run: Run, tiny_model: Path, tmp_path: Path, kind: str
) -> None:
    path = BAD[kind](tmp_path)
    code, out, err = run("predict", tiny_model, path, "-o", "out")
    assert code == 2
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert path.name in lines[0]
    assert "Traceback" not in err
    assert not list(tmp_path.glob("out/**/*.*"))


def test_all_errors_of_a_recipe_are_reported_at_once_with_their_places(run: Run, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    good = (Path(__file__).resolve().parents[3] / "recipes" / "brain-tissue-mni.yaml").read_text()
    recipe.write_text(good.replace("batch: 512", "bach: 512").replace("type: patch-cnn", "type: patch-cn"))
    code, out, err = run("validate", recipe, "train.epochs=many")
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 3, err
    assert "did you mean 'batch'" in err
    assert "did you mean 'patch-cnn'" in err
    assert "train.epochs" in err
    assert f"{recipe}:" in err
    code, _, err = run("train", recipe, "-o", "out")
    assert code == 2
    assert not Path("out").exists()


def test_validate_schema_list_and_show_say_what_is_there(run: Run, tiny_model: Path) -> None:
    code, out, err = run("validate", "brain-tissue-mni")
    assert code == 0, err
    assert out == ""
    code, out, _ = run("schema")
    assert json.loads(out)["$schema"].endswith("2020-12/schema")
    code, out, _ = run("list", "--json")
    listed = json.loads(out)
    assert "patch-cnn" in listed["model_types"]
    assert "mni152" in listed["data_types"]
    assert "brain-tissue-mni" in listed["recipes"]
    code, out, _ = run("show", tiny_model, "--json")
    shown = json.loads(out)
    assert shown["manifest"]["name"] == "brain-tissue-mni"
    assert shown["model"]["labels"] == ["background", "csf", "grey-matter", "white-matter"]
    code, out, _ = run("show", tiny_model)
    assert code == 0
    assert "Not a medical device" in out


def test_evaluate_repeats_the_manifests_metrics(run: Run, tiny_model: Path) -> None:
    code, out, err = run("evaluate", tiny_model, "--json")
    assert code == 0, err
    manifest = json.loads((tiny_model / "manifest.json").read_text())
    assert json.loads(out)["figures"] == manifest["metrics"]["figures"]


def test_an_exported_file_predicts_as_its_folder_does(run: Run, tiny_model: Path, small_scan: Path) -> None:
    code, _, err = run("export", tiny_model, "-o", "out")
    assert code == 0, err
    _, out, _ = run("predict", "out/brain-tissue-mni.onnx", small_scan, "-o", "a", "--json", "--no-pictures")
    _, again, _ = run("predict", tiny_model, small_scan, "-o", "b", "--json", "--no-pictures", "--backend", "torch")
    assert json.loads(out)[0]["volumes_ml"] == pytest.approx(json.loads(again)[0]["volumes_ml"], rel=1e-4)


def test_an_export_that_differs_from_torch_is_refused_and_leaves_no_file(
    run: Run, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import numpy_helper

    from medzoo.export import checked

    right = checked.onnx_bytes

    def damaged(*arguments: Any, **options: Any) -> bytes:
        model = onnx.load_from_string(right(*arguments, **options))
        weights = next(one for one in model.graph.initializer if len(one.dims) == 4)
        weights.CopyFrom(numpy_helper.from_array(2 * numpy_helper.to_array(weights), weights.name))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(checked, "onnx_bytes", damaged)
    code, out, err = run("export", tiny_model, "-o", "out")
    assert code == 2
    assert out == ""
    assert "output 'probabilities' differs from PyTorch by" in err
    assert "the export was rejected" in err
    assert not list(Path().glob("out/*"))


def test_verify_says_yes_and_then_names_what_was_changed(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    code, out, _ = run("verify", tiny_model)
    assert code == 0
    assert out.count("ok  ") == 4
    copy = tmp_path / "copy"
    shutil.copytree(tiny_model, copy)
    card = copy / "README.md"
    card.write_text(card.read_text().replace("0.", "9.", 1))
    code, _, err = run("verify", copy)
    assert code == 2
    assert "README.md" in err
    (copy / "model.onnx").unlink()
    code, _, err = run("predict", copy, "x.png")
    assert code == 2
    assert "model.onnx: is missing" in err


def test_a_card_with_other_metrics_than_the_manifest_is_refused(run: Run, tiny_model: Path, tmp_path: Path) -> None:
    from medzoo.artifact import write_folder

    manifest = json.loads((tiny_model / "manifest.json").read_text())
    files = {name: (tiny_model / name).read_bytes() for name in manifest.pop("files")}
    files["README.md"] = files["README.md"].replace(b"| dice | 0.", b"| dice | 0.9")
    write_folder(tmp_path / "forged", files, manifest)
    code, _, err = run("verify", tmp_path / "forged")
    assert code == 2
    assert "the card does not match the manifest" in err


def test_a_metric_that_does_not_follow_from_the_stored_predictions_is_refused(
    run: Run, tiny_model: Path, tmp_path: Path
) -> None:
    from medzoo.artifact import write_folder
    from medzoo.report.card import render_card

    manifest = json.loads((tiny_model / "manifest.json").read_text())
    files = {name: (tiny_model / name).read_bytes() for name in manifest.pop("files")}
    figure = manifest["metrics"]["figures"][0]
    figure["value"] += 0.01
    write_folder(tmp_path / "better", files | {"README.md": render_card(manifest).encode()}, manifest)
    code, _, err = run("verify", tmp_path / "better")
    assert code == 2
    assert "evaluation.json: dice does not follow from the stored predictions" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "brain-tisue", "x.nii"], "no such model: not a file"),
        (["predict", "nodule-svm-shape", "x.nii"], "medzoo fetch nodule-svm-shape --from BASE"),
        (["predict", "{model}", "{scan}", "--device", "gpu"], "--device: 'gpu' is not one of auto, cpu, cuda"),
        (["predict", "{model}", "{scan}", "--device", "cuda"], "device cuda was requested"),
        (["predict", "{model}"], "Missing argument"),
        (["frobnicate"], "No such command"),
        (["train", "no-such-recipe"], "no such recipe: not a file"),
        (["predict", "{scan}", "{scan}"], "cannot load the ONNX model"),
        (["evaluate", "{model}", "--split", "tset"], "--split: 'tset' is not one of train, val, test"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(
    run: Run, tiny_model: Path, small_scan: Path, arguments: list[str], words: str
) -> None:
    code, out, err = run(*[a.format(model=tiny_model, scan=small_scan) for a in arguments])
    assert code == 2
    assert out == ""
    assert words in err
    assert len(err.strip().splitlines()) == 1, err


def test_a_gpu_is_named_before_its_first_prediction(
    run: Run, tiny_model: Path, small_scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medzoo.loading import load
    from medzoo.runtime.predictor import Predictor

    predictor = load.load(tiny_model, device="cpu")
    assert isinstance(predictor, Predictor)
    order: list[str] = []
    answer = predictor.backend.run
    monkeypatch.setattr(predictor.backend, "device", "cuda:0")
    monkeypatch.setattr(predictor.backend, "run", lambda *a, **k: (order.append("answer"), answer(*a, **k))[1])
    monkeypatch.setattr("medzoo.cli.prediction.print_message", order.append)
    monkeypatch.setattr(load, "load", lambda *_, **__: predictor)
    code, _, err = run("predict", tiny_model, small_scan, "-o", tmp_path, "--no-pictures")
    assert code == 0, err
    assert order[0].startswith("starting on cuda:0;")
    assert order[1] == "answer"


def test_output_that_cannot_be_written_is_named(run: Run, tiny_model: Path, small_scan: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is wanted")
    code, _, err = run("predict", tiny_model, small_scan, "-o", "taken", "--no-pictures")
    assert code == 2
    assert "taken" in err
    code, _, err = run("train", "brain-tissue-mni", "-o", "taken")
    assert code == 2
    assert "taken: cannot write here" in err


def test_a_full_disk_is_named_and_leaves_nothing(
    run: Run, tiny_model: Path, small_scan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run("predict", tiny_model, small_scan, "-o", "out", "--no-pictures")
    assert code == 2
    assert "No space left on device" in err
    assert not list(Path("out").glob("*"))


def test_inputs_of_one_name_in_two_folders_do_not_collide(
    run: Run, tiny_model: Path, small_scan: Path, tmp_path: Path
) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / "brain.nii.gz")
        shutil.copy(small_scan, paths[-1])
    _, out, _ = run("predict", tiny_model, *paths, "-o", "out", "--json", "--no-pictures")
    masks = [answer["mask"] for answer in json.loads(out)]
    assert masks == ["out/a/brain_mask.nii.gz", "out/b/brain_mask.nii.gz"]


def test_without_a_command_it_says_what_there_is(run: Run) -> None:
    code, out, err = run()
    assert (code, err) == (0, "")
    assert "predict" in out
    code, out, _ = run("--version")
    assert (code, out.split()[0]) == (0, "medzoo")


def test_a_folder_of_model_folders_names_them(run: Run, tiny_model: Path, small_scan: Path) -> None:
    code, _, err = run("predict", tiny_model.parent, small_scan)
    assert code == 2
    assert f"it holds model folders: {tiny_model.name}" in err
    assert err.count("\n") == 1


def test_data_finds_the_copies_that_lie_on_two_sides_of_the_split(run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label in ("benign", "malignant"):
        (tmp_path / "set" / label).mkdir(parents=True)
        for number in range(15):
            coarse = rng.uniform(0, 255, (9, 9)).astype(np.uint8)
            Pillow.fromarray(coarse).resize((96, 96)).save(tmp_path / "set" / label / f"{number}.png")
    for number in range(6):
        shutil.copy(tmp_path / "set" / "benign" / "0.png", tmp_path / "set" / "malignant" / f"copy-{number}.png")
    recipe = tmp_path / "leaky.yaml"
    recipe.write_text(
        "medzoo: 1\nname: leaky\ntask: classify\nlabels: [benign, malignant]\n"
        f"data: {{type: image-folder, root: '{tmp_path / 'set'}', split: {{group: none}}}}\n"
        "model: {type: lenet}\n"
    )
    code, out, err = run("data", recipe, "--json")
    assert code == 0, err
    document = json.loads(out)
    assert document["images"] == 36
    assert document["leaks"]
    for leak in document["leaks"]:
        assert leak["kind"] in ("identical", "near")
        names = {Path(leak["a"]).name, Path(leak["b"]).name}
        assert names <= {"0.png", *(f"copy-{n}.png" for n in range(6))}, leak
        assert len(set(leak["splits"])) == 2
    code, out, _ = run("data", recipe)
    assert "leaks between the parts of the split" in out


def test_missing_data_are_reported_with_the_settings_that_say_where(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MEDZOO_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    code, _, err = run("data", "breast-mass-svm")
    assert code == 2
    assert err.startswith("error: data/busi: the data folder does not exist (")
    assert "data.root=FOLDER" in err
    assert "MEDZOO_DATA" in err


def test_image_and_model_in_the_wrong_order_are_told_apart(run: Run, tiny_model: Path, small_scan: Path) -> None:
    code, _, err = run("predict", small_scan, tiny_model)
    assert code == 2
    assert "MODEL is a zoo name, a model folder or an .onnx file; it comes before the images" in err
