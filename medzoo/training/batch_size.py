"""The largest batch that a device holds: doubled until memory runs out, then halved between."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor

from medzoo.errors import UserError
from medzoo.inputs.batches import Batch, Batches
from medzoo.nn.net import Net

# A step holds what backward needs, gradients of the same sizes, and room to compute them in.
_TIMES = 3
_SHARE = 0.5  # of the free memory of a CPU, which other processes need too


def largest_batch(net: Net, batches: Batches, *, limit: int = 1024, device: str | None = None) -> int:
    """The largest number of items, up to `limit`, that a step of forward and backward fits on the device.

    Items of the feed's first batch are repeated. A CPU's memory is never filled, as the system would end the process
    and not the step: there the sizes that backward keeps are counted and held against half of what is free. The net is
    left as it was, on its device. Raises UserError if not even one item fits.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    probe = copy.deepcopy(net).to(device).train()
    sample = batches.batch(0, 0)
    if device == "cpu":
        limit = min(limit, int(_SHARE * free_memory() / (_TIMES * _saved_bytes(probe, sample))))
    low, high = 0, 1
    while high <= limit and _fits(probe, sample, high, device):
        low, high = high, high * 2
    high = min(high, limit + 1)
    while high - low > max(1, low // 8):
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(probe, sample, middle, device) else (low, middle)
    if not low:
        raise UserError(
            "not even one item fits into the device's memory", where="train.batch", hint="use a smaller size"
        )
    return low


def free_memory() -> int:
    """Bytes of main memory that can still be had, within the bounds of a container."""
    free = 1 << 33
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    most, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if most.isdigit() and used.isdigit():
        free = min(free, int(most) - int(used))
    return max(0, free)


def _text(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _saved_bytes(net: Net, sample: Batch) -> float:
    """Bytes that backward keeps of each further item."""
    sizes = []
    for count in (2, 4):
        seen: dict[int, int] = {}

        def note(tensor: Tensor, seen: dict[int, int] = seen) -> Tensor:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            _total(net, sample, count, "cpu")
        sizes.append(sum(seen.values()))
    return max(1.0, (sizes[1] - sizes[0]) / 2)


def _fits(net: Net, sample: Batch, count: int, device: str) -> bool:
    try:
        _total(net, sample, count, device).backward()  # type: ignore[no-untyped-call]
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


def _total(net: Net, sample: Batch, count: int, device: str) -> Tensor:
    places = [place % len(sample[0]) for place in range(count)]
    batch = move_data_to_device(tuple(_first_items(part, places) for part in sample), device)
    return torch.stack(list(net.loss(*batch).values())).sum()


def _first_items(part: Any, places: list[int]) -> Any:
    """These items of one part of a batch: a tensor, or a list of what there is for each item."""
    return part[places] if isinstance(part, Tensor) else [part[place] for place in places]
