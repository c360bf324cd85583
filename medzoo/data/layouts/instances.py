"""`instances`: pictures or volumes with label maps of instances beside them: 0 background, k the k-th object."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import Field

from medzoo.data.audit.groups import NearGroups, near_duplicate_groups
from medzoo.data.dataset import DataEntry, DataParams, Item, Note, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.instances import MOST, stack_layers
from medzoo.data.objects import checked_objects
from medzoo.data.sighting import Listing, Sighting, mask_kind, pair_masks
from medzoo.errors import UserError
from medzoo.imaging.grey import luma
from medzoo.io import read_image, read_labels
from medzoo.io.formats import stem
from medzoo.types import Array


class Params(DataParams):
    """`root`: the folder that holds `images` and `labels`, with files of the same names (without suffix)."""

    root: Path
    images: str = Field(default="images", description="folder of the images below the root")
    labels: str = Field(default="labels", description="folder of the label maps below the root")
    smallest: int = Field(default=1, ge=1, description="objects of fewer pixels or voxels are left out")


class Instances:
    """Objects of one label, each with its mask. An image without a label map is refused: one without objects has a
    label map of zeros.

    Groups are "image", "near-duplicate" and "look": images of one size, of grey or of colour, whose median and
    standard deviation lie in the same octaves, as tiles of one slide or pictures of one microscope do.
    """

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        if len(self.labels) != 1:
            raise UserError("label maps of instances give objects, but no labels", "labels", "name one label")

    @cached_property
    def found(self) -> dict[str, tuple[Path, Path]]:
        """Image and label map by the name of the image."""
        images, labels = (_by_stem(self.params.root / name) for name in (self.params.images, self.params.labels))
        for name, path in images.items():
            if name not in labels:
                where = str(self.params.root / self.params.labels)
                raise UserError(f"has no label map in {where}", str(path), "one without objects is all zeros")
        for name, path in labels.items():
            if name not in images:
                raise UserError("is a label map without an image", str(path))
        return {name: (path, labels[name]) for name, path in images.items()}

    @cached_property
    def near_duplicates(self) -> Mapping[str, str]:
        """The near-duplicate group of each image."""
        return near_duplicate_groups({name: paths[0] for name, paths in self.found.items()})

    @cached_property
    def appearances(self) -> Mapping[str, str]:
        """The look of each image, in words."""
        return {name: appearance(read_image(paths[0]).array) for name, paths in self.found.items()}

    def items(self) -> Sequence[Item]:
        """All images by name."""
        items = []
        for name, (image, labels) in self.found.items():
            near = NearGroups({"image": name}, name, lambda: self.near_duplicates)
            items.append(Item(name, {"image": image, "mask": labels}, _Groups(near, name, lambda: self.appearances)))
        if not items:
            raise UserError("holds no images", str(self.params.root / self.params.images))
        return items

    def load(self, item: Item) -> Sample:
        """The image with its objects and their masks. Raises UserError that names the label map."""
        image, where = read_image(item.files["image"]), str(item.files["mask"])
        stored = read_labels(item.files["mask"], like=image).array[0]
        if stored.min(initial=0) < 0:
            raise UserError(f"the value {int(stored.min())} is not an object number", where, "0 is the background")
        numbers = np.zeros(stored.shape, np.int64)
        values, inverse = np.unique(stored, return_inverse=True)
        first = 1 if len(values) and values[0] == 0 else 0
        if len(values) - first > MOST:
            raise UserError(f"holds {len(values) - first} objects, {MOST} at most", where)
        numbers = inverse.reshape(stored.shape) + 1 - first
        places, masks, small = [], [], 0
        for number, place in _parts(numbers):
            mask = numbers[place] == number
            if mask.sum() < self.params.smallest:
                small += 1
                continue
            places.append(place)
            masks.append(mask)
        boxes = [_box(place) for place in places]
        shape = image.shape

        def layers(kept: Array) -> Array:
            return stack_layers(((n, places[k], masks[k]) for n, k in enumerate(kept)), shape)

        notes = _notes(places, masks, shape)
        if small:
            notes.append(Note("small", f"{small} objects of fewer than {self.params.smallest} pixels are left out"))
        objects = checked_objects(boxes, [0] * len(boxes), shape, where, masks=layers)
        return Sample(item, image, objects, (stored > 0).astype(np.uint8), tuple(notes))


def appearance(array: Array) -> str:
    """The size of an image (C, *spatial), whether it has colour, and the octaves of its median and deviation.

    >>> look(np.full((1, 20, 30), 100, np.uint8))
    '20x30 grey, median 2^6, deviation 2^0'
    """
    size = "x".join(map(str, array.shape[1:]))
    grey = luma(array) if len(array) == 3 and array.ndim == 3 else array[0]
    kind = "colour" if len(array) == 3 and (array[0] != array[1]).any() else "grey"
    median, deviation = (int(np.log2(max(float(v), 0) + 1)) for v in (np.median(grey), grey.std()))
    return f"{size} {kind}, median 2^{median}, deviation 2^{deviation}"


class _Groups(Mapping[str, str]):
    """Groups of an item, and "look", which is found for all images when it is first asked for."""

    def __init__(self, known: Mapping[str, str], key: str, looks: Callable[[], Mapping[str, str]]) -> None:
        self._known, self._key, self._looks = known, key, looks

    def __getitem__(self, name: str) -> str:
        return self._looks()[self._key] if name == "look" else self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._known, "look"])

    def __len__(self) -> int:
        return len(self._known) + 1


def _by_stem(folder: Path) -> dict[str, Path]:
    """Files of a folder by name without suffix. Raises UserError for two of one name."""
    if not folder.is_dir():
        raise UserError("there is no such folder", str(folder), "see data.images and data.labels")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and not is_hidden(path.name):
            other = found.setdefault(stem(path), path)
            if other != path:
                raise UserError(f"has the name of {other.name}", str(path), "use one file per image")
    return found


def _parts(numbers: Array) -> Iterator[tuple[int, tuple[slice, ...]]]:
    from scipy.ndimage import find_objects

    for number, place in enumerate(find_objects(numbers), 1):
        if place is not None:
            yield number, place


def _box(place: tuple[slice, ...]) -> list[float]:
    axes = place[::-1] if len(place) == 2 else place
    return [*(float(one.start) for one in axes), *(float(one.stop) for one in axes)]


def _notes(places: Sequence[tuple[slice, ...]], masks: Sequence[Array], shape: tuple[int, ...]) -> list[Note]:
    """Audit findings on the masks of one image: objects in pieces, and objects cut by the border."""
    from scipy.ndimage import label

    split = sum(label(mask, np.ones((3,) * mask.ndim))[1] > 1 for mask in masks)
    cut = sum(
        any(one.start == 0 or one.stop == side for one, side in zip(place, shape, strict=True)) for place in places
    )
    notes = []
    if split:
        notes.append(Note("split", f"{split} of {len(masks)} objects lie in pieces: two may have one number"))
    if cut:
        notes.append(Note("border", f"{cut} of {len(masks)} objects are cut by the border"))
    return notes


def _open(params: Params, task: str, labels: Sequence[str]) -> Instances:
    return Instances(params, labels)


def recognise(listing: Listing) -> Sighting | None:
    """Images and label maps of numbered objects in parallel folders."""
    names = listing.pictures or listing.volumes
    pairs = pair_masks(names)
    if pairs is None or pairs.of_class or pairs.channels or mask_kind(listing, pairs) != "instances":
        return None
    folders = [PurePosixPath(pattern).parent.as_posix() for pattern in (pairs.image, pairs.mask)]
    if "{" in "".join(folders) or stem(pairs.image) != stem(pairs.mask):
        return None
    params = {} if folders == ["images", "labels"] else {"images": folders[0], "labels": folders[1]}
    why = f"{len(pairs.pairs)} label maps of numbered objects in {folders[1]}"
    return Sighting(("detect",), ("object",), why, params)


ENTRY = DataEntry(Params, ("detect",), _open, image="picture or scan", recognise=recognise)
