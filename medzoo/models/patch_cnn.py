"""The patch CNN for MRI tissue: the label of a pixel from the 13 x 13 patch around it.

Zhang et al., NeuroImage 108:214 (2015) in the form of algorithms.md section 9. No padding and no pooling, so
the fully connected layers are 1 x 1 convolutions and a whole slice is answered in one dense pass that equals
patch by patch; training takes patches (or crops, densely) through the same layers.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from medzoo.inputs.crops import CropInput
from medzoo.inputs.patches import PatchInput
from medzoo.nn.ensemble import ensembled_segmenter
from medzoo.nn.layers import LocalResponseNorm, lrn_by_roots
from medzoo.nn.net import Entry, Spec
from medzoo.nn.segmenter import Segmenter, SegmenterParams
from medzoo.nn.winograd import from_tiles, in_tiles, is_wide, per_pixel, winograd
from medzoo.types import IGNORED


class PatchCnnParams(SegmenterParams):
    """Parameters of the patch CNN; the defaults are the source network's numbers (5,921,156 parameters)."""

    foreground: Literal["nonzero", "all"] = Field(
        "nonzero", description="nonzero: a pixel that is exactly zero is background by definition"
    )
    channels: tuple[int, ...] = Field((64, 256, 768), min_length=1, description="width of each convolution")
    kernel: int = Field(5, ge=1, description="side of the convolutions")
    patch: int = Field(13, ge=1, description="side of the patch, in pixels")
    hidden: int = Field(768, ge=1, description="width of the first fully connected layer")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout after the last convolution")
    learn: Literal["patches", "crops"] = Field("patches", description="train on single patches or on crops")
    crop: int = Field(48, ge=1, description="side of the crops, for learn: crops")
    convolution: Literal["direct", "winograd"] = Field(
        "direct",
        description="winograd: the exported float32 graph is more than twice as fast on a CPU, if the last is wide",
    )

    @model_validator(mode="after")
    def _fits(self) -> PatchCnnParams:
        if self.patch % 2 == 0:
            raise ValueError("patch must be odd, so that it has a centre pixel")
        if self.rest < 1:
            raise ValueError(
                f"{len(self.channels)} convolutions of side {self.kernel} need a patch of at least "
                f"{1 + len(self.channels) * (self.kernel - 1)} pixels"
            )
        return self

    @property
    def rest(self) -> int:
        """Side of what the convolutions leave of a patch; the first fully connected layer covers it."""
        return self.patch - len(self.channels) * (self.kernel - 1)


class PatchCnn(Segmenter):
    """Dense patch CNN: (B, C, H, W) -> labels uint8 (B, H, W), probabilities (B, K, H, W)."""

    def __init__(self, params: PatchCnnParams, spec: Spec) -> None:
        super().__init__(params, spec, margin=params.patch // 2)
        self.params = params
        patches = params.learn == "patches"
        self.training_input = PatchInput(params.patch) if patches else CropInput((params.crop, params.crop))
        widths = (params.inputs * params.slices, *params.channels)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, params.kernel), nn.ReLU(inplace=True)]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(params.dropout)
        self.norm = LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)
        self.hidden = nn.Conv2d(widths[-1], params.hidden, params.rest)
        self.classifier = nn.Conv2d(params.hidden, len(spec.labels), 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def logits(self, x: Tensor) -> Tensor:
        """(B, C, h, w) after the graph steps -> (B, K, h - patch + 1, w - patch + 1), unpadded."""
        last = self.features[-2]
        x = self.features[:-2](x)
        # The last alone: it is by far the widest, and what follows it need not leave the tiles.
        if self.params.convolution == "winograd" and torch.compiler.is_exporting() and is_wide(last):
            if self.params.rest == 1:
                return self._logits_by_tiles(x, last)
            x = torch.relu(winograd(x, last.weight, last.bias))
        else:
            x = self.features[-2:](x)
        x = self.hidden(self.norm(self.dropout(x)))
        result: Tensor = self.classifier(torch.relu(x))
        return result

    def _logits_by_tiles(self, x: Tensor, last: nn.Conv2d) -> Tensor:
        """Compute `logits` in tiles behind the last convolution but one: no pixel depends on another after the last."""
        batch, _, height, width = x.shape
        x = torch.relu(in_tiles(x, last.weight, last.bias))
        x = lrn_by_roots(x, self.norm.size, self.norm.alpha, self.norm.k)
        x = per_pixel(torch.relu(per_pixel(x, self.hidden)), self.classifier)
        return from_tiles(x, batch, height - self.params.kernel + 1, width - self.params.kernel + 1)

    def whole(self, x: Tensor) -> Tensor:
        """See Segmenter.whole: half a patch of zeros around the image."""
        return self.logits(nn.functional.pad(x, (self.params.patch // 2,) * 4))

    def loss(self, image: Tensor, target: Any) -> dict[str, Tensor]:
        """Cross entropy; `target` (B,) centre labels of patches, or (B, H, W) of crops, 255 = not scored.

        Crops are not padded: only pixels whose whole patch lies inside the crop are scored.
        """
        logits = self.logits(self.steps(image))
        margin = self.params.patch // 2
        if target.ndim == 1:
            target = target[:, None, None]
        else:
            target = target[:, margin : target.shape[1] - margin, margin : target.shape[2] - margin]
        return {"cross_entropy": nn.functional.cross_entropy(logits, target.long(), ignore_index=IGNORED)}


ENTRY = Entry(
    task="segment",
    params=PatchCnnParams,
    learns="gradient",
    build=ensembled_segmenter(PatchCnn),
    tiny={"channels": [4, 6, 8], "hidden": 8},
)
