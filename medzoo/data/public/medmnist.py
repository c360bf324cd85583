"""`medmnist`: a .npz of MedMNIST (Yang et al., Scientific Data 10:41, 2023) with its own train, val and test parts."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import get_args

import numpy as np

from medzoo.data.dataset import DataEntry, DataParams, Item, Part, Sample
from medzoo.errors import UserError
from medzoo.io import from_array
from medzoo.io.archive import check_archive
from medzoo.types import Array


class Params(DataParams):
    """`root`: the .npz file."""

    root: Path


class MedMnist:
    """Classified pictures (2D sets) or volumes (3D sets). The file gives the parts, and no patients; group "image".

    The recipe's labels are the classes in the order of their numbers.
    """

    def __init__(self, params: Params, labels: Sequence[str]) -> None:
        self.path, self.labels = params.root, tuple(labels)

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """Images and labels by part, as `train_images`, `train_labels`, ..."""
        where = str(self.path)
        if not self.path.is_file():
            raise UserError("no such file", where, "data.root must be the .npz file")
        try:
            check_archive(self.path)
            with np.load(self.path, allow_pickle=False) as stored:
                names = [f"{part}_{kind}" for part in get_args(Part) for kind in ("images", "labels")]
                found: dict[str, Array] = {name: stored[name] for name in names}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise UserError(f"is not a MedMNIST file, or is damaged: {error}", where) from None
        for part in get_args(Part):
            images, labels = found[f"{part}_images"], found[f"{part}_labels"]
            if len(images) != len(labels) or images.ndim not in (3, 4, 5):
                raise UserError(f"its {part} images and labels do not match", where)
            if labels.reshape(len(labels), -1).shape[1] != 1:
                raise UserError("has several labels per image", where, "use a set with one label per image")
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.labels):
                count = int(labels.max()) + 1
                raise UserError(
                    f"has {count} classes, but the recipe has {len(self.labels)} labels", where, "check labels"
                )
        return found

    def items(self) -> Sequence[Item]:
        """All images, part by part."""
        items = []
        for part in get_args(Part):
            for number, label in enumerate(self.arrays[f"{part}_labels"].reshape(-1)):
                name = f"{part}/{number:06d}"
                facts = {"part": part, "number": number}
                items.append(Item(name, {"file": self.path}, {"image": name}, self.labels[int(label)], part, facts))
        return items

    def load(self, item: Item) -> Sample:
        """The image and its class; grey or colour pictures, volumes without a place."""
        array = self.arrays[f"{item.facts['part']}_images"][item.facts["number"]]
        volume = array.ndim == 3 and array.shape[-1] != 3
        image = from_array(array, kind="volume" if volume else "picture", source=item.id)
        return Sample(item, image, self.labels.index(item.stratum))


def _open(params: Params, task: str, labels: Sequence[str]) -> MedMnist:
    return MedMnist(params, labels)


ENTRY = DataEntry(Params, ("classify",), _open)
