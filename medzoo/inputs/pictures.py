"""Pictures decoded and fitted once: kept in memory up to a bound, and on disk for other workers and later runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from medzoo.data.dataset import Dataset, Item
from medzoo.errors import UserError
from medzoo.inputs.canvas import fit_canvas
from medzoo.io.cache import cached, file_digest
from medzoo.io.channels import to_channels
from medzoo.preprocess.extras import MASS_HINT, MassHint
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import apply_steps
from medzoo.types import Array

LIMIT = 256 << 20  # bytes of pictures that one process keeps in its own memory
_FORM = 1  # of what is kept on disk: raised when `_fit` or the host steps come to give other pixels


class Pictures:
    """Pictures (C, *size) float32 by index, prepared and fitted as the graph would fit them, and their classes.

    What is kept is never rounded: in memory up to `limit` bytes, beyond it on disk by the digest of the files'
    bytes (medzoo.io.cache), where every worker and later run finds it. `targets` (N,) are known before anything is
    decoded where the data set names strata; raises UserError for a class outside `labels`.
    """

    def __init__(
        self,
        data: Dataset,
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
        """(C, *size) float32, the caller's own. Raises UserError that names the file if it cannot be read."""
        kept = self._kept.get(index)
        if kept is None:
            kept = self._from_disk(index)
            if kept.nbytes <= self.room:
                self.room -= kept.nbytes
                self._kept[index] = kept = np.array(kept)
        return torch.from_numpy(np.array(kept))

    def stored(self, index: int) -> Array:
        """The picture (C, H, W) as it is after the host steps, in its own size; decoded anew."""
        item = self.items[index]
        sample = self.data.load(item)
        image = to_channels(sample.image, self.channels)
        extras = {} if sample.mask is None else {MASS_HINT: MassHint(mask=sample.mask)}
        array = np.ascontiguousarray(apply_steps(image, self.steps, extras=extras).image.array)
        if array.ndim != 3:
            raise UserError("is not a picture", where=str(next(iter(item.files.values()), item.id)))
        return array

    def of(self, items: Sequence[Item]) -> Pictures:
        """Other items of the same data set, seen the same way, with a memory of their own."""
        return Pictures(
            self.data,
            items,
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

    def _from_disk(self, index: int) -> Array:
        """The fitted picture, decoded now or once before."""
        files = list(self.items[index].files.values())
        try:
            digests = [file_digest(path) for path in files]
        except OSError:  # reading it will say what is wrong with it
            digests = []
        if not digests:
            return self._fitted(index)
        # All that the pixels depend on beside the first file's bytes.
        item = self.items[index]
        key = {
            "form": _FORM,
            "item": item.id,
            "facts": item.facts,
            "data": [type(self.data).__name__, str(getattr(self.data, "params", ""))],
            "files": digests[1:],
            "steps": [step.model_dump() for step in self.steps],
            "channels": self.channels,
            "size": self.size,
        }
        return cached(files[0], json.dumps(key, default=str, sort_keys=True), lambda: self._fitted(index))

    def _fitted(self, index: int) -> Array:
        image = torch.from_numpy(self.stored(index).astype(np.float32))
        if tuple(image.shape[1:]) != self.size:
            image = fit_canvas(image[None], *self.size)[0][0]
        array: Array = image.numpy()
        return array

    def _target(self, item: Item) -> int:
        if item.stratum in self.labels:
            return list(self.labels).index(item.stratum)
        target = self.data.load(item).target
        if not isinstance(target, int | np.integer) or not 0 <= target < len(self.labels):
            raise UserError(
                f"has the label {item.stratum or target!r}, expected one of {', '.join(self.labels)}",
                where=str(next(iter(item.files.values()), item.id)),
                hint="name it in the recipe's labels, or leave its files out",
            )
        return int(target)
