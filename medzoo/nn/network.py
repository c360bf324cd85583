"""A whole timm network with weights from this machine alone, and which of its layers learn.

Knows timm and the reader of weights (medzoo.nn.backbone); timm's own downloads are never asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import nn

from medzoo.errors import UserError
from medzoo.nn.backbone import read_weights


def create_network(
    name: str, *, channels: int, classes: int, weights: str | None, field: str = "model.network", **options: Any
) -> Any:
    """timm's network `name` for pictures of `channels`, with a head of `classes` (0: pooled features, no head).

    `weights`: see read_weights; `options` go to timm. Raises UserError, at the recipe's `field`, for a name that
    timm does not build, and for weights that lack a layer beside the head.
    """
    options |= {"in_chans": channels, "num_classes": classes}
    try:
        with torch.device("meta"):
            probe = timm.create_model(name, pretrained=False)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"timm cannot build {name!r}: {error}", field) from error
    if weights is not None:
        state = read_weights(weights, name)
        head = probe.pretrained_cfg.get("classifier") or ()
        heads = (head,) if isinstance(head, str) else tuple(head)
        # timm itself would start a layer that is missing at random.
        missing = [
            layer
            for layer in probe.state_dict()
            if layer not in state
            and not layer.endswith("num_batches_tracked")
            and not any(_under(layer, h) for h in heads)
        ]
        if missing:
            raise UserError(
                f"{weights!r} are weights of another network: {len(missing)} tensors of {name!r} "
                f"are missing, {missing[0]} first",
                where="model.weights",
                hint="give weights of the same timm model, under timm's names",
            )
        options["pretrained_cfg_overlay"] = {"state_dict": state}
    try:
        return timm.create_model(name, pretrained=weights is not None, **options)
    except (RuntimeError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{name!r} cannot be built so: {line}", "model") from error


def layers_under(network: nn.Module, prefixes: Sequence[str], *, name: str) -> list[nn.Module]:
    """The modules whose names begin with one of `prefixes` (by whole parts). Raises UserError for one that no
    layer of the network `name` has."""
    names = [layer for layer, _ in network.named_modules()]
    for prefix in prefixes:
        if not any(_under(layer, prefix) for layer in names):
            tops = ", ".join(layer for layer in names if layer and "." not in layer)
            raise UserError(f"{name!r} has no layer {prefix!r}", "model.freeze", f"it has {tops}")
    return [module for layer, module in network.named_modules() if any(_under(layer, p) for p in prefixes)]


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")
