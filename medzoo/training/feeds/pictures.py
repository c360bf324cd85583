"""Pictures decoded once and kept: as stored, in memory, up to a bound; beyond it they are decoded again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from medzoo.data.dataset import DataSet, Item
from medzoo.errors import UserError
from medzoo.io.channels import to_channels
from medzoo.nn.canvas import fit
from medzoo.preprocess.mass import Hint, with_hint
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.types import Array

LIMIT = 2 << 30  # bytes of pictures that one process keeps


class Pictures:
    """Pictures (C, *size) float32 by index, prepared and fitted as the graph would fit them, and their classes.

    What is kept is the smaller of the stored picture and the fitted one, never rounded. `targets` (N,) are
    known before anything is decoded where the data set names strata; raises UserError for a class outside
    `labels`.
    """

    def __init__(
        self,
        data: DataSet,
        items: Sequence[Item],
        steps: Sequence[HostStep],
        *,
        labels: Sequence[str],
        channels: int,
        size: tuple[int, int],
        limit: int = LIMIT,
    ) -> None:
        self.data, self.items, self.steps = data, items, steps
        self.labels, self.channels, self.size = labels, channels, size
        self.limit = self.room = limit
        self._kept: dict[int, Array] = {}
        self.targets = np.array([self._target(item) for item in items], np.int64)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def counts(self) -> list[int]:
        """Items of each class."""
        return [int(n) for n in np.bincount(self.targets, minlength=len(self.labels))]

    def picture(self, index: int) -> Tensor:
        """(C, *size) float32. Raises UserError that names the file if it cannot be read."""
        stored = self._kept.get(index)
        if stored is None:
            stored = self.stored(index)
            fitted = self._fit(stored)
            if fitted.numel() * 4 < stored.nbytes:
                stored = fitted.numpy()
            if stored.nbytes <= self.room:
                self.room -= stored.nbytes
                self._kept[index] = stored
        return self._fit(stored)

    def stored(self, index: int) -> Array:
        """The picture (C, H, W) as it is after the host steps, in its own size; decoded anew."""
        item = self.items[index]
        sample = self.data.load(item)
        image = to_channels(sample.image, self.channels)
        if sample.mask is not None:
            image = with_hint(image, Hint(mask=sample.mask))
        array = np.ascontiguousarray(apply_steps(image, self.steps)[0].array)
        if array.ndim != 3:
            raise UserError("is not a picture", where=str(next(iter(item.files.values()), item.id)))
        return array

    def subset(self, ids: Collection[str]) -> Pictures:
        """Only the pictures of these items, with a memory of their own."""
        return Pictures(
            self.data,
            [item for item in self.items if item.id in ids],
            self.steps,
            labels=self.labels,
            channels=self.channels,
            size=self.size,
            limit=self.limit,
        )

    def decode(self, *, on_bad_image: str) -> None:
        """Read every picture now, several at once."""

        def one(index: int) -> None:
            try:
                self.picture(index)
            except UserError:
                if on_bad_image == "stop":
                    raise

        with ThreadPoolExecutor() as pool:
            list(pool.map(one, range(len(self))))

    def _fit(self, stored: Array) -> Tensor:
        image = torch.from_numpy(stored.astype(np.float32))
        if tuple(image.shape[1:]) == self.size:
            return image
        fitted: Tensor = fit(image[None], *self.size)[0][0]
        return fitted

    def _target(self, item: Item) -> int:
        if item.stratum in self.labels:
            return list(self.labels).index(item.stratum)
        target = self.data.load(item).target
        if not isinstance(target, int | np.integer) or not 0 <= target < len(self.labels):
            raise UserError(
                f"has the label {item.stratum or target!r}, which is none of {', '.join(self.labels)}",
                where=str(next(iter(item.files.values()), item.id)),
                hint="name it in the recipe's labels, or leave its files out",
            )
        return int(target)
