"""The largest batch that a device holds: doubled until memory runs out, then halved between."""

from __future__ import annotations

import copy

import torch

from medzoo.errors import UserError
from medzoo.nn.net import Net
from medzoo.training.feeds.batches import Batch, Batches


def largest_batch(net: Net, batches: Batches, *, limit: int = 1024, device: str | None = None) -> int:
    """The largest number of items, up to `limit`, that a step of forward and backward fits on the device.

    Items of the feed's first batch are repeated. The net is left as it was, on its device. Raises UserError if
    not even one item fits.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    probe = copy.deepcopy(net).to(device).train()
    sample = batches.batch(0, 0)
    low, high = 0, 1
    while high <= limit and _fits(probe, sample, high, device):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(probe, sample, middle, device) else (low, middle)
    if not low:
        raise UserError("not even one item fits into the device's memory", where="train.batch", hint="a smaller size")
    return low


def _fits(net: Net, sample: Batch, count: int, device: str) -> bool:
    places = torch.arange(count) % len(sample[0])
    try:
        image, target = (part[places].to(device) for part in sample)
        total = torch.stack(list(net.loss(image, target).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
    except (torch.OutOfMemoryError, MemoryError):
        return False
    except RuntimeError as error:
        # The CPU's allocator has no class of its own.
        if "memory" not in str(error):
            raise
        return False
    finally:
        net.zero_grad(set_to_none=True)
    return True
