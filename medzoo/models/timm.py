"""`timm`: any network that timm can build, named in the recipe; weights only from this machine.

Weights are a safetensors file, a folder or an installed package (medzoo.nn.network).
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.classifier import Classifier, ClassifierParams
from medzoo.nn.ensemble import ensembled
from medzoo.nn.layers import init_normal
from medzoo.nn.net import Entry, Spec
from medzoo.nn.network import create_network, layers_under


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
        options: dict[str, Any] = {"drop_path_rate": params.drop_path} if params.drop_path else {}
        self.body = create_network(
            params.network,
            channels=params.channels,
            classes=len(spec.labels),
            weights=params.weights,
            drop_rate=params.dropout,
            **options,
        )
        head = self.body.get_classifier()
        if isinstance(head, nn.Linear):
            # Fresh and small: a loud head would shake loaded layers in the first steps.
            init_normal(head, std=0.01)
        self._frozen = layers_under(self.body, params.freeze, name=params.network)
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


ENTRY = Entry(
    task="classify",
    params=TimmParams,
    learns="gradient",
    build=ensembled(TimmNet),
    tiny={"network": "test_efficientnet", "size": (32, 40), "oversample": 2, "tta": ("flip-x",)},
)
