"""Names of outputs: no two inputs share a file, and none is written over, whatever the inputs are called."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.commands.output_names import ADDED, StreamNames, output_names
from medzoo.commands.predict import predict_files
from medzoo.errors import UserError
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor


def picture(path: Path, value: int = 90) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as handle:
        Pillow.new("L", (16, 16), value).save(handle, "PNG")
    return path


class Finds:
    """A graph for pictures whose one box is as wide as the first value of the picture."""

    name, device = "made", "cpu"
    metadata = Metadata(name="finds", task="detect", labels=("lesion",), geometry=Geometry(dims=2))

    def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
        width = inputs["image"][0, 0, 0, 0] / 10
        one = np.ones((1, 1), np.float32)
        boxes = np.array([[[0, 0, width, 3]]], np.float32)
        return {"boxes": boxes, "scores": one, "labels": one.astype(np.int64) - 1, "count": np.array([1])}


class Marks(Finds):
    """A graph that marks the values above 100 of a picture."""

    metadata = Metadata(name="marks", task="segment", labels=("background", "lesion"), geometry=Geometry(dims=2))

    def run(self, inputs, outputs=None):  # type: ignore[no-untyped-def]
        return {"labels": (inputs["image"][:, 0] > 100).astype(np.uint8)}


COLLIDING: dict[str, tuple[list[str], list[str]]] = {
    "a number that is a name": (["a.jpg", "a.png", "a-2.png"], ["a", "a-3", "a-2"]),
    "the name first": (["a-2.png", "a.jpg", "a.png"], ["a-2", "a", "a-3"]),
    "many numbers": (["a.png", "a.png", "a.png", "a-3.png", "a-2.bmp"], ["a", "a-4", "a-5", "a-3", "a-2"]),
    "suffixes of two parts": (["a.nii", "a.nii.gz", "a.mgz"], ["a", "a-2", "a-3"]),
    "case": (["A.png", "a.png", "x/B.PNG", "x/b.png"], ["A", "a-2", "B", "b-2"]),
    "normal forms": (["e\u0301.png", "\xe9.png"], ["\xe9", "\xe9-2"]),
    "sharp s": (["stra\xdfe.png", "STRASSE.png"], ["stra\xdfe", "STRASSE-2"]),
    "folders": (["p1/t1.nii.gz", "p2/t1.nii.gz"], ["p1/t1", "p2/t1"]),
    "folders and suffixes": (["p1/a.png", "p2/a.png", "p2/a.jpg"], ["p1/a", "p2/a", "p2/a-2"]),
    "cleaned alike": (["a\x1b.png", "a\n.png", "a_.png"], ["a_", "a_-2", "a_-3"]),
    "bytes": ([os.fsdecode(b"\xff.png"), os.fsdecode(b"\xfe.png")], ["_", "_-2"]),
    "up and here": (["../a.png", "./a.png", "a.png"], ["a", "a-2", "a-3"]),
    "twice": (["a.png", "a.png"], ["a", "a-2"]),
    "sequences": (["p/t1.nii,p/t2.nii", "q/t1.nii,q/t2.nii"], ["p/t1", "q/t1"]),
}


@pytest.mark.parametrize("kind", COLLIDING)
def test_names_are_told_apart(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inputs, names = COLLIDING[kind]
    assert [str(name) for name in output_names(inputs)] == names


def test_a_name_and_what_files_add_to_another_are_told_apart(tmp_path: Path) -> None:
    """The mask of x.png would be x_mask.png, and so would the drawing of x_mask.png."""
    for inputs in (["x.png", "x_mask.png"], ["x_mask.png", "x.png"], ["x.nii.gz", "x_mask.nii.gz", "x_mask_mask.png"]):
        names = output_names(inputs)
        files = [f"{name}{one}".casefold() for name in names for one in ADDED]
        assert len(set(files)) == len(files)
    assert [str(name) for name in output_names(["x.png", "x_mask.png"], added=(".json", ".png"))] == ["x", "x_mask"]


def test_a_folder_is_not_called_as_a_file(tmp_path: Path) -> None:
    inputs = ["q/x.png", "q/x.json/y.png", "r/x.json/y.png"]
    names = output_names(inputs)
    files = {f"{name}{one}" for name in names for one in ADDED}
    assert len(files) == len(names) * len(ADDED)
    assert not files & {str(parent) for name in names for parent in name.parents}


def test_a_series_or_volume_is_called_by_what_stands_behind_it(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    (tmp_path / "f.nii.gz").touch()
    inputs = [f"{tmp_path}/scans#{name}" for name in ("T1 1.0", "T1/FLAIR", "T1\x1b[2J", "..")]
    inputs += [f"{tmp_path}/f.nii.gz#{n}" for n in (0, 1)] + [f"{tmp_path}/f.nii.gz"]
    names = [str(name) for name in output_names(inputs)]
    assert names == ["scans#T1 1.0", "scans#T1_FLAIR", "scans#T1_[2J", "scans#..", "f#0", "f#1", "f"]


def test_a_long_name_leaves_room_for_what_is_added(tmp_path: Path) -> None:
    names = [f"{'ä' * 120}{n}.png" for n in range(3)]
    for name in names:
        picture(tmp_path / name)
    found = list(predict_files(Predictor(Finds()), [str(tmp_path / n) for n in names], out=tmp_path / "out"))
    assert [result.error for result in found] == [None] * 3
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_every_input_of_the_shared_collision_has_a_result(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data.parent / "cases" / "pictures" / "collide"
    if not folder.is_dir():
        pytest.skip("the shared cases are not here")
    inputs = [str(folder / name) for name in ("a.jpg", "a.png", "a-2.png")]
    found = list(predict_files(Predictor(Finds()), inputs, out=tmp_path, pictures=False))
    assert len(found) == len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("engine", ["list", "stream"])
def test_each_result_is_in_a_file_of_its_own(tmp_path: Path, engine: str) -> None:
    names = ["a.png", "a.bmp", "a-2.png", "A.png", "x/a.png", "y/a.png", "a_mask.png"]
    inputs = [str(picture(tmp_path / name, 10 * n + 10)) for n, name in enumerate(names)]
    given = inputs if engine == "list" else iter(inputs)
    results = list(predict_files(Predictor(Finds()), given, out=tmp_path / "out", pictures=False))
    assert [round(result.boxes[0, 2]) for result in results] == [1, 2, 3, 4, 5, 6, 7]
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) == len(names)
    assert sorted('"input": ' in path.read_text() for path in files) == [True] * len(names)
    masks = list(predict_files(Predictor(Marks()), iter(inputs), out=tmp_path / "masks"))
    assert len({result.mask_path for result in masks}) == len(names)
    assert len([path for path in (tmp_path / "masks").rglob("*") if path.is_file()]) == 2 * len(names)


def test_a_stream_never_writes_over_what_is_there(tmp_path: Path) -> None:
    """The drawing of the first would overwrite the second, which is not known yet."""
    inputs = [
        picture(tmp_path / name, value) for name, value in (("scan.bmp", 10), ("scan.png", 20), ("scan-2.png", 30))
    ]
    before = [path.read_bytes() for path in inputs]

    def taken() -> Iterator[str]:
        yield from map(str, inputs)

    results = list(predict_files(Predictor(Finds()), taken(), out=tmp_path))
    assert [round(result.boxes[0, 2]) for result in results] == [1, 2, 3]
    assert [path.read_bytes() for path in inputs] == before
    book = StreamNames(tmp_path / "new")
    assert [str(book.name(text)) for text in ("p/a.png", "q/a.png", "q/a.bmp", "A.png")] == ["a", "q/a", "a-2", "A-3"]


def linked(path: Path, source: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(source)
    return path


OVER = {
    "a link in the output folder": lambda p: (picture(p / "scan.png"), linked(p / "out" / "scan.json", p / "scan.png")),
    "a hard link": lambda p: (
        picture(p / "scan.png"),
        (p / "out").mkdir(),
        os.link(p / "scan.png", p / "out/scan.png"),
    ),
    "the output folder is a link": lambda p: (picture(p / "scan.png"), linked(p / "out", p)),
}


@pytest.mark.parametrize("kind", OVER)
def test_an_input_is_not_written_over_through_a_link(kind: str, tmp_path: Path) -> None:
    picture(tmp_path / "scan.png")
    OVER[kind](tmp_path)
    before = (tmp_path / "scan.png").read_bytes()
    with pytest.raises(UserError, match=r"scan\.png: a result would overwrite this input"):
        list(predict_files(Predictor(Finds()), [str(tmp_path / "scan.png")], out=tmp_path / "out"))
    assert (tmp_path / "scan.png").read_bytes() == before


@pytest.mark.parametrize("form", ["csv", "coco"])
def test_a_summary_is_not_written_over_an_input(tmp_path: Path, form: str) -> None:
    name = "predictions.csv" if form == "csv" else "results.json"
    other = picture(tmp_path / "a.png")
    scan = picture(tmp_path / name)
    before = scan.read_bytes()
    with pytest.raises(UserError, match=f"{name}: a result would overwrite this input"):
        list(predict_files(Predictor(Finds()), [str(other), str(scan)], out=tmp_path, form=form, pictures=False))  # type: ignore[arg-type]
    assert scan.read_bytes() == before


def test_other_files_that_are_read_are_not_overwritten_either(tmp_path: Path) -> None:
    scan, mask = picture(tmp_path / "a.bmp"), picture(tmp_path / "a_mask.png")
    found = predict_files(Predictor(Finds()), [str(scan)], out=tmp_path, pictures=False, mask=str(mask))
    with pytest.raises(UserError, match=r"a_mask\.png: a result would overwrite"):
        list(found)


def test_a_slice_is_not_written_over(tmp_path: Path) -> None:
    from tests.unit.io.test_io_geometry import Through, as_dicom, body

    series = as_dicom(tmp_path, *body())
    shutil.copy(series / "00.dcm", series / "series_seg.dcm")
    found = predict_files(Predictor(Through("segment")), [str(series)], out=series, form="dicom-seg", pictures=False)
    with pytest.raises(UserError, match="series: a result would overwrite this input"):
        list(found)
