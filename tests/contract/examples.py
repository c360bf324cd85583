"""Small made-up batches for every kind of feed, on which any net of that kind can lower its loss."""

from __future__ import annotations

from typing import Any

import torch

from medzoo.nn.net import Crops, Images, Net, Patches, Regions, Scenes


def batch(net: Net, *, labels: int, size: int = 8) -> tuple[Any, ...]:
    """(input, target) of `size` examples whose brightness gives the label away."""
    torch.manual_seed(0)
    channels = net.geometry.channels * net.geometry.slices
    classes = torch.arange(size) % labels
    feed = net.feed
    if isinstance(feed, Patches):
        return _bright(classes, (channels, feed.size, feed.size)), classes
    if isinstance(feed, Images):
        return _bright(classes, (channels, *feed.size)), classes
    if isinstance(feed, Crops):
        maps = classes.view(-1, *[1] * len(feed.size)).expand(-1, *feed.size).clone()
        return _bright(classes, (channels, *feed.size)), maps
    if isinstance(feed, Regions):
        kinds = torch.arange(size) % (labels + 1)
        return _bright(kinds, (channels, 32, 32)), kinds
    if isinstance(feed, Scenes):
        images = torch.rand(2, channels, *feed.size) * 20
        targets = []
        for index in range(2):
            x, y = 10 + 5 * index, 12
            images[index, :, y : y + 30, x : x + 24] += 200
            box = torch.tensor([[x, y, x + 24, y + 30]], dtype=torch.float32)
            targets.append({"boxes": box, "labels": torch.zeros(1, dtype=torch.int64)})
        return images, targets
    return torch.randn(size, 8) + 4 * classes[:, None], classes


def solve(net: Net, *, labels: int) -> None:
    """Give a net that is solved what it is solved from."""
    if not isinstance(net.feed, Regions):
        net.observe(*batch(net, labels=labels))
        net.solve()
        return
    for _ in range(3):
        kinds = torch.arange(12) % (labels + 1)
        windows = _bright(kinds, (net.geometry.channels, 32, 32))
        low = torch.rand(12, 2) * 60
        boxes = torch.cat([low, low + 20], dim=1)
        there = kinds < labels
        objects = {"boxes": boxes[there], "labels": kinds[there], "windows": windows[there]}
        net.observe((windows[None], boxes[None]), [objects])
    net.solve()


# The host step that a graph's inputs come from, where an image is not what it takes.
HOST: dict[tuple[str, ...], tuple[dict[str, Any], ...]] = {
    ("regions", "boxes"): (
        {"op": "selective-search", "side": 64, "smallest": 0.1, "count": 30, "size": [32, 32], "context": 4},
    ),
}


def _bright(classes: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    base = (classes.float() + 1) * 40
    return base.view(-1, *[1] * len(shape)) + torch.rand(len(classes), *shape)
