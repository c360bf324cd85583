"""The audit: planted leaks and faults are each found, and a clean set is clean."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw
from scipy.ndimage import gaussian_filter

from medzoo.data.audit.audit import audit
from medzoo.data.audit.burnt_in import has_burnt_in_text
from medzoo.data.dataset import Item, Sample
from medzoo.data.layouts import image_folder
from medzoo.data.public import busi, mni152
from medzoo.data.split import make_split
from medzoo.types import Image


@dataclass(frozen=True)
class Given:
    group: str = "none"
    given: bool = True
    train: float | None = None
    val: float | None = None
    test: float | None = None
    seed: int = 0
    stratify: bool = True
    folds: int | None = None
    fold: int | None = None


def texture(seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    picture = sum(gaussian_filter(draw.standard_normal((160, 200)), s) * s for s in (1.5, 4, 12, 30))
    return np.clip(90 + 12 * picture, 0, 190).astype(np.uint8)


def folder(root: Path) -> Path:
    for k in range(24):
        path = root / ("train" if k < 16 else "test") / ("cat" if k % 2 else "dog") / f"p{k:02d}_{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(texture(k)).save(path)
    return root


def audited(root: Path, **params: str) -> dict:
    data = image_folder.ENTRY.open(image_folder.Params(root=root, **params), "classify", ["cat", "dog"])
    return audit(data, make_split(data.items(), Given())).to_json()


def test_a_clean_set_is_clean(tmp_path: Path) -> None:
    document = audited(folder(tmp_path), patient="^([^_]+)_")
    assert document.pop("unread") == []
    assert document == {"images": 24, "splits": {"train": 16, "val": 0, "test": 8}, "leaks": [], "findings": []}


def test_planted_leaks_are_reported_by_kind(tmp_path: Path) -> None:
    root = folder(tmp_path)
    shutil.copy(root / "train/dog/p00_0.png", root / "test/cat/p90_copy.png")
    Pillow.fromarray(texture(1)[10:150, 20:190]).save(root / "test/cat/p91_crop.png")
    Pillow.fromarray(texture(99)).save(root / "test/cat/p03_other.png")
    document = audited(root, patient="^([^_]+)_")
    found = {(leak["kind"], Path(leak["a"]).name, Path(leak["b"]).name) for leak in document["leaks"]}
    assert found == {
        ("identical", "p00_0.png", "p90_copy.png"),
        ("near", "p01_1.png", "p91_crop.png"),
        ("patient", "p03_3.png", "p03_other.png"),
    }
    identical = next(leak for leak in document["leaks"] if leak["kind"] == "identical")
    assert identical["splits"] == ["train", "test"]
    assert identical["labels"] == ["dog", "cat"]
    conflicts = [f for f in document["findings"] if f["kind"] == "label-conflict"]
    assert [Path(f["image"]).name for f in conflicts] == ["p00_0.png"]


def test_findings_in_single_images(tmp_path: Path) -> None:
    root = folder(tmp_path)
    (root / "train/dog/p00_0.png").write_bytes(b"\x89PNG\r\n")
    Pillow.fromarray(np.full((160, 200), 7, np.uint8)).save(root / "train/dog/p02_2.png")
    lettered = Pillow.fromarray(texture(4) // 3)
    ImageDraw.Draw(lettered).text((20, 30), "LEFT BREAST", fill=255, font_size=18)
    lettered.save(root / "train/dog/p04_4.png")
    shutil.copy(root / "train/dog/p06_6.png", root / "train/dog/p99_6.png")
    kinds = {(f["kind"], Path(f["image"]).name) for f in audited(root)["findings"]}
    assert {
        ("unreadable", "p00_0.png"),
        ("intensity", "p02_2.png"),
        ("burnt-in-text", "p04_4.png"),
        ("duplicate", "p06_6.png"),
    } <= kinds
    assert not {k for k in kinds if k[0] == "burnt-in-text"} - {("burnt-in-text", "p04_4.png")}


def test_empty_masks_and_rare_classes(tmp_path: Path) -> None:
    for k in range(23):
        label = "malignant" if k < 2 else "benign"
        path = tmp_path / label / f"{label} ({k}).png"
        path.parent.mkdir(exist_ok=True)
        Pillow.fromarray(texture(k)).save(path)
        mask = np.zeros((160, 200), np.uint8)
        mask[20:40, 20:60] = 255 * (k != 5)
        Pillow.fromarray(mask).save(tmp_path / label / f"{label} ({k})_mask.png")
    data = busi.ENTRY.open(busi.Params(root=tmp_path), "segment", ["background", "lesion"])
    split = make_split(data.items(), Given(group="image", given=False, val=0.2, test=0.2))
    findings = audit(data, split).findings
    assert ("empty-mask", "benign (5).png") in {(f.kind, Path(f.image).name) for f in findings}
    assert Counter(f.text for f in findings if f.kind == "class-balance")["21 images are benign, only 2 are malignant"]


def test_text_is_distinguished_from_tissue() -> None:
    tissue = texture(0)
    assert not has_burnt_in_text(tissue)
    assert not has_burnt_in_text(np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8))
    for size in (12, 16, 24):
        picture = Pillow.fromarray(tissue)
        ImageDraw.Draw(picture).text((10, 120), "12:40 RAD", fill=255, font_size=size)
        assert has_burnt_in_text(np.asarray(picture)), size


def test_busi_leaks_under_a_random_split(shared_data: Path) -> None:
    data = busi.ENTRY.open(busi.Params(root=shared_data / "busi"), "classify", ["benign", "malignant", "normal"])
    items = data.items()
    random = audit(data, make_split(items, Given(given=False, val=0.15, test=0.15)))
    assert sum(leak.kind == "near" for leak in random.leaks) > 50
    assert any(f.kind == "duplicate" or f.kind == "label-conflict" for f in random.findings)


def test_slabs_of_one_volume_are_no_near_duplicates() -> None:
    data = mni152.ENTRY.open(mni152.Params(), "segment", mni152.LABELS)
    document = audit(data, make_split(data.items(), Given(group="block"))).to_json()
    assert document.pop("unread") == []
    assert document == {"images": 12, "splits": {"train": 8, "val": 2, "test": 2}, "leaks": [], "findings": []}


class Drawn:
    """Outlines of two people at their own places in the scanner, whose pictures are alike; `again`: at one place."""

    labels = ("benign", "malignant")

    def __init__(self, *, again: bool) -> None:
        self.places = {"first": 10.0, "second": 10.0 if again else 200.0}

    def items(self) -> list[Item]:
        return [Item(name, {}, {"patient": name}, part="train" if name == "first" else "test") for name in self.places]

    def load(self, item: Item) -> Sample:
        points = np.array([[0.0, 0], [0, 4], [4, 4], [4, 0]]) + self.places[item.id]
        picture = np.pad(np.full((1, 20, 20), 255, np.uint8), ((0, 0), (6, 6), (6, 6)))
        return Sample(item, Image(picture, None, item.id, {"outlines_mm": {0: [(1.0, points)]}}), 0)


def test_equal_outlines_are_found_by_their_points() -> None:
    for again in (False, True):
        data = Drawn(again=again)
        found = audit(data, make_split(data.items(), Given(group="patient")))  # type: ignore[arg-type]
        assert [leak.kind for leak in found.leaks] == (["identical"] if again else [])
