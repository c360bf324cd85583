"""BUS-BRA as it is published, and several sets of pictures together."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import ValidationError

from medzoo.data.dataset import Objects
from medzoo.data.layouts import sources
from medzoo.data.public import busbra
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.recipe.split import SplitSection

ROWS = [
    {"ID": "bus_0001-l", "Case": "1", "Pathology": "benign", "Device": "A"},
    {"ID": "bus_0001-r", "Case": "1", "Pathology": "malignant", "Device": "A"},
    {"ID": "bus_0002-s", "Case": "2", "Pathology": "malignant", "Device": "B"},
]


def write_set(root: Path, rows: list[dict[str, str]] = ROWS) -> Path:
    (root / "Images").mkdir(parents=True)
    (root / "Masks").mkdir()
    with (root / "bus_data.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["ID", "Case", "Histology", "Pathology", "BIRADS", "Device", "Side"])
        table.writeheader()
        table.writerows({"Histology": "cyst", "BIRADS": "2", "Side": "left", **row} for row in rows)
    rng = np.random.default_rng(0)
    for n, row in enumerate(rows):
        mask = np.zeros((40, 60), np.uint8)
        mask[5 : 15 + n, 20:40] = 255
        mask[30, 3] = 255  # a stray pixel
        Pillow.fromarray(rng.integers(0, 255, (40, 60), np.uint8)).save(root / "Images" / f"{row['ID']}.png")
        Pillow.fromarray(mask).save(root / "Masks" / f"{row['ID'].replace('bus_', 'mask_')}.png")
    return root


def opened(root: Path, task: str = "detect", labels: tuple[str, ...] = ("lesion",)) -> busbra.BusBra:
    return busbra.BusBra(busbra.Params(root=root), task, labels)


def test_busbra_gives_box_mask_patient_and_scanner(tmp_path: Path) -> None:
    data = opened(write_set(tmp_path))
    items = data.items()
    assert [item.groups["patient"] for item in items] == ["1", "1", "2"]
    assert [item.groups["device"] for item in items] == ["A", "A", "B"]
    assert items[0].facts == {"device": "A", "birads": "2", "histology": "cyst", "side": "left"}
    target = data.load(items[2]).target
    assert isinstance(target, Objects)
    assert target.masks is not None
    assert target.boxes.tolist() == [[20, 5, 40, 17]]
    assert (target.masks() == 1).sum() == 12 * 20  # the largest part alone


def test_busbra_gives_classes_and_label_maps(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    classes = opened(root, "classify", ("benign", "malignant"))
    assert [classes.load(item).target for item in classes.items()] == [0, 1, 1]
    maps = opened(root, "segment", ("background", "benign", "malignant"))
    assert [int(np.max(maps.load(item).target)) for item in maps.items()] == [1, 2, 2]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ({"Pathology": "odd"}, "'odd' is not a pathology"),
        ({"Case": ""}, "names no patient"),
        ({"ID": "bus_0002-s"}, "occurs twice"),
    ],
)
def test_busbra_names_the_row_that_is_wrong(tmp_path: Path, damage: dict[str, str], words: str) -> None:
    rows = [ROWS[0] | damage, ROWS[2]]
    with pytest.raises(UserError, match=words):
        opened(write_set(tmp_path, rows)).items()


def test_busbra_names_a_missing_picture_and_an_empty_mask(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    Pillow.new("L", (60, 40)).save(root / "Masks" / "mask_0002-s.png")
    data = opened(root)
    with pytest.raises(UserError, match="is an empty mask"):
        data.load(data.items()[2])
    (root / "Images" / "bus_0001-r.png").unlink()
    with pytest.raises(UserError, match=r"bus_0001-r\.png.*is listed in"):
        data.items()


def both(tmp_path: Path, **changes: str) -> sources.Sources:
    fields = {
        name: {"type": "busbra", "root": str(write_set(tmp_path / name)), "group": "patient", **changes}
        for name in ("here", "there")
    }
    return sources.Sources(sources.Params(sources=fields), "detect", ("lesion",))


def test_sources_keep_the_groups_of_each_apart(tmp_path: Path) -> None:
    data = both(tmp_path)
    items = data.items()
    assert [item.groups["group"] for item in items] == [*["here/1"] * 2, "here/2", *["there/1"] * 2, "there/2"]
    assert items[0].groups["source"] == "here"
    assert items[0].facts["device"] == "A"
    assert items[0].groups["near-duplicate"].startswith("here/")
    sample = data.load(items[-1])
    assert sample.item.id == "there/bus_0002-s.png"
    assert isinstance(sample.target, Objects)
    assert len(sample.target.boxes) == 1
    split = make_split(items, SplitSection(group="group", train=2, val=1, test=1))
    sides = [{name.split("-")[0] for name in part} for part in (split.train, split.val, split.test)]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 4


def test_sources_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no groups 'case'"):
        both(tmp_path, group="case").items()
    with pytest.raises(ValidationError, match="'bus' is no data type"):
        sources.Params(sources={"a": {"type": "bus", "group": "none"}})
    with pytest.raises(ValidationError, match="name the groups"):
        sources.Params(sources={"a": {"type": "busbra", "root": "here"}})
    with pytest.raises(ValidationError, match="root"):
        sources.Params(sources={"a": {"type": "busbra", "group": "patient"}})
