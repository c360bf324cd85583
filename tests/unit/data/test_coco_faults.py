"""Faults of COCO files: each is named with its place, or read rightly."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.data.audit.audit import audit
from medzoo.data.audit.report import Audit
from medzoo.data.dataset import Objects
from medzoo.data.layouts import coco
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.recipe.split import SplitSection

COUNT = 6
Change = Callable[[dict[str, Any]], Any]


def document() -> dict[str, Any]:
    images = [{"id": k + 1, "file_name": f"{k}.png", "width": 80, "height": 64} for k in range(COUNT)]
    boxes = [[30 + k, 20, 20, 30 + k] for k in range(COUNT)]
    rows = [
        {"id": k + 1, "image_id": k + 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        for k, box in enumerate(boxes)
    ]
    return {"images": images, "annotations": rows, "categories": [{"id": 1, "name": "cell"}]}


def opened(root: Path, change: Change | None = None, *, raw: bytes | None = None, **params: Any) -> coco.Coco:
    (root / "images").mkdir(exist_ok=True)
    for k in range(COUNT):
        noise = np.random.default_rng(k).integers(0, 255, (64, 80), np.uint8)
        Pillow.fromarray(noise).save(root / "images" / f"{k}.png")
    content = copy.deepcopy(document())
    if change is not None:
        change(content)
    (root / "annotations.json").write_bytes(json.dumps(content).encode() if raw is None else raw)
    return coco.Coco(coco.Params(root=root, **params), ["cell"])


def audited(data: coco.Coco) -> Audit:
    return audit(data, make_split(data.items(), SplitSection(group="image", train=4, val=1, test=1)))


def each(key: str, change: Callable[[dict[str, Any]], Any]) -> Change:
    return lambda content: [change(row) for row in content[key]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["images"][1].update(id=1), "the image id 1 is used twice, for '0.png' and '1.png'"),
        (lambda d: d["images"][1].update(id="1"), "the image id 1 is used twice"),
        (lambda d: d["images"][1].update(id=1.0), "the image id 1 is used twice"),
        (lambda d: d["categories"].append({"id": 1, "name": "speck"}), "the category id 1 is used twice"),
        (lambda d: d["annotations"][3].update(id=1), "two annotations have the id 1"),
        (lambda d: d["annotations"][0].update(image_id=[1]), "image_id of annotation 1 is .1."),
        (lambda d: d["annotations"][0].update(image_id=True), "image_id of annotation 1 is True"),
        (lambda d: d["annotations"][0].update(image_id=1.5), "image_id of annotation 1 is 1.5"),
        (lambda d: d["annotations"][0].update(image_id=99), "annotation 1 belongs to image 99, which is not listed"),
        (
            lambda d: d["annotations"][0].update(category_id=9),
            "annotation 1 belongs to category 9, which is not listed",
        ),
        (lambda d: d["annotations"][0].update(iscrowd="maybe"), "iscrowd of annotation 1 is 'maybe'"),
        (lambda d: d["annotations"][0].update(iscrowd=[0]), "iscrowd of annotation 1 is .0."),
        (lambda d: d["annotations"][0].update(iscrowd=2), "iscrowd of annotation 1 is 2"),
        (lambda d: d["annotations"][0].pop("bbox"), "annotation 1 has no bbox"),
        (lambda d: d["annotations"].append(None), "an entry has no 'image_id': None"),
        (lambda d: d["images"][0].update(file_name=None), "the image 1 has an invalid file_name: None"),
        (lambda d: d["images"][0].update(file_name="._0.png"), "lists '._0.png', which is a hidden file"),
        (lambda d: d["images"][0].update(file_name="zz.png"), "zz.png: no such file"),
        (lambda d: d["images"][0].update(width="wide"), "gives a size of 'wide' x 64"),
        (lambda d: d["images"][0].update(width=-80), "gives a size of -80 x 64"),
        (each("images", lambda row: row.update(file_name="images/" + row["file_name"])), "set data.images=."),
    ],
)
def test_faults_of_the_document_are_named(tmp_path: Path, change: Change, said: str) -> None:
    with pytest.raises(UserError, match=said):
        opened(tmp_path, change).items()


@pytest.mark.parametrize(
    "change",
    [
        each("annotations", lambda row: row.update(image_id=str(row["image_id"]))),
        each("annotations", lambda row: row.update(image_id=float(row["image_id"]), category_id="1")),
        each("categories", lambda row: row.update(id="1.0")),
        each("annotations", lambda row: row.update(iscrowd="0")),
        each("annotations", lambda row: row.update(iscrowd=False)),
        each("annotations", lambda row: row.pop("iscrowd")),
        each("annotations", lambda row: row.pop("id")),
        each("images", lambda row: row.update(width="80.0", height=64.0)),
        each("images", lambda row: row.update(width=0, height=0)),
        each("images", lambda row: row.pop("width") and row.pop("height")),
    ],
)
def test_other_writings_are_read_rightly(tmp_path: Path, change: Change) -> None:
    data, plain = opened(tmp_path, change), document()
    for item, row in zip(data.items(), plain["annotations"], strict=True):
        x, y, w, h = row["bbox"]
        assert data.load(item).target.boxes.tolist() == [[x, y, x + w, y + h]]  # type: ignore[union-attr]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_the_byte_order_are_read(tmp_path: Path, encoding: str) -> None:
    assert len(opened(tmp_path, raw=json.dumps(document()).encode(encoding)).items()) == COUNT


def test_windows_separators(tmp_path: Path) -> None:
    change = each("images", lambda row: row.update(file_name="images\\" + row["file_name"]))
    data = opened(tmp_path, change, images=".")
    assert [item.files["image"].is_file() for item in data.items()] == [True] * COUNT


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (
            each("annotations", lambda r: r.update(bbox=[v / s for v, s in zip(r["bbox"], (80, 64) * 2, strict=True)])),
            "box-scale",
            "all 6 boxes lie between 0 and 1",
        ),
        (each("annotations", lambda r: r.update(bbox=[40.2, 30.1, 0.3, 0.4])), "box-scale", "smaller than a pixel"),
        (
            lambda d: d["annotations"][2].update(bbox=[3, 3, 9, 0.5]),
            "box-scale",
            "1 of 1 boxes are narrower than a pix",
        ),
        (lambda d: d["annotations"].append(dict(d["annotations"][0], id=50)), "repeated-box", "1 of 2 boxes repeat"),
        (lambda d: d["annotations"][0].update(bbox=[-0.6, 10, 5, 5]), "clipped", "clipped to the image: 1"),
        (lambda d: d["annotations"][0].update(bbox=[70.4, 10, 9.7, 20]), "clipped", "clipped to the image: 1"),
        (lambda d: d["annotations"][0].update(bbox=[70, 10, 5, 55]), "clipped", "clipped to the image: 1"),
        (
            each(
                "annotations", lambda r: r.update(bbox=[*r["bbox"][:2], *np.add(r["bbox"][:2], r["bbox"][2:]).tolist()])
            ),
            "box-form",
            "look like two corners",
        ),
        (lambda d: d["annotations"][0].update(iscrowd="1"), "crowd", "1 of 1 boxes mark crowds"),
    ],
)
def test_the_audit_tells(tmp_path: Path, change: Change, kind: str, said: str) -> None:
    assert not audited(opened(tmp_path)).findings
    found = audited(opened(tmp_path, change))
    assert any(finding.kind == kind and said in finding.text for finding in found.findings), found.findings


@pytest.mark.parametrize(
    "box", [[70, 10, 12, 5], [-2, 0, 8, 8], [80.2, 3, 0.5, 5], [float("nan"), 1, 2, 3], [1, 2, 3, 4, 5]]
)
def test_what_is_no_rounding_is_refused(tmp_path: Path, box: list[float]) -> None:
    data = opened(tmp_path, lambda d: d["annotations"][0].update(bbox=box))
    with pytest.raises(UserError, match=r"annotation 1 of 0.png"):
        data.load(data.items()[0])


def test_a_crowd_is_beside_the_objects(tmp_path: Path) -> None:
    data = opened(tmp_path, lambda d: d["annotations"][0].update(iscrowd=1))
    target = data.load(data.items()[0]).target
    assert isinstance(target, Objects)
    assert len(target.boxes) == 0
    assert target.ignored is not None
    assert target.ignored.crowd
    every = opened(tmp_path, lambda d: d["annotations"][0].update(iscrowd=1), crowds=True)
    assert len(every.load(every.items()[0]).target.boxes) == 1  # type: ignore[union-attr]


def test_a_training_says_what_is_wrong_with_all_boxes(tmp_path: Path) -> None:
    change = each("annotations", lambda row: row.update(bbox=[0.2, 0.3, 0.1, 0.2]))
    assert audited(opened(tmp_path)).warnings() == []
    (warning,) = audited(opened(tmp_path, change)).warnings()
    assert "all 6 boxes lie between 0 and 1" in warning


@pytest.mark.parametrize("raw", [b"l\xff.png", b"\x80\xfe.png", "x\n\u202e\x1b[2J.png".encode()])
def test_any_name_of_a_file_can_be_split_and_audited(tmp_path: Path, raw: bytes) -> None:
    name = os.fsdecode(raw)
    data = opened(tmp_path, lambda content: content["images"][0].update(file_name=name))
    (tmp_path / "images" / "0.png").rename(tmp_path / "images" / name)
    found = audited(data)
    assert found.images == COUNT
    assert not found.unread
