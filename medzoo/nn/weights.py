"""Weights as safetensors, and a net rebuilt from a recipe. Nothing is ever unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from medzoo import registry
from medzoo.errors import UserError
from medzoo.io.cache import file_digest
from medzoo.nn.backbone import weights_file
from medzoo.nn.net import Entry, Net, Spec
from medzoo.recipe import Recipe


def build_net(recipe: Recipe, *, fresh: bool = True) -> Net:
    """The recipe's net with fresh weights, seeded by `train.seed`. The recipe was loaded with a catalog.

    Not `fresh`: its own weights follow, so the ones that it once started from (`model.weights`) are not read.
    """
    entry: Entry = registry.entry("model", recipe.model.type)
    params = recipe.model.params
    if not fresh and getattr(params, "weights", None) is not None:
        params = params.model_copy(update={"weights": None})
    spec = Spec(
        task=recipe.task,
        labels=tuple(recipe.labels),
        steps=[step.model_dump() for step in recipe.graph_steps],
        seed=recipe.train.seed,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.train.seed)
        return entry.build(params, spec)


def starting_weights(recipe: Recipe) -> dict[str, str] | None:
    """The recipe's pretrained weights (`model.weights`) with the SHA-256 of their file; None where it starts fresh.

    Raises UserError where they are not there.
    """
    weights = getattr(recipe.model.params, "weights", None)
    return None if weights is None else {"name": str(weights), "sha256": file_digest(weights_file(str(weights)))}


def weights_bytes(net: Net, *, halved: bool = False) -> bytes:
    """The net's parameters and buffers as a safetensors file; `halved`: weights that were rounded to it, as float16."""
    state = {name: tensor.detach().contiguous().cpu() for name, tensor in net.state_dict().items()}
    if halved:
        state = {name: tensor.half() if _is_weight(tensor) else tensor for name, tensor in state.items()}
    return save(state)


def round_weights(net: Net) -> None:
    """Round the net's weights in place to what float16 holds, so that torch and every file compute with the same.

    What has one axis (biases, normalisation, temperatures) stays: it is small, and its rounding would be felt.
    Raises UserError for a weight beyond float16's range.
    """
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if not _is_weight(tensor):
                continue
            rounded = tensor.half().float()
            if not torch.isfinite(rounded).all():
                raise UserError(f"{name} is too large for float16", "export.store", "store: fp32")
            tensor.copy_(rounded)


def _is_weight(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.ndim > 1


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name. Raises UserError."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot be read as safetensors: {error}", where=str(path)) from error


def load_weights(net: Net, path: Path) -> None:
    """Load a safetensors file into `net`. Raises UserError naming the file if it belongs to another net."""
    state = read_state(path)
    net.resize_buffers(state)
    mine = net.state_dict()
    wrong = [
        f"{name} {list(state[name].shape) if name in state else 'missing'} instead of {list(tensor.shape)}"
        for name, tensor in mine.items()
        if name not in state or state[name].shape != tensor.shape
    ] + [f"{name} is not part of the net" for name in state.keys() - mine.keys()]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(
            f"are the weights of another network: {'; '.join(wrong[:3])}{more}",
            where=str(path),
            hint="use the recipe that they were trained with",
        )
    net.load_state_dict(state)
