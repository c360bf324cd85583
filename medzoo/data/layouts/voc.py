"""`voc`: Pascal VOC detection data, Annotations/*.xml, JPEGImages/, ImageSets/Main/{train,val,trainval,test}.txt, and
the masks of SegmentationObject/."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, get_args
from xml.etree import ElementTree

import numpy as np
from PIL import Image as Pillow
from pydantic import Field

from medzoo.data.annotation_files import read_xml
from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataEntry, DataParams, IgnoredObjects, Item, Note, Part, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.instances import stack_layers
from medzoo.data.objects import checked_objects
from medzoo.data.picture_size import PIXELS, Pixels, Size, on_picture, stated_size
from medzoo.data.sighting import Listing, Sighting
from medzoo.errors import UserError
from medzoo.io import read_image, read_labels
from medzoo.io.formats import FORMATS, stem, suffix
from medzoo.types import Array, Image

_SUFFIXES = {suffix for f in FORMATS if f.name in ("picture", "dicom") for suffix in f.suffixes}
_FLAG = re.compile(r"(?P<name>.+?)\s+(-1|0|1)")  # of a class set: the image holds the class, does not, is difficult
_NAMED = 3  # files that a note names


class Params(DataParams):
    """Parameters of `voc`: the folder, and the objects and boxes that are read."""

    root: Path = Field(description="folder that holds Annotations/ and JPEGImages/")
    images: str = Field(default="JPEGImages", description="folder of the pictures below the root")
    annotations: str = Field(default="Annotations", description="folder of the XML files below the root")
    clip: bool = Field(
        default=False, description="cut boxes to the image instead of refusing; drop those that are then empty"
    )
    difficult: bool = Field(
        default=False,
        description="take objects marked difficult as any others; else they are left out of training, and count "
        "neither as found nor as missed",
    )
    sets: dict[Part, tuple[str, ...]] | None = Field(
        default=None,
        description="names of the set files in ImageSets/Main for train, val and test; absent: train, val, trainval "
        "and test, or the class sets such as cell_train",
    )
    pixels: Pixels | None = Field(default=None, description=PIXELS)


@dataclass(frozen=True)
class _Object:
    """One object of an annotation: its label, xmin, ymin, xmax, ymax as written, and whether it is difficult."""

    label: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclass(frozen=True)
class _Annotation:
    objects: tuple[_Object, ...]
    filename: str
    size: Size | None


@dataclass(frozen=True)
class _Sets:
    """`parts`: the part of each image that the set files list (None: there are no set files), and what is noted."""

    parts: dict[str, Part] | None
    notes: tuple[Note, ...] = ()


class Voc:
    """VOC boxes: xmin, ymin, xmax, ymax count pixels from 1 and include the last one (VOC devkit), so the
    half-open box is [xmin - 1, ymin - 1, xmax, ymax]; a 0 among the lows is taken as the first pixel.

    Groups are "image" and "near-duplicate"; the parts are those of ImageSets/Main, where it is there. Of trainval.txt
    what one of train.txt and val.txt does not name is the other; alone, it is all train. Masks are those of
    SegmentationObject/NAME.png, where it is there.
    """

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.root, self.params, self.labels = params.root, params, tuple(labels)
        self.main = params.root / "ImageSets" / "Main"

    @cached_property
    def images(self) -> dict[str, Path]:
        """Image path by the stem that its annotation shares. Raises UserError for two images of one stem."""
        folder = self.root / self.params.images
        found: dict[str, Path] = {}
        for path in sorted(folder.glob("*")):
            if suffix(path) not in _SUFFIXES or is_hidden(path.name):
                continue
            if (other := found.setdefault(stem(path), path)) != path:
                raise UserError(
                    f"has the same name as {other.name}", str(path), "an annotation belongs to one image; rename one"
                )
        if not found:
            raise UserError("has no images", str(folder), "a VOC folder has JPEGImages and Annotations")
        return found

    @cached_property
    def near_duplicates(self) -> dict[str, str]:
        """The near-duplicate group of every image."""
        return near_duplicate_groups(self.images)

    @cached_property
    def sets(self) -> _Sets:
        """The parts that ImageSets/Main gives."""
        return self._named_sets() if self.params.sets is not None else self._own_sets()

    def items(self) -> Sequence[Item]:
        """Images that are in one of the sets, if sets are given, by name. Raises UserError for one that has no
        annotation."""
        parts = self.sets.parts
        items = []
        for name, image in self.images.items():
            if parts is not None and name not in parts:
                continue
            annotation = self.root / self.params.annotations / f"{name}.xml"
            if not annotation.is_file():
                raise UserError("has no annotation", str(image), f"{annotation.name} is missing")
            groups = NearGroups({"image": name}, name, lambda: self.near_duplicates)
            files = {"image": image, "annotation": annotation}
            outlines = self.root / "SegmentationObject" / f"{name}.png"
            if outlines.is_file():
                files["mask"] = outlines
            items.append(Item(name, files, groups, part=None if parts is None else parts[name]))
        return items

    def notes(self) -> Sequence[Note]:
        """Images that no set lists, annotations without an image, files of no known format, and set files unread."""
        notes = list(self.sets.notes)
        if self.sets.parts is not None:
            unlisted = [path.name for name, path in self.images.items() if name not in self.sets.parts]
            notes += _note(unlisted, "is in no set of ImageSets/Main and left out", "are in no set and left out")
        annotated = sorted((self.root / self.params.annotations).glob("*.xml"))
        alone = [path.name for path in annotated if not is_hidden(path.name) and path.stem not in self.images]
        notes += _note(alone, "is an annotation without an image", "are annotations without an image")
        folder = self.params.images
        others = sorted(p.name for p in (self.root / folder).iterdir() if suffix(p) not in _SUFFIXES and p.is_file())
        others = [name for name in others if not is_hidden(name) and not name.endswith(".xml")]
        notes += _note(others, f"in {folder} is of no format that is read", f"in {folder} are of no format read")
        return notes

    def _named_sets(self) -> _Sets:
        assert self.params.sets is not None
        members: dict[Part, list[tuple[str, Path]]] = {}
        for part, names in self.params.sets.items():
            paths = [self.main / (name if name.endswith(".txt") else f"{name}.txt") for name in names]
            for path in paths:
                if not path.is_file():
                    raise UserError("no such file", str(path), "check data.sets")
            members[part] = [(name, path) for path in paths for name in self._members(path)]
        return _Sets(_parts(members))

    def _own_sets(self) -> _Sets:
        files = {p.stem: p for p in sorted(self.main.glob("*.txt")) if not is_hidden(p.name)}
        wanted = (*get_args(Part), "trainval")
        chosen = {name: [files[name]] for name in wanted if name in files}
        if not chosen:  # the sets of the classes, which each list all images of a part
            chosen = {name: [p for s, p in files.items() if s.endswith(f"_{name}")] for name in wanted}
            chosen = {name: paths for name, paths in chosen.items() if paths}
        read = {path for paths in chosen.values() for path in paths}
        unread = [path.name for name, path in files.items() if path not in read and not _of_a_class(name)]
        notes = _note(unread, "of ImageSets/Main is not read (see data.sets)", "of ImageSets/Main are not read")
        if not chosen:
            return _Sets(None, tuple(notes))
        members = {name: [(m, p) for p in paths for m in self._members(p)] for name, paths in chosen.items()}
        parts = _parts({part: members.get(part, []) for part in get_args(Part)})
        both = members.get("trainval", [])
        beyond = [(name, path) for name, path in both if parts.get(name) not in ("train", "val")]
        if beyond and members.get("train") and members.get("val"):
            raise UserError(f"lists {beyond[0][0]!r}, which neither train nor val lists", str(beyond[0][1]))
        rest: Part = "val" if members.get("train") else "train"
        parts |= _parts({"test": members.get("test", []), rest: beyond})
        if beyond:
            text = f"{len({name for name, _ in beyond})} images of {beyond[0][1].name} are taken as {rest}"
            notes.append(Note("sets", text, str(beyond[0][1])))
        if not parts:
            raise UserError("the set files list no image", str(self.main), "list images, or remove the set files")
        return _Sets(parts, tuple(notes))

    def _members(self, path: Path) -> list[str]:
        """Stems of the images that a set file lists, one a line: NAME, NAME.SUFFIX or, of a class, NAME FLAG."""
        members = []
        for line in _text(path).splitlines():
            name = line.strip().strip("\ufeff\0")
            if not name:
                continue
            flagged = _FLAG.fullmatch(name)
            known = (self._stem(text) for text in (name, *([flagged["name"]] if flagged else [])))
            found = next((one for one in known if one is not None), None)
            if found is None:
                raise UserError(f"lists {name!r}, which is not in JPEGImages", str(path))
            members.append(found)
        return members

    def _stem(self, text: str) -> str | None:
        """The stem of an image that is named by its stem, file name or path."""
        name = PureWindowsPath(text).name  # takes either slash
        return next((one for one in (text, name, stem(name)) if one in self.images), None)

    def load(self, item: Item) -> Sample:
        """The image with the objects of its annotation. Raises UserError that names the annotation."""
        image = read_image(item.files["image"], kind="picture")
        path = item.files["annotation"]
        annotation, where = _annotation(path), str(path)
        unknown = [one.label for one in annotation.objects if one.label not in self.labels]
        if unknown:
            raise UserError(f"the label {unknown[0]!r} is not one of {', '.join(self.labels)}", where)
        corners = np.array([one.box for one in annotation.objects], np.float64).reshape(-1, 4)
        half_open = np.concatenate([np.maximum(corners[:, :2] - 1, np.minimum(corners[:, :2], 0)), corners[:, 2:]], 1)
        boxes = on_picture(half_open, image, stated=annotation.size, pixels=self.params.pixels, where=where)
        numbers = np.array([self.labels.index(one.label) for one in annotation.objects], np.int64)
        left_out = np.array([one.difficult and not self.params.difficult for one in annotation.objects], bool)
        shape, clip = image.shape, self.params.clip
        # The value of an object in the label map is its place in the annotation, from 1 on (VOC devkit).
        values = np.flatnonzero(~left_out) + 1
        outlines = item.files.get("mask")

        def masks(kept: Array) -> Array:
            assert outlines is not None
            return _object_layers(outlines, image, values[kept])

        target = checked_objects(
            boxes[~left_out].tolist(),
            numbers[~left_out].tolist(),
            shape,
            where,
            clip=clip,
            masks=None if outlines is None else masks,
        )
        notes = []
        if left_out.any():
            beside = checked_objects(boxes[left_out].tolist(), numbers[left_out].tolist(), shape, where, clip=clip)
            ignored = IgnoredObjects(beside.boxes, beside.labels)
            target = target.ignoring(ignored)
            text = f"{int(left_out.sum())} of {len(left_out)} objects are marked difficult and do not count"
            notes.append(Note("difficult", text))
        named = stem(PureWindowsPath(annotation.filename).name)
        if named and named != item.id:
            notes.append(Note("filename", f"its annotation names the file {annotation.filename}"))
        return Sample(item, image, target, notes=tuple(notes))


def _object_layers(path: Path, image: Image, values: Array) -> Array:
    """The objects of these values in a label map of objects, as layers. Raises UserError for one without a pixel."""
    stored = _object_numbers(path, image)
    for value in values:
        if not (stored == value).any():
            raise UserError(f"has no pixel of object {value} of its annotation", str(path), "leave model.mask out")
    everywhere = (slice(None), slice(None))
    return stack_layers(((k, everywhere, stored == value) for k, value in enumerate(values)), image.shape)


def _object_numbers(path: Path, image: Image) -> Array:
    """The values (H, W) of a label map: of one with a palette, as VOC's are, its indices and not its colours."""
    try:
        with Pillow.open(path, formats=("PNG",)) as opened:
            indices: Array | None = np.array(opened) if opened.mode == "P" else None
    except (OSError, SyntaxError, Pillow.DecompressionBombError):
        indices = None  # the reader below says what is wrong
    if indices is None:
        numbers: Array = read_labels(path, like=image).array[0]
        return numbers
    if indices.shape != image.shape:
        have, need = (" x ".join(map(str, size)) for size in (indices.shape, image.shape))
        raise UserError(f"has {have} pixels, its image {image.source or ''} {need}", str(path))
    return indices


def _parts(members: dict[Part, list[tuple[str, Path]]]) -> dict[str, Part]:
    """The part of each image. Raises UserError for one that is in two."""
    parts: dict[str, Part] = {}
    for part, named in members.items():
        for name, path in named:
            if parts.setdefault(name, part) != part:
                raise UserError(f"lists {name!r}, which is also in {parts[name]}", str(path))
    return parts


def _of_a_class(name: str) -> bool:
    return any(name.endswith(f"_{part}") for part in (*get_args(Part), "trainval"))


def _note(names: Iterable[str], one: str, several: str) -> list[Note]:
    names = list(names)
    if not names:
        return []
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    return [Note("unlisted", f"{shown} {one}" if len(names) == 1 else f"{len(names)} files {several}: {shown}")]


def _text(path: Path) -> str:
    """The text of a set file: UTF-8 with or without a mark, or UTF-16 with one. Raises UserError."""
    try:
        data = path.read_bytes()
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", str(path)) from None
    except UnicodeDecodeError:
        raise UserError("is not UTF-8 text", str(path), "save it as UTF-8") from None


def _annotation(path: Path) -> _Annotation:
    """An annotation file. Raises UserError that names it, and the object."""
    where = str(path)
    root = read_xml(path, what="a VOC annotation")
    if root.tag != "annotation":
        raise UserError(f"is not a VOC annotation: its root is <{root.tag}>", where)
    objects = []
    for number, entry in enumerate(root.findall("object"), 1):
        label = (entry.findtext("name") or "").strip()
        place = f"object {number} ({label or 'without a name'})"
        if entry.find("bndbox") is None:
            others = ", ".join(sorted({child.tag for child in entry} - {"name", "part", "pose"}))
            raise UserError(f"{place} has no bndbox; it has {others or 'nothing else'}", where, "only boxes are read")
        corners = [(entry.findtext(f"bndbox/{side}") or "").strip() for side in ("xmin", "ymin", "xmax", "ymax")]
        try:
            x0, y0, x1, y1 = map(float, corners)
        except ValueError:
            text = ", ".join(corners)
            raise UserError(f"is not a VOC annotation: the box of {place} is {text}", where, "write numbers") from None
        objects.append(_Object(label, (x0, y0, x1, y1), _flag(entry, place, where)))
    width, height = (root.findtext(f"size/{side}") for side in ("width", "height"))
    return _Annotation(tuple(objects), (root.findtext("filename") or "").strip(), stated_size(width, height, where))


def _flag(entry: ElementTree.Element, place: str, where: str) -> bool:
    """True if an object is marked difficult."""
    text = (entry.findtext("difficult") or "0").strip().lower()
    if text not in ("", "0", "1", "false", "true", "unspecified"):
        raise UserError(f"difficult of {place} is {text!r}", where, "write 0 or 1")
    return text in ("1", "true")


def _open(params: Params, task: str, labels: Sequence[str]) -> Voc:
    return Voc(params, labels)


def recognise(listing: Listing) -> Sighting | None:
    """XML files whose root is <annotation>, one a picture, in Annotations, elsewhere, or beside the pictures."""
    names = listing.matching("*.xml")
    if not any(_is_voc(listing.path(name)) for name in listing.sample(names, 3)):
        return None
    stems: dict[str, set[str]] = {}
    for name in listing.pictures:
        stems.setdefault(stem(name), set()).add(PurePosixPath(name).parent.as_posix())
    folders = {PurePosixPath(name).parent.as_posix() for name in names}
    images = [stems[stem(name)] for name in names if stem(name) in stems]
    common = set.intersection(*images) if images else set()
    if len(folders) != 1 or not common:
        have = (
            f"{len(folders)} folders of XML files" if len(folders) > 1 else "pictures of other names than its XML files"
        )
        raise UserError(f"looks like Pascal VOC, but has {have}", str(listing.root), "name the folder of one set")
    folder, place = folders.pop(), sorted(common)[0]
    labels = {
        label.text.strip()
        for n in names
        for label in read_xml(listing.path(n), what="XML").iterfind("object/name")
        if label.text
    }
    params: dict[str, Any] = {"clip": True}
    inner = PurePosixPath(folder).parent.as_posix()
    root = listing.root
    if PurePosixPath(folder).name == "Annotations" and place == (PurePosixPath(inner) / "JPEGImages").as_posix():
        root = listing.path(inner)
    else:
        params |= {"annotations": folder, "images": place}
    return Sighting(("detect",), tuple(sorted(labels)), f"Pascal VOC: {len(names)} XML files in {folder}", params, root)


def _is_voc(path: Path) -> bool:
    try:
        return read_xml(path, what="XML").tag == "annotation"
    except UserError:
        return False


ENTRY = DataEntry(Params, ("detect",), _open, image="picture", recognise=recognise)
