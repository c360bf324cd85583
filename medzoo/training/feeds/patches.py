"""Patches around single pixels of slices, balanced over the classes, with the centre's label."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
import torch

from medzoo.nn.net import Geometry, Patches
from medzoo.training.feeds.batches import Batch, generator
from medzoo.training.feeds.volumes import Volume, at_epoch, draw
from medzoo.types import Array


class PatchBatches:
    """(B, C * slices, size, size) float32 and labels (B,) int64, drawn from slices (S first) of scans."""

    def __init__(
        self,
        volumes: Sequence[Volume],
        feed: Patches,
        *,
        geometry: Geometry,
        batch: int,
        steps: int,
        seed: int,
    ) -> None:
        self.feed, self.size, self.steps, self.seed = feed, batch, steps, seed
        self.reach = geometry.slices // 2
        self.volumes = volumes
        self._padded: WeakKeyDictionary[Volume, Array] = WeakKeyDictionary()

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        volumes = at_epoch(self.volumes, epoch)
        which, flat = draw(volumes, generator(self.seed, epoch, step), self.size)
        which, flat = which[rank::world], flat[rank::world]
        channels = volumes[0].array.shape[0] * (2 * self.reach + 1)
        patches = np.empty((len(which), channels, self.feed.size, self.feed.size), np.float32)
        labels = np.empty(len(which), np.int64)
        for index in np.unique(which):
            mine = np.flatnonzero(which == index)
            patches[mine] = self._gather(volumes[index], flat[mine])
            labels[mine] = volumes[index].target.reshape(-1)[flat[mine]]
        return torch.from_numpy(patches), torch.from_numpy(labels)

    def _gather(self, volume: Volume, flat: Array) -> Array:
        """(n, C * slices, size, size): the windows of a volume around flat indices of its target."""
        size, slices = self.feed.size, 2 * self.reach + 1
        s, y, x = np.unravel_index(flat, volume.target.shape)
        windows = np.lib.stride_tricks.sliding_window_view(self._pad(volume), (slices, size, size), axis=(1, 2, 3))
        picked = windows[:, s, y, x]  # (C, n, slices, size, size)
        return picked.transpose(1, 2, 0, 3, 4).reshape(len(flat), -1, size, size)

    def _pad(self, volume: Volume) -> Array:
        """(C, S, H, W) with zeros around, as in the graph and in the Predictor."""
        if volume not in self._padded:
            r = self.feed.size // 2
            self._padded[volume] = np.pad(volume.array, ((0, 0), (self.reach,) * 2, (r, r), (r, r)))
        return self._padded[volume]
