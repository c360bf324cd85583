"""Files of annotation tools: the same objects from each, exactly, and one line for what is wrong."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo import registry
from medzoo.data.dataset import Dataset, Objects
from medzoo.errors import UserError
from medzoo.io.brush_lengths import decode_brush, encode_brush

LABELS = ("cell", "speck")
W, H = 80, 64
BOXES = {"a": [("cell", (10, 8, 30, 24)), ("speck", (40, 30, 60, 50))], "b": [("cell", (4, 4, 12, 20))], "c": []}


def pictures(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(BOXES):
        noise = np.random.default_rng(number).integers(0, 255, (H, W), np.uint8)
        Pillow.fromarray(noise).save(folder / f"{name}.png")


def corners(box: tuple[int, ...]) -> list[tuple[int, int]]:
    x0, y0, x1, y1 = box
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def yolo(root: Path, *, polygons: bool = False) -> dict[str, Any]:
    pictures(root / "images" / "train")
    (root / "labels" / "train").mkdir(parents=True)
    for name, rows in BOXES.items():
        lines = []
        for label, (x0, y0, x1, y1) in rows:
            shares = [(x0 + x1) / 2 / W, (y0 + y1) / 2 / H, (x1 - x0) / W, (y1 - y0) / H]
            if polygons:
                shares = [v for x, y in corners((x0, y0, x1, y1)) for v in (x / W, y / H)]
            lines.append(f"{LABELS.index(label)} {' '.join(map(str, shares))}\n")
        if lines:
            (root / "labels" / "train" / f"{name}.txt").write_text("".join(lines))
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nnames: {0: cell, 1: speck}\n")
    return {}


def labelme(root: Path, *, polygons: bool = False) -> dict[str, Any]:
    pictures(root)
    for name, rows in BOXES.items():
        shapes = []
        for label, box in rows:
            points = corners(box) if polygons else [box[2:], box[:2]]
            shapes.append({"label": label, "points": points, "shape_type": "polygon" if polygons else "rectangle"})
        document = {"imagePath": f"{name}.png", "imageWidth": W, "imageHeight": H, "imageData": None, "shapes": shapes}
        (root / f"{name}.json").write_text(json.dumps(document))
    return {}


def cvat(root: Path, *, polygons: bool = False) -> dict[str, Any]:
    pictures(root / "images")
    text = "<annotations><version>1.1</version>"
    for number, (name, rows) in enumerate(BOXES.items()):
        text += f'<image id="{number}" name="{name}.png" width="{W}" height="{H}">'
        for label, box in rows:
            x0, y0, x1, y1 = box
            points = ";".join(f"{x},{y}" for x, y in corners(box))
            one = f'<box label="{label}" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/>'
            text += f'<polygon label="{label}" points="{points}"/>' if polygons else one
        text += "</image>"
    (root / "annotations.xml").write_text(text + "</annotations>")
    return {}


def label_studio(root: Path, *, polygons: bool = False) -> dict[str, Any]:
    pictures(root)
    tasks = []
    for number, (name, rows) in enumerate(BOXES.items()):
        results = []
        for label, box in rows:
            x0, y0, x1, y1 = box
            value: dict[str, Any] = {"x": 100 * x0 / W, "y": 100 * y0 / H, "rotation": 0, "rectanglelabels": [label]}
            value |= {"width": 100 * (x1 - x0) / W, "height": 100 * (y1 - y0) / H}
            if polygons:
                points = [[100 * x / W, 100 * y / H] for x, y in corners(box)]
                value = {"points": points, "polygonlabels": [label]}
            kind = "polygonlabels" if polygons else "rectanglelabels"
            results.append({"type": kind, "value": value, "original_width": W, "original_height": H})
        picture = {"image": f"/data/upload/3/0a1b2c3d-{name}.png"}
        tasks.append({"id": number, "data": picture, "annotations": [{"completed_by": 1, "result": results}]})
    (root / "project.json").write_text(json.dumps(tasks))
    return {}


def csv_boxes(root: Path, *, polygons: bool = False) -> dict[str, Any]:
    pictures(root)
    lines = [f"{name}.png,{','.join(map(str, box))},{label}" for name, rows in BOXES.items() for label, box in rows]
    (root / "boxes.csv").write_text("\n".join(["filename,xmin,ymin,xmax,ymax,class", *lines, "c.png,,,,,"]))
    return {"table": "boxes.csv"}


def qupath(root: Path, *, polygons: bool = False) -> dict[str, Any]:
    pictures(root)
    for name, rows in BOXES.items():
        features = [
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": [[*corners(box), corners(box)[0]]]},
                "properties": {"classification": {"name": label}},
            }
            for label, box in rows
        ]
        (root / f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return {}


WRITERS: dict[str, Callable[..., dict[str, Any]]] = {
    "yolo": yolo,
    "labelme": labelme,
    "cvat": cvat,
    "label-studio": label_studio,
    "csv-boxes": csv_boxes,
    "qupath": qupath,
}


def opened(kind: str, root: Path, task: str = "detect", labels: tuple[str, ...] = LABELS, **params: Any) -> Dataset:
    entry = registry.entry("data", kind)
    data: Dataset = entry.open(entry.params(root=root, **params), task, labels)
    return data


def objects(data: Dataset) -> dict[str, Objects]:
    found = {}
    for item in data.items():
        target = data.load(item).target
        assert isinstance(target, Objects)
        found[Path(item.id).stem] = target
    return found


@pytest.mark.parametrize("kind", WRITERS)
def test_boxes_are_those_drawn(kind: str, tmp_path: Path) -> None:
    found = objects(opened(kind, tmp_path, **WRITERS[kind](tmp_path)))
    assert set(found) == set(BOXES)
    for name, rows in BOXES.items():
        np.testing.assert_allclose(found[name].boxes, np.array([box for _, box in rows]).reshape(-1, 4), atol=1e-4)
        assert found[name].labels.tolist() == [LABELS.index(label) for label, _ in rows]


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "csv-boxes"])
def test_polygons_are_masks_and_label_maps(kind: str, tmp_path: Path) -> None:
    params = WRITERS[kind](tmp_path, polygons=True)
    found = objects(opened(kind, tmp_path, **params))["a"]
    assert found.masks is not None
    expected = np.zeros((H, W), int)
    for number, (_, (x0, y0, x1, y1)) in enumerate(BOXES["a"], 1):
        expected[y0:y1, x0:x1] = number
    assert np.array_equal(found.masks()[0], expected)
    data = opened(kind, tmp_path, "segment", ("background", *LABELS), **params)
    (item,) = [item for item in data.items() if Path(item.id).stem == "a"]
    assert np.array_equal(data.load(item).target, expected)


@pytest.mark.parametrize("kind", ["yolo", "labelme", "cvat", "label-studio"])
def test_a_box_is_no_outline(kind: str, tmp_path: Path) -> None:
    data = opened(kind, tmp_path, "segment", ("background", *LABELS), **WRITERS[kind](tmp_path))
    with pytest.raises(UserError, match="is a box without an outline"):
        [data.load(item) for item in data.items()]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_label_that_the_recipe_lacks_is_named(kind: str, tmp_path: Path) -> None:
    data = opened(kind, tmp_path, labels=("cell",), **WRITERS[kind](tmp_path))
    with pytest.raises(UserError, match="the label 'speck' is not one of cell"):
        [data.load(item) for item in data.items()]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.2", "is no polygon"),
        ("0 0.5 0.5 0.2 0.2 0.9", "score of a prediction"),
        ("7 0.5 0.5 0.2 0.2", "the class 7 has no name"),
        ("0 40 32 10 10", "beyond 0 to 1"),
        ("cell 0.5 0.5 0.2 0.2", "is not a row of numbers"),
        ("0.5 0.5 0.5 0.2 0.2", "the class 0.5 has no name"),
    ],
)
def test_yolo_says_which_line_is_wrong(line: str, said: str, tmp_path: Path) -> None:
    yolo(tmp_path)
    (tmp_path / "labels" / "train" / "b.txt").write_text(f"0 0.5 0.5 0.1 0.1\n{line}\n")
    with pytest.raises(UserError, match=said) as error:
        opened("yolo", tmp_path).items()
    assert "b.txt:2" in str(error.value) or "line 2" in str(error.value)


def test_yolo_parts_lists_and_roboflows_paths(tmp_path: Path) -> None:
    for part in ("train", "valid"):
        pictures(tmp_path / part / "images")
        (tmp_path / part / "labels").mkdir()
        (tmp_path / part / "labels" / "a.txt").write_text("1 0.5 0.5 0.25 0.25\n")
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\nnames: [cell, speck]\n"
    )
    data = opened("yolo", tmp_path)
    parts = [item.part for item in data.items()]
    assert parts.count("train") == 3
    assert parts.count("val") == 3
    assert any("test is ../test/images" in note.text for note in data.notes())  # type: ignore[attr-defined]


def test_labelme_groups_circles_masks_and_lines(tmp_path: Path) -> None:
    pictures(tmp_path)
    crop = np.zeros((6, 5), np.uint8)
    crop[1:, 2:] = 255
    packed = io.BytesIO()
    Pillow.fromarray(crop).save(packed, "PNG")
    shapes = [
        {"label": "cell", "points": [[2, 2], [8, 2], [8, 8], [2, 8]], "shape_type": "polygon", "group_id": 1},
        {"label": "cell", "points": [[12, 2], [18, 2], [18, 8], [12, 8]], "shape_type": "polygon", "group_id": 1},
        {"label": "speck", "points": [[40, 30], [50, 30]], "shape_type": "circle"},
        {"label": "speck", "points": [[20, 40], [25, 46]], "shape_type": "mask"},
        {"label": "speck", "points": [[1, 1], [5, 5]], "shape_type": "line"},
    ]
    shapes[3]["mask"] = base64.b64encode(packed.getvalue()).decode()
    (tmp_path / "a.json").write_text(json.dumps({"imagePath": "a.png", "imageData": None, "shapes": shapes}))
    data = opened("labelme", tmp_path)
    (item,) = data.items()
    sample = data.load(item)
    assert isinstance(sample.target, Objects)
    assert sample.target.masks is not None
    layers = sample.target.masks()
    assert [int((layers == k + 1).sum()) for k in range(3)][::2] == [72, 15]
    assert abs(int((layers == 2).sum()) - np.pi * 100) < 12
    np.testing.assert_array_equal(sample.target.boxes[[0, 2]], [[2, 2, 18, 8], [22, 41, 25, 46]])
    assert "1 points or lines" in sample.notes[0].text
    assert "2 pictures have no JSON file" in data.notes()[0].text  # type: ignore[attr-defined]


def test_cvat_masks_and_turned_boxes(tmp_path: Path) -> None:
    pictures(tmp_path)
    shapes = (
        '<mask label="cell" rle="1,2,3,3" left="10" top="20" width="3" height="3"/>'
        '<box label="speck" xtl="30" ytl="20" xbr="50" ybr="30" rotation="90"/>'
        '<points label="speck" points="1,1"/>'
    )
    head = f'<image id="0" name="a.png" subset="Validation" width="{W}" height="{H}">'
    (tmp_path / "annotations.xml").write_text(f"<annotations>{head}{shapes}</image></annotations>")
    data = opened("cvat", tmp_path)
    (item,) = data.items()
    assert item.part == "val"
    target = data.load(item).target
    assert isinstance(target, Objects)
    assert target.masks is not None
    np.testing.assert_allclose(target.boxes[1], [35, 15, 45, 35], atol=1e-4)
    assert np.array_equal(target.masks()[0][20:23, 10:13], [[0, 1, 1], [0, 0, 0], [1, 1, 1]])


def test_a_video_of_cvat_says_what_to_export(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "annotations.xml").write_text('<annotations><track id="0" label="cell"/></annotations>')
    with pytest.raises(UserError, match="CVAT for images"):
        opened("cvat", tmp_path).items()


@pytest.mark.parametrize("shape", [(7, 9), (64, 80)])
def test_brush_strokes_come_back(shape: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.7
    assert np.array_equal(decode_brush(encode_brush(mask), shape, where="here"), mask)
    with pytest.raises(UserError, match="not 4 x 9 x 9"):
        decode_brush(encode_brush(mask), (9, 9), where="here")


def test_two_annotators_are_never_guessed(tmp_path: Path) -> None:
    label_studio(tmp_path)
    tasks = json.loads((tmp_path / "project.json").read_text())
    tasks[0]["annotations"].append({"completed_by": {"email": "b@x.org"}, "result": []})
    tasks[1]["annotations"] = []
    (tmp_path / "project.json").write_text(json.dumps(tasks))
    with pytest.raises(UserError, match=r"2 annotations, by 1, b@x\.org"):
        opened("label-studio", tmp_path).items()
    data = opened("label-studio", tmp_path, annotator="1")
    assert [Path(item.id).stem for item in data.items()] == ["a", "c"]
    assert "1 tasks have no finished annotation" in data.notes()[0].text  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("image_id,x,y,w,h,finding", "a.png,10,8,20,16,cell"),
        ("path;x1;y1;x2;y2;label", "a.png;10;8;30;24;cell"),
        ("filename,width,height,class,xmin,ymin,xmax,ymax", f"a.png,{W},{H},cell,10,8,30,24"),
        ("", "a.png,10,8,30,24,cell"),
        ("file,x0,y0,x1,y1,label,patient_id,split", "a.png,10,8,30,24,cell,p7,test"),
    ],
)
def test_tables_of_boxes_as_they_are_met(head: str, row: str, tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    (tmp_path / "boxes.csv").write_text("\n".join(filter(None, [head, row])))
    data = opened("csv-boxes", tmp_path, table="boxes.csv")
    (item,) = data.items()
    target = data.load(item).target
    assert isinstance(target, Objects)
    assert target.boxes.tolist() == [[10, 8, 30, 24]]
    if "patient_id" in head:
        assert (item.groups["patient"], item.part) == ("p7", "test")


def test_a_table_without_a_column_of_boxes_lists_what_it_has(tmp_path: Path) -> None:
    pictures(tmp_path)
    (tmp_path / "boxes.csv").write_text("image,label\na.png,cell\n")
    with pytest.raises(UserError, match="no column is x0; it has image, label"):
        opened("csv-boxes", tmp_path, table="boxes.csv").items()
    (tmp_path / "boxes.csv").write_text("image,lo_x,lo_y,hi_x,hi_y,label\na.png,1,2,3,4,cell\n")
    names: dict[str, str] = {"x0": "lo_x", "y0": "lo_y", "x1": "hi_x", "y1": "hi_y"}
    assert len(opened("csv-boxes", tmp_path, table="boxes.csv", columns=names).items()) == 1


def test_holes_and_classes_of_qupath(tmp_path: Path) -> None:
    pictures(tmp_path)
    hole = [[*corners((10, 10, 40, 40)), (10, 10)], [*corners((20, 20, 30, 30)), (20, 20)]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": hole}, "properties": {}}
    (tmp_path / "a.png.geojson").write_text(json.dumps([feature]))
    with pytest.raises(UserError, match="feature 1 has no class"):
        opened("qupath", tmp_path).items()
    target = objects(opened("qupath", tmp_path, unclassified="cell"))["a"]
    assert target.masks is not None
    assert int((target.masks() > 0).sum()) == 900 - 100


def test_masks_beside_pictures(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    for folder in ("masks", "cell", "speck"):
        (tmp_path / folder).mkdir()
    map_ = np.zeros((H, W), np.uint8)
    map_[5:20, 5:20], map_[10:30, 10:30] = 1, 2
    for name in "abc":
        Pillow.fromarray(map_).save(tmp_path / "masks" / f"{name}.png")
    first = np.zeros((H, W), np.uint8)
    first[5:20, 5:20] = 255
    Pillow.fromarray(first).save(tmp_path / "cell" / "a.png")
    Pillow.fromarray((map_ == 2).astype(np.uint8)).save(tmp_path / "speck" / "a.png")
    labels = ("background", *LABELS)
    one = opened("picture-masks", tmp_path, "segment", labels, image="images/{name}.png", mask="masks/{name}.png")
    assert np.array_equal(one.load(one.items()[0]).target, map_)
    masks = {"cell": "cell/{name}.png", "speck": "speck/{name}.png"}
    several = opened("picture-masks", tmp_path, "segment", labels, image="images/{name}.png", masks=masks)
    sample = several.load(several.items()[0])
    assert np.array_equal(sample.target, map_)
    assert "100 pixels lie in masks of two labels" in sample.notes[0].text
    assert not np.any(several.load(several.items()[1]).target)
    (tmp_path / "masks" / "b.png").unlink()
    with pytest.raises(UserError, match=r"b.png: has no mask masks/b.png"):
        opened("picture-masks", tmp_path, "segment", labels, image="images/{name}.png", mask="masks/{name}.png").items()


def test_shades_of_a_jpeg_are_no_mask(tmp_path: Path) -> None:
    pictures(tmp_path / "images")
    (tmp_path / "masks").mkdir()
    shaded = np.linspace(0, 255, W * H).reshape(H, W).astype(np.uint8)
    Pillow.fromarray(shaded).save(tmp_path / "masks" / "a.png")
    params = {"image": "images/{name}.png", "mask": "masks/{name}.png", "empty": True}
    data = opened("picture-masks", tmp_path, "segment", ("background", "cell"), **params)
    with pytest.raises(UserError, match="a mask has two"):
        data.load(data.items()[0])


def test_a_slide_is_read_in_tiles(tmp_path: Path) -> None:
    pytest.importorskip("tiffslide")
    from tifffile import imwrite

    slide = np.full((512, 768, 3), 250, np.uint8)
    slide[100:200, 300:420] = np.random.default_rng(0).integers(60, 160, (100, 120, 3))
    imwrite(tmp_path / "a.tif", slide, tile=(128, 128), photometric="rgb")
    ring = [*corners((300, 100, 420, 200)), (300, 100)]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    feature["properties"] = {"classification": {"name": "cell"}}
    (tmp_path / "a.geojson").write_text(json.dumps([feature]))
    data = opened("qupath", tmp_path, tile=256)
    tiles = {item.id: data.load(item) for item in data.items()}
    assert set(tiles) == {"a.tif#256,0"}  # the others are blank
    sample = tiles["a.tif#256,0"]
    assert np.array_equal(sample.image.array, slide[:256, 256:512].transpose(2, 0, 1))
    assert isinstance(sample.target, Objects)
    assert sample.target.boxes.tolist() == [[44, 100, 164, 200]]
    (half,) = opened("qupath", tmp_path, tile=128, downsample=2).items()
    assert half.id == "a.tif#128,0"
