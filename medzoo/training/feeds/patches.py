"""Patches around single pixels of slices, balanced over the classes, with the centre's label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from medzoo.nn.net import Geometry, Patches
from medzoo.training.feeds.batches import Batch, generator
from medzoo.training.feeds.volumes import Volume, draw


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
        r = feed.size // 2
        # Zeros stand for what lies outside, as they do in the graph and in the Predictor.
        self.padded = [np.pad(v.array, ((0, 0), (self.reach,) * 2, (r, r), (r, r))) for v in volumes]

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        """See Batches.batch."""
        which, flat = draw(self.volumes, generator(self.seed, epoch, step), self.size)
        which, flat = which[rank::world], flat[rank::world]
        channels = self.padded[0].shape[0] * (2 * self.reach + 1)
        patches = np.empty((len(which), channels, self.feed.size, self.feed.size), np.float32)
        labels = np.empty(len(which), np.int64)
        for index in np.unique(which):
            mine = np.flatnonzero(which == index)
            patches[mine] = self._gather(self.padded[index], flat[mine], self.volumes[index].target.shape)
            labels[mine] = self.volumes[index].target.reshape(-1)[flat[mine]]
        return torch.from_numpy(patches), torch.from_numpy(labels)

    def _gather(self, padded: np.ndarray, flat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(n, C * slices, size, size): the windows of `padded` (C, S, H, W) around flat indices of `shape`."""
        size, slices = self.feed.size, 2 * self.reach + 1
        s, y, x = np.unravel_index(flat, shape)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (slices, size, size), axis=(1, 2, 3))
        picked = windows[:, s, y, x]  # (C, n, slices, size, size)
        return picked.transpose(1, 2, 0, 3, 4).reshape(len(flat), -1, size, size)
