"""VOC folders in the wild: set files of every style, images of every suffix; files left out are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.audit.audit import audit
from medzoo.data.dataset import Objects
from medzoo.data.layouts import voc
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.recipe.split import SplitSection

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
OBJECT = "<object><name>cell</name>{}" + BOX.format(11, 6, 30, 20) + "</object>"
NAMES = ["a", "b", "c", "d", "e", "f"]


def folder(root: Path, names: list[str] | None = None, *, suffix: str = ".png", **sets: bytes | str) -> Path:
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for number, name in enumerate(names or NAMES):
        noise = np.random.default_rng(number).integers(0, 255, (40, 60), np.uint8)
        Pillow.fromarray(noise).save(root / "JPEGImages" / f"{name}{suffix}")
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{OBJECT.format('')}</annotation>")
    for name, text in sets.items():
        data = text if isinstance(text, bytes) else text.encode()
        (root / "ImageSets" / "Main" / f"{name}.txt").write_bytes(data)
    return root


def opened(root: Path, **params: Any) -> voc.Voc:
    return voc.Voc(voc.Params(root=root, **params), ["cell"])


def parts(root: Path, **params: Any) -> dict[str, str | None]:
    return {item.id: item.part for item in opened(root, **params).items()}


def lines(names: list[str], end: str = "\n") -> str:
    return "".join(name + end for name in names)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        (lines(NAMES[:4]).encode("utf-8-sig"), lines(NAMES[4:])),
        (lines(NAMES[:4]).encode("utf-16"), lines(NAMES[4:])),
        (lines(NAMES[:4], "\r\n"), lines(NAMES[4:], "  \t\n\n")),
        (lines([f"{name}  1" for name in NAMES[:4]]), lines(["e -1", "f  0"])),
        (lines([f"{name}.png" for name in NAMES[:4]]), lines([f"JPEGImages/{name}.png" for name in NAMES[4:]])),
        (lines([rf"C:\data\{name}.png" for name in NAMES[:4]]), lines(NAMES[4:])),
    ],
    ids=["BOM", "UTF-16", "CRLF", "flags", "suffix", "path"],
)
def test_set_files_of_every_writing(tmp_path: Path, train: bytes | str, test: str) -> None:
    found = parts(folder(tmp_path / "v", train=train, test=test))
    assert found == dict.fromkeys("abcd", "train") | dict.fromkeys("ef", "test")


@pytest.mark.parametrize("name", ["scan {}", "scan  {} (x)", "ü {}", "a.b {}.c"])
def test_names_with_spaces(tmp_path: Path, name: str) -> None:
    names = [name.format(k) for k in (1, -1, 0, 7)]
    found = parts(folder(tmp_path / "v", names, train=lines(names[:2]), val=lines([f"{n} 1" for n in names[2:]])))
    assert found == dict.fromkeys(names[:2], "train") | dict.fromkeys(names[2:], "val")


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ({"trainval": "abcd", "test": "ef"}, {"train": "abcd", "test": "ef"}),
        ({"trainval": "abcd"}, {"train": "abcd"}),
        ({"trainval": "abcd", "train": "abc", "test": "ef"}, {"train": "abc", "val": "d", "test": "ef"}),
        ({"trainval": "abcd", "val": "ab"}, {"train": "cd", "val": "ab"}),
        ({"trainval": "abcd", "train": "ab", "val": "cd"}, {"train": "ab", "val": "cd"}),
        ({"cell_train": "ab", "cell_val": "c", "wall_val": "cd"}, {"train": "ab", "val": "cd"}),
    ],
)
def test_what_trainval_says(tmp_path: Path, sets: dict[str, str], expected: dict[str, str]) -> None:
    found = parts(folder(tmp_path / "v", **{name: lines(list(names)) for name, names in sets.items()}))
    assert found == {name: part for part, names in expected.items() for name in names}


def test_sets_of_other_names_are_reported_and_can_be_named(tmp_path: Path) -> None:
    root = folder(tmp_path / "v", small=lines(["a", "b"]), rest=lines(["c"]))
    data = opened(root)
    assert len(data.items()) == 6
    assert any("rest.txt, small.txt" in note.text for note in data.notes())
    assert parts(root, sets={"train": ("small",), "test": ("rest.txt",)}) == {"a": "train", "b": "train", "c": "test"}
    with pytest.raises(UserError, match=r"none.txt: no such file"):
        parts(root, sets={"train": ("none",)})


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        ({"train": "abx"}, "lists 'x', which is not in JPEGImages"),
        ({"train": "ab", "test": "b"}, "lists 'b', which is also in train"),
        ({"trainval": "abc", "test": "c"}, "test"),
        ({"trainval": "abcd", "train": "a", "val": "b"}, "lists 'c', which neither train nor val lists"),
        ({"train": ""}, "the set files list no image"),
    ],
)
def test_sets_that_contradict_are_named(tmp_path: Path, sets: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        parts(folder(tmp_path / "v", **{name: lines(list(names)) for name, names in sets.items()}))


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".tif", ".TIFF", ".bmp", ".BMP"])
def test_images_of_every_suffix(tmp_path: Path, suffix: str) -> None:
    data = opened(folder(tmp_path / "v", suffix=suffix))
    (item,) = [item for item in data.items() if item.id == "b"]
    target = data.load(item).target
    assert isinstance(target, Objects)
    assert target.boxes.tolist() == [[10, 5, 30, 20]]


def test_files_left_out_are_reported(tmp_path: Path) -> None:
    root = folder(tmp_path / "v", train=lines(["a", "b"]), test=lines(["c"]))
    (root / "Annotations" / "d.xml").unlink()
    (root / "Annotations" / "alone.xml").write_text("<annotation/>")
    (root / "JPEGImages" / "moving.gif").write_bytes(b"GIF89a")
    for name in ("._a.png", ".DS_Store", "Thumbs.db"):
        (root / "JPEGImages" / name).write_bytes(b"\0\0")
    data = opened(root)
    found = audit(data, make_split(data.items(), SplitSection(group="image", given=True)))
    told = " ".join(finding.text for finding in found.findings if finding.kind == "unlisted")
    assert "3 files are in no set and left out: d.png, e.png, f.png" in told
    assert "alone.xml is an annotation without an image" in told
    assert "moving.gif in JPEGImages is of no format that is read" in told


def test_two_images_of_one_annotation_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "v")
    Pillow.fromarray(np.zeros((40, 60), np.uint8)).save(root / "JPEGImages" / "a.jpg")
    with pytest.raises(UserError, match=r"the same name as a.jpg"):
        opened(root).items()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"<annotation>{OBJECT.format('<difficult>2</difficult>')}</annotation>",
            "difficult of object 1 .cell. is '2'",
        ),
        ("<annotation><object><name>cell</name><polygon/></object></annotation>", "has no bndbox; it has polygon"),
        ("<html/>", "its root is <html>"),
        ("<annotation><size><width>x</width><height>4</height></size></annotation>", "gives a size of 'x' x '4'"),
        (f"<annotation><object><name>cell</name>{BOX.format(-5, 1, 9, 9)}</object></annotation>", "extends beyond"),
        (f"<annotation><object><name>cell</name>{BOX.format('nan', 1, 9, 9)}</object></annotation>", "not finite"),
    ],
)
def test_annotations_that_cannot_be_are_named(tmp_path: Path, text: str, said: str) -> None:
    root = folder(tmp_path / "v")
    (root / "Annotations" / "a.xml").write_text(text)
    data = opened(root)
    with pytest.raises(UserError, match=f"a.xml: .*{said}"):
        data.load(data.items()[0])


@pytest.mark.parametrize("encoding", ["GBK", "utf-8-sig", "utf-16", "Shift_JIS"])
def test_annotations_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    root = folder(tmp_path / "v")
    head = "" if encoding.startswith("utf") else f'<?xml version="1.0" encoding="{encoding}"?>'
    text = f"{head}<annotation><source>血</source>{OBJECT.format('')}</annotation>"
    (root / "Annotations" / "a.xml").write_bytes(text.encode(encoding))
    data = opened(root)
    assert len(data.load(data.items()[0]).target.boxes) == 1  # type: ignore[union-attr]


def test_difficult_objects_are_beside_the_others(tmp_path: Path) -> None:
    root = folder(tmp_path / "v")
    second = OBJECT.format("<difficult>1</difficult>").replace(">11<", ">40<").replace(">30<", ">55<")
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{OBJECT.format('')}{second}</annotation>")
    data, every = opened(root), opened(root, difficult=True)
    sample, target = data.load(data.items()[0]), every.load(every.items()[0]).target
    assert isinstance(sample.target, Objects)
    assert isinstance(target, Objects)
    assert sample.target.boxes.tolist() == [[10, 5, 30, 20]]
    assert sample.target.ignored is not None
    assert sample.target.ignored.boxes.tolist() == [[39, 5, 55, 20]]
    assert [note.kind for note in sample.notes] == ["difficult"]
    assert target.boxes.tolist() == [[10, 5, 30, 20], [39, 5, 55, 20]]
    assert target.ignored is None


def test_an_annotation_of_another_image_is_reported(tmp_path: Path) -> None:
    root = folder(tmp_path / "v")
    (root / "Annotations" / "a.xml").write_text("<annotation><filename>b.jpg</filename></annotation>")
    (root / "Annotations" / "b.xml").write_text("<annotation><filename>b.jpg</filename></annotation>")
    data = opened(root)
    first, second = data.items()[:2]
    assert [note.kind for note in data.load(first).notes] == ["filename"]
    assert data.load(second).notes == ()
