"""CSV and COCO: every input is in them, names are printable and no formulas, and COCO's own tools load the results."""

from __future__ import annotations

import csv
import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.commands.predict import predict_files
from medzoo.errors import UserError
from medzoo.escape import csv_cell
from medzoo.results import Failure
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor

LABELS = ("lesion", "=cmd|'/c calc'!A0")


class Finds:
    """A graph for pictures that finds two boxes, in pictures of a value above 0."""

    name, device = "made", "cpu"
    metadata = Metadata(name="finds", task="detect", labels=LABELS, geometry=Geometry(dims=2))

    def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
        count = 2 if inputs["image"].max() > 0 else 0
        boxes = np.array([[[2, 1, 10, 7], [0, 0, 2.5, 3]]], np.float32)
        return {"boxes": boxes, "scores": np.array([[0.9, 0.4]], np.float32), "labels": np.array([[0, 1]]),
                "count": np.array([count])}  # fmt: skip


class Marks(Finds):
    """A graph that marks a rectangle."""

    metadata = Metadata(name="marks", task="segment", labels=("background", "lesion"), geometry=Geometry(dims=2))

    def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
        mask = np.zeros(inputs["image"][:, 0].shape, np.uint8)
        mask[:, 1:7, 2:10] = inputs["image"].max() > 0
        return {"labels": mask}


def picture(path: Path, value: int = 90, size: tuple[int, int] = (12, 8)) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(os.fsencode(path), "wb") as handle:  # noqa: PTH123  (a name in bytes)
        Pillow.new("L", size, value).save(handle, "PNG")
    return str(path)


def run(predictor: Any, inputs: list[str], out: Path, **options: Any) -> list[Any]:
    return list(predict_files(Predictor(predictor), inputs, out=out, pictures=False, **options))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_input_has_a_row(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    inputs = [picture(tmp_path / "empty.png", 0), str(tmp_path / "none.png"), picture(tmp_path / "b.png"),
              str(tmp_path / "text.png"), picture(tmp_path / "empty2.png", 0)]  # fmt: skip
    run(Finds(), inputs, tmp_path / "out", form="csv")
    found = rows(tmp_path / "out")
    assert [row["input"] for row in found] == [inputs[0], inputs[1], inputs[2], inputs[2], inputs[3], inputs[4]]
    assert {row["model"] for row in found} == {"finds"}
    assert [bool(row["label"]) for row in found] == [False, False, True, True, False, False]
    assert "no such file" in found[1]["error"]
    assert "is not a picture" in found[4]["error"]
    assert [row["error"] for n, row in enumerate(found) if n not in (1, 4)] == [""] * 4


@pytest.mark.parametrize("inputs", [["none.png"], ["empty.png"], []])
def test_a_table_of_no_findings_is_one(tmp_path: Path, inputs: list[str]) -> None:
    picture(tmp_path / "empty.png", 0)
    run(Finds(), [str(tmp_path / name) for name in inputs], tmp_path / "out", form="csv")
    assert len(rows(tmp_path / "out")) == len(inputs)


def test_a_failure_is_not_named_when_deidentified(tmp_path: Path) -> None:
    (tmp_path / "Doe^Jane.png").write_text("Doe^Jane")
    run(Finds(), [str(tmp_path / "Doe^Jane.png")], tmp_path / "out", form="csv", deidentify=True)
    assert "Doe" not in (tmp_path / "out/predictions.csv").read_text()
    (row,) = rows(tmp_path / "out")
    assert row["input"] == "image-0001"
    assert row["error"].startswith("image-0001: is not a picture")


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "'=1", "\uff1d1", "\t=1", "\r=1", "=\x1b[2J"]


@pytest.mark.parametrize("name", FORMULAS)
def test_no_cell_is_a_formula(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert csv_cell(name)[0] in "'\\"
    assert csv_cell(name).isprintable()
    monkeypatch.chdir(tmp_path)
    picture(Path(f"{name}.png"))
    run(Finds(), [f"{name}.png", "=none.png"], Path("out"), form="csv")
    text = Path("out/predictions.csv").read_text()
    assert len(text.splitlines()) == 4
    for row in rows(Path("out")):
        for key, value in row.items():
            assert value[:1] not in {*"=+@"}, (key, value)
    assert rows(Path("out"))[1]["label"] == f"'{LABELS[1]}"
    assert len({csv_cell(one) for one in (*FORMULAS, *[f"'{one}" for one in FORMULAS])}) == 2 * len(FORMULAS)


ODD = [b"\xff\xfe.png", b"a\nforged.png", b"\x1b[31m.png", "\u202egnp.exe.png".encode(), b"plain.png"]


@pytest.mark.parametrize("form", ["auto", "csv", "coco"])
def test_an_odd_name_loses_no_result(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    from medzoo.cli import main
    from tests.unit.serve.graphs import write_graph

    inputs = [picture(tmp_path / os.fsdecode(name)) for name in ODD]
    results = run(Finds(), inputs, tmp_path / "out", form=form)
    assert [result.error for result in results] == [None] * len(ODD)
    if form == "csv":
        text = (tmp_path / "out/predictions.csv").read_bytes().decode()
        assert len(text.splitlines()) == 1 + 2 * len(ODD)
        assert text.replace("\n", "").isprintable()
        assert f"{tmp_path}/\\xff\\xfe.png," in text
    elif form == "coco":
        document = json.loads((tmp_path / "out/predictions.json").read_bytes().decode())
        assert [os.fsencode(image["file_name"]) for image in document["images"]] == [os.fsencode(i) for i in inputs]
    else:
        found = [json.loads(path.read_bytes().decode())["input"] for path in (tmp_path / "out").glob("*.json")]
        assert sorted(found) == sorted(inputs)
    graph = write_graph(tmp_path / "classify.onnx", "classify")
    for options in ([], ["--json"]):
        with pytest.raises(SystemExit):
            main(["predict", str(graph), *inputs, str(tmp_path / "no\x1b[2J\nne.png"), "-o", str(tmp_path / "o"),
                  "--no-pictures", "--format", "csv" if form == "csv" else "auto", *options])  # fmt: skip
        out, err = capsys.readouterr()
        assert (out + err).replace("\n", "").isprintable()
        assert f"{tmp_path}/no\\x1b[2J\\x0ane.png: no such file" in err
        if options:
            assert [one["input"] for one in json.loads(out)][:-1] == inputs
        else:
            assert len(out.splitlines()) == len(ODD)


def annotated(path: Path, names: list[str], **changes: Any) -> Path:
    """A COCO file with ids of its own for images and categories, and the first box of `Finds` in each image."""
    images = [{"id": 700 + n, "file_name": name, "width": 12, "height": 8} for n, name in enumerate(names)]
    categories = [{"id": 41, "name": LABELS[1]}, {"id": 17, "name": "lesion"}, {"id": 3, "name": "other"}]
    box = {
        "category_id": 17,
        "bbox": [2, 1, 8, 6],
        "area": 48,
        "iscrowd": 0,
        "segmentation": [[2, 1, 10, 1, 10, 7, 2, 7]],
    }
    boxes = [{"id": n + 1, "image_id": 700 + n, **box} for n in range(len(names))]
    path.write_text(
        json.dumps({"info": {}, "images": images, "annotations": boxes, "categories": categories} | changes)
    )
    return path


@pytest.mark.parametrize("library", ["faster_coco_eval", "pycocotools"])
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_results_are_scored_by_cocos_own_tools(tmp_path: Path, library: str, kind: str) -> None:
    pytest.importorskip(library, reason="an evaluation of COCO results is not installed")
    inputs = [picture(tmp_path / "val" / f"{n}.png") for n in (5, 3, 9)]
    truth = annotated(tmp_path / "truth.json", ["val/3.png", "5.png", "val/9.png"])
    model = Finds() if kind == "bbox" else Marks()
    results = run(model, inputs, tmp_path / "out", form="coco", annotations=truth)
    assert [result.error for result in results] == [None] * 3
    listed = json.loads((tmp_path / "out/results.json").read_text())
    assert [one["image_id"] for one in listed if one["category_id"] == 17] == [701, 700, 702]
    if library == "pycocotools":
        coco, evaluation = importlib.import_module("pycocotools.coco"), importlib.import_module("pycocotools.cocoeval")
        kinds = (coco.COCO, evaluation.COCOeval)
    else:
        faster = importlib.import_module("faster_coco_eval")
        kinds = (faster.COCO, faster.COCOeval_faster)
    known = kinds[0](str(truth))
    scored = kinds[1](known, known.loadRes(str(tmp_path / "out/results.json")), kind)
    scored.params.catIds = [17]
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == pytest.approx(1, abs=1e-6)
    dataset = kinds[0](str(tmp_path / "out/predictions.json"))
    assert sorted(dataset.getImgIds()) == [700, 701, 702]
    assert {category["id"] for category in dataset.loadCats(dataset.getCatIds())} == {41, 17, 3}


def test_images_that_are_not_in_the_file_are_named(tmp_path: Path) -> None:
    inputs = [picture(tmp_path / name) for name in ("a/1.png", "b/1.png", "2.png", "b/3.png", "a/3.png", "4.png")]
    picture(tmp_path / "4.png", size=(8, 12))
    truth = annotated(tmp_path / "truth.json", ["a/1.png", "3.png", "4.png", "x/5.png", "y/5.png"])
    inputs += [picture(tmp_path / "5.png"), picture(tmp_path / "y/5.png")]
    results = run(Finds(), inputs, tmp_path / "out", form="coco", annotations=truth)
    words = [str(result.error) if isinstance(result, Failure) else "" for result in results]
    assert words[0] == words[3] == words[7] == ""
    assert "is the image 'a/1.png', which already has a result" in words[1]
    assert "2.png: is not among the images of" in words[2]
    assert "is the image '3.png', which already has a result" in words[4]
    assert "is 8 x 12 pixels as it is read, 12 x 8 in" in words[5]
    assert "could be any of 2 images" in words[6]
    ids = {one["image_id"] for one in json.loads((tmp_path / "out/results.json").read_text())}
    assert ids == {700, 701, 704}


def test_an_annotation_file_that_cannot_give_ids_is_refused(tmp_path: Path) -> None:
    inputs = [picture(tmp_path / "1.png")]
    for changes, words in (
        ({"categories": [{"id": 1, "name": "lesion"}]}, "has no category called"),
        ({"categories": [{"id": n, "name": "lesion"} for n in (1, 2)]}, "has 2 categories called 'lesion'"),
        ({"images": [{"id": 1}]}, "has no list 'images' with id and file_name"),
        ({"images": [{"id": 1, "file_name": f"{n}.png"} for n in range(2)]}, "two images have one id"),
        ({"images": [{"id": n, "file_name": "1.png"} for n in range(2)]}, "two images have one file_name"),
    ):
        truth = annotated(tmp_path / "truth.json", ["1.png"], **changes)
        with pytest.raises(UserError, match=words):
            run(Finds(), inputs, tmp_path / "out", form="coco", annotations=truth)
    for form, words in (("csv", "gives the ids of COCO results"), ("coco", "is not JSON")):
        (tmp_path / "truth.json").write_text("{")
        with pytest.raises(UserError, match=words):
            run(Finds(), inputs, tmp_path / "out", form=form, annotations=tmp_path / "truth.json")
    assert not (tmp_path / "out").exists()


def test_without_a_file_results_fit_the_data_set_beside_them(tmp_path: Path) -> None:
    faster = pytest.importorskip("faster_coco_eval", reason="an evaluation of COCO results is not installed")
    run(Finds(), [picture(tmp_path / f"{n}.png") for n in range(3)], tmp_path / "out", form="coco")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["predictions.json"]
    dataset = faster.COCO(str(tmp_path / "out/predictions.json"))
    listed = json.loads((tmp_path / "out/predictions.json").read_text())["annotations"]
    assert len(dataset.loadRes(listed).getAnnIds()) == 6


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@pytest.mark.parametrize("failed", [False, True])
def test_nothing_found_is_scored_as_the_note_says(tmp_path: Path, kind: str, failed: bool) -> None:
    """An empty list of results fails in loadRes; the data set beside it is scored in its place."""
    pytest.importorskip("pycocotools", reason="an evaluation of COCO results is not installed")
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    inputs = [picture(tmp_path / f"{n}.png", value=0) for n in range(3)]
    inputs += [str(tmp_path / "3.png")] * failed
    truth = annotated(tmp_path / "truth.json", ["0.png", "1.png", "2.png"])
    said: list[str] = []
    model = Finds() if kind == "bbox" else Marks()
    run(model, inputs, tmp_path / "out", form="coco", annotations=truth, tell=said.append)
    assert json.loads((tmp_path / "out/results.json").read_text()) == []
    (note,) = said
    assert "give COCOeval COCO('predictions.json') in its place" in note
    known = COCO(str(truth))
    scored = COCOeval(known, COCO(str(tmp_path / "out/predictions.json")), kind)
    scored.params.catIds = [17]
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert scored.stats[0] == 0
    said.clear()
    run(model, [picture(tmp_path / "0.png")], tmp_path / "out", form="coco", annotations=truth, tell=said.append)
    assert not said
