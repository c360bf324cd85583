"""A dataset written in another layout, whole, and read back to see that nothing was lost: yolo, coco, nnunet."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from medzoo import registry
from medzoo.data.dataset import Dataset, Item, Objects, Part, Sample
from medzoo.data.instances import areas_of
from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.imaging.polygons import one_ring, polygons
from medzoo.io import read_image, read_labels
from medzoo.io.formats import format_of, suffix
from medzoo.io.run_lengths import compressed, run_lengths
from medzoo.types import IGNORED, Array, Image

PARTS: tuple[Part, ...] = ("train", "val", "test")
_CLOSE = 1e-3  # pixels by which a box may move in text


@dataclass(frozen=True)
class Conversion:
    """Counts of a conversion: images by part, objects or labelled images, and how many were read back the same."""

    folder: Path
    form: str
    images: dict[str, int]
    objects: int
    ignored: int

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return {"folder": str(self.folder), "format": self.form, "images": self.images, "objects": self.objects}


Convert = Callable[[OpenData, str, Sequence[str], Path], None]


def convert(data: OpenData, form: str, *, task: str, labels: Sequence[str], folder: Path) -> Conversion:
    """Write the items of a split in another layout into a new folder; read it back, and compare every object.

    Raises UserError for a layout that cannot hold the data, a folder that holds something, and a difference.
    """
    if form not in FORMS:
        raise UserError(f"{form!r} is not one of {', '.join(FORMS)}", "--convert")
    write, tasks = FORMS[form]
    if task not in tasks:
        raise UserError(f"{form} is written of data to {' or '.join(tasks)}, not to {task}", "--convert")
    if folder.exists() and any(folder.iterdir()):
        raise UserError("holds files already", str(folder), "choose a new folder")
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        write(data, task, labels, beside)
        objects, ignored = _same(data, form, task, labels, beside)
        if folder.exists():
            folder.rmdir()
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return Conversion(folder, form, {part: len(data.part(part)) for part in PARTS}, objects, ignored)


def _to_yolo(data: OpenData, task: str, labels: Sequence[str], folder: Path) -> None:
    names = list(labels[1:] if task == "segment" else labels)
    written = _names(data)
    for part, item in _items(data):
        sample = data.data.load(item)
        _picture(sample, folder / "images" / part, written[item.id])
        height, width = sample.image.shape
        lines = []
        for number, ring, box in _shapes(sample):
            if ring is not None:
                values = (ring / [width, height]).ravel().tolist()
            else:
                x0, y0, x1, y1 = (float(v) for v in box)
                values = [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
            lines.append(" ".join([str(number), *map(repr, values)]))
        path = folder / "labels" / part / f"{written[item.id]}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines))
    document: dict[str, Any] = {"path": "."}
    document |= {part: f"images/{part}" for part in PARTS if (folder / "images" / part).is_dir()}
    document["names"] = dict(enumerate(names))
    (folder / "data.yaml").write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _to_coco(data: OpenData, task: str, labels: Sequence[str], folder: Path) -> None:
    written = _names(data)
    (folder / "annotations").mkdir()
    for part in PARTS:
        images: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for item in data.part(part):
            sample = data.data.load(item)
            path = _picture(sample, folder / "images" / part, written[item.id])
            height, width = sample.image.shape
            image = {"id": len(images) + 1, "file_name": path.name, "width": width, "height": height}
            images.append(image)
            assert isinstance(sample.target, Objects)
            masks = _masks(sample.target)
            for k, box in enumerate(sample.target.boxes.astype(float)):
                x0, y0, x1, y1 = box.tolist()
                row = {"id": len(rows) + 1, "image_id": image["id"], "category_id": int(sample.target.labels[k]) + 1}
                row |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0), "iscrowd": 0}
                if masks is not None:
                    counts = compressed(run_lengths(masks[k]))
                    row |= {"segmentation": {"size": [height, width], "counts": counts}, "area": int(masks[k].sum())}
                rows.append(row)
        if images:
            categories = [{"id": number, "name": label} for number, label in enumerate(labels, 1)]
            document = {"images": images, "annotations": rows, "categories": categories}
            (folder / "annotations" / f"{part}.json").write_text(json.dumps(document))


def _to_nnunet(data: OpenData, task: str, labels: Sequence[str], folder: Path) -> None:
    written, channels, ignored = _names(data), 1, False
    ending = ".nii.gz"
    for part, item in _items(data):
        sample = data.data.load(item)
        side = "Ts" if part == "test" else "Tr"
        ending = ".nii.gz" if sample.image.affine is not None else ".png"
        channels = sample.image.array.shape[0]
        target = np.asarray(sample.target, np.uint8)
        ignored |= bool((target == IGNORED).any())
        target = np.where(target == IGNORED, len(labels), target).astype(np.uint8)
        for name in ("images", "labels"):
            (folder / f"{name}{side}").mkdir(exist_ok=True)
        name = written[item.id]
        if ending == ".png":
            _png(sample.image.array, folder / f"images{side}" / f"{name}_0000.png", sample.image)
            _png(target[None], folder / f"labels{side}" / f"{name}.png", sample.image)
        else:
            for channel, array in enumerate(sample.image.array):
                _nifti(array, sample.image, folder / f"images{side}" / f"{name}_{channel:04d}.nii.gz")
            _nifti(target, sample.image, folder / f"labels{side}" / f"{name}.nii.gz")
    values = {label: number for number, label in enumerate(labels)}
    values |= {"ignore": len(labels)} if ignored else {}
    document = {
        "channel_names": {str(k): f"channel-{k}" for k in range(channels)},
        "labels": values,
        "numTraining": len(data.part("train")) + len(data.part("val")),
        "file_ending": ending,
    }
    (folder / "dataset.json").write_text(json.dumps(document, indent=1))
    split = [{part: [written[item.id] for item in data.part(part)] for part in ("train", "val")}]
    (folder / "splits_final.json").write_text(json.dumps(split, indent=1))


FORMS: dict[str, tuple[Convert, tuple[str, ...]]] = {
    "yolo": (_to_yolo, ("detect", "segment")),
    "coco": (_to_coco, ("detect",)),
    "nnunet": (_to_nnunet, ("segment",)),
}


def _items(data: OpenData) -> Iterator[tuple[Part, Item]]:
    for part in PARTS:
        yield from ((part, item) for item in data.part(part))


def _names(data: OpenData) -> dict[str, str]:
    """A file name for each item: its id with what no file system minds; numbered where two would be one."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for _, item in _items(data):
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", item.id.removesuffix(suffix(item.id))).strip("-.") or "image"
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{plain}-{number}", number + 1
        taken.add(name.lower())
        found[item.id] = name
    return found


def _masks(target: Objects) -> list[Array] | None:
    """The mask (H, W) of each object; None where they have none."""
    if target.masks is None or not len(target.boxes):
        return None
    layers = target.masks()
    return [(layers == k + 1).any(axis=0) for k in range(len(target.boxes))]


def _shapes(sample: Sample) -> Iterator[tuple[int, Array | None, Array]]:
    """Of each object the number of its label, its outline as one ring, and its box; of a label map of each label."""
    target = sample.target
    if isinstance(target, Objects):
        masks = _masks(target)
        for k, box in enumerate(target.boxes):
            ring = None if masks is None else one_ring(polygons(masks[k])).astype(float)
            yield int(target.labels[k]), ring, box
        return
    map_ = np.asarray(target)
    if (map_ == IGNORED).any():
        raise UserError("has pixels that are not scored, which polygons cannot say", sample.item.id, "use nnunet")
    for value in range(1, int(map_.max(initial=0)) + 1):
        if (map_ == value).any():
            yield value - 1, one_ring(polygons(map_ == value)).astype(float), np.zeros(4)


def _picture(sample: Sample, folder: Path, name: str) -> Path:
    """Copy a picture that is upright as it is stored, or write it as PNG."""
    if sample.image.affine is not None:
        raise UserError("is a volume, which this layout does not hold", sample.item.id, "use nnunet")
    folder.mkdir(parents=True, exist_ok=True)
    source = sample.item.files["image"]
    upright = int(sample.image.meta.get("exif_orientation", 1)) == 1
    if upright and format_of(source) == "picture" and read_image(source).array.shape == sample.image.array.shape:
        path = folder / f"{name}{source.suffix.lower()}"
        shutil.copyfile(source, path)
        return path
    path = folder / f"{name}.png"
    _png(sample.image.array, path, sample.image)
    return path


def _png(array: Array, path: Path, image: Image) -> None:
    from PIL import Image as Pillow

    if array.dtype not in (np.uint8, np.uint16) or (array.dtype == np.uint16 and len(array) > 1):
        raise UserError(f"has values of type {array.dtype}, which a PNG cannot hold", str(image.source or path.name))
    Pillow.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0)).save(path)


def _nifti(array: Array, image: Image, path: Path) -> None:
    import nibabel

    if array.dtype == np.int64:
        array = array.astype(np.int32 if np.abs(array).max(initial=0) < 2**31 else np.float64)
    nibabel.save(nibabel.Nifti1Image(array, image.affine), path)


def _same(data: OpenData, form: str, task: str, labels: Sequence[str], folder: Path) -> tuple[int, int]:
    """The objects (of label maps the labelled images) that were read back the same, and those that did not count.

    Raises UserError for the first that differs.
    """
    written = _names(data)
    back = _reopened(form, task, labels, folder)
    found = {Path(item.id).stem.removesuffix(".nii"): item for item in back.items()}
    objects = ignored = 0
    for part, item in _items(data):
        name, sample = written[item.id], data.data.load(item)
        if form == "nnunet" and part == "test":
            stored = read_labels(
                folder / "labelsTs" / f"{name}{'.nii.gz' if sample.image.affine is not None else '.png'}"
            )
            other: Any = np.where(stored.array[0] == len(labels), IGNORED, stored.array[0])
        else:
            other = back.load(found[name]).target
        if isinstance(sample.target, Objects):
            _compare(sample.target, other, item.id)
            objects += len(sample.target.boxes)
            ignored += 0 if sample.target.ignored is None else len(sample.target.ignored.boxes)
        else:
            if not np.array_equal(np.asarray(sample.target), other):
                raise UserError("the label map read back differs from the one written", item.id, "this is a bug")
            objects += 1
    return objects, ignored


def _reopened(form: str, task: str, labels: Sequence[str], folder: Path) -> Dataset:
    entry = registry.entry("data", form)
    params: dict[str, Any] = {"root": folder}
    if form == "coco":
        parts = [part for part in PARTS if (folder / "annotations" / f"{part}.json").is_file()]
        params["annotations"] = {part: f"annotations/{part}.json" for part in parts}
        params["images"] = {part: f"images/{part}" for part in parts}
    data: Dataset = entry.open(entry.params.model_validate(params), task, labels)
    return data


def _compare(first: Objects, second: Any, where: str) -> None:
    same = isinstance(second, Objects) and len(first.boxes) == len(second.boxes)
    if same and (first.masks is None or not len(first.boxes)):
        same = bool(np.abs(first.boxes - second.boxes).max(initial=0) < _CLOSE)
    elif same:
        before, after = _masks(first), _masks(second)
        same = after is not None and all(np.array_equal(a, b) for a, b in zip(before or [], after, strict=True))
        assert areas_of(first.masks(), len(first.boxes)).all() if first.masks else True
    if not same or not np.array_equal(first.labels, second.labels):
        raise UserError("the objects read back differ from those written", where, "this is a bug")
