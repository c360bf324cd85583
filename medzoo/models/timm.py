"""`timm`: any network that timm can build, named in the recipe; weights only from this machine.

Weights are a safetensors file, a folder or an installed package (medzoo.nn.backbone.read_weights); timm's
own downloads are never asked for.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from pydantic import Field
from torch import Tensor, nn

from medzoo.errors import UserError
from medzoo.nn.backbone import read_weights
from medzoo.nn.classifier import Classifier, ClassifierParams
from medzoo.nn.ensemble import ensembled
from medzoo.nn.layers import start_small
from medzoo.nn.net import Entry, Spec


class TimmParams(ClassifierParams):
    """Parameters of `timm`."""

    network: str = Field("efficientnet_lite0", description="the name by which timm builds it")
    weights: str | None = Field(None, description="package:efficientnet-lite0, a safetensors file or folder")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the classifier")
    drop_path: float = Field(0.0, ge=0, lt=1, description="share of residual paths left out, in networks that have it")
    freeze: tuple[str, ...] = Field(
        (), description="layers that stay as loaded, by the beginning of their timm names: conv_stem, bn1, blocks.0"
    )


class TimmNet(Classifier):
    """A timm network as a classifier; `network` is documented in Classifier."""

    def __init__(self, params: TimmParams, spec: Spec) -> None:
        super().__init__(params, spec)
        self.body = _create(params, classes=len(spec.labels))
        names = [name for name, _ in self.body.named_modules()]
        for prefix in params.freeze:
            if not any(_under(name, prefix) for name in names):
                raise UserError(f"{params.network!r} has no layer {prefix!r}", "model.freeze", f"it has {_top(names)}")
        head = self.body.get_classifier()
        if isinstance(head, nn.Linear):
            # Fresh and small: a loud head would shake loaded layers in the first steps.
            start_small(head, std=0.01)
        self._frozen = [m for name, m in self.body.named_modules() if any(_under(name, p) for p in params.freeze)]
        for module in self._frozen:
            module.requires_grad_(False)

    def network(self, x: Tensor) -> Tensor:
        """See Classifier.network."""
        logits: Tensor = self.body(x)
        return logits

    def train(self, mode: bool = True) -> TimmNet:
        """As in torch, but frozen layers keep their statistics and leave nothing out."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def _under(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _top(names: list[str]) -> str:
    return ", ".join(name for name in names if name and "." not in name)


def _create(params: TimmParams, *, classes: int) -> Any:
    options: dict[str, Any] = {"in_chans": params.channels, "num_classes": classes, "drop_rate": params.dropout}
    if params.drop_path:
        options["drop_path_rate"] = params.drop_path
    try:
        with torch.device("meta"):
            probe = timm.create_model(params.network, pretrained=False)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"timm cannot build {params.network!r}: {error}", "model.network") from error
    if params.weights is not None:
        state = read_weights(params.weights, params.network)
        head = probe.pretrained_cfg.get("classifier") or ()
        heads = (head,) if isinstance(head, str) else tuple(head)
        # timm itself would start a layer that is missing at random.
        missing = [
            name
            for name in probe.state_dict()
            if name not in state
            and not name.endswith("num_batches_tracked")
            and not any(_under(name, h) for h in heads)
        ]
        if missing:
            raise UserError(
                f"{params.weights!r} are weights of another network: {len(missing)} tensors of {params.network!r} "
                f"are missing, {missing[0]} first",
                where="model.weights",
                hint="give weights of the same timm model, under timm's names",
            )
        options["pretrained_cfg_overlay"] = {"state_dict": state}
    try:
        return timm.create_model(params.network, pretrained=params.weights is not None, **options)
    except (RuntimeError, TypeError) as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{params.network!r} cannot be built so: {line}", "model") from error


ENTRY = Entry(
    task="classify",
    params=TimmParams,
    learns="gradient",
    build=ensembled(TimmNet),
    tiny={"network": "test_efficientnet", "size": (32, 40), "oversample": 2, "views": ("flip-x",)},
)
