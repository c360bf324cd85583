"""A U-Net for segmentation, of slices (with their neighbours as channels) or of volumes: MONAI's BasicUNet.

Ronneberger et al., MICCAI 2015; Cicek et al., MICCAI 2016. Batch normalisation, because its statistics are
fixed once trained: an answer depends on nothing farther away than the receptive field, and tiles join
without seams. The graph pads to whole multiples of its pooling by itself, so any size goes in.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from monai.losses import DiceLoss
from monai.networks.nets import BasicUNet
from monai.networks.nets.basic_unet import UpCat
from pydantic import Field, model_validator
from torch import Tensor, nn

from medzoo.inputs.crops import CropInput
from medzoo.nn.ensemble import ensembled_segmenter
from medzoo.nn.net import Entry, Spec
from medzoo.nn.segmenter import Segmenter, SegmenterParams
from medzoo.types import IGNORED

_MULTIPLE = 16  # four poolings by two
# Farthest that an output looks: two 3^d convolutions a level at steps of 1, 2, 4, 8 and 16 voxels on the way
# down (62), the windows of the four poolings (15), two convolutions at each of four levels on the way up (30).
_REACH = 107


class UNetParams(SegmenterParams):
    """Parameters of the U-Net; the defaults answer a head in seconds on two cores."""

    dims: Literal[2, 3] = Field(2, description="2: slices, 3: volumes")
    channels: tuple[int, int, int, int, int] = Field((16, 32, 64, 128, 128), description="width at each level")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout after each convolution")
    crop: int = Field(96, ge=16, description="side of the training crops")
    tile: int | None = Field(None, ge=16, description="largest side answered at once; none: no limit")
    mirror: bool = Field(
        False, description="answer with the mean over the image and its mirror image along its first axis"
    )
    dice: float = Field(1.0, ge=0, description="weight of the soft Dice loss beside cross entropy")

    @model_validator(mode="after")
    def _fits(self) -> UNetParams:
        if self.dims == 3 and self.slices != 1:
            raise ValueError("slices applies to dims: 2 only; a volume has all of its slices")
        return self


class UNet(Segmenter):
    """(B, C, *spatial) -> labels uint8 (B, *spatial), probabilities (B, K, *spatial); 2D or 3D."""

    def __init__(self, params: UNetParams, spec: Spec) -> None:
        super().__init__(params, spec, dims=params.dims, margin=_REACH, multiple=_MULTIPLE, tile=params.tile)
        self.params = params
        self.training_input = CropInput((params.crop,) * params.dims)
        self.net = BasicUNet(
            spatial_dims=params.dims,
            in_channels=params.inputs * params.slices,
            out_channels=len(spec.labels),
            features=(*params.channels, params.channels[0]),
            act=("relu", {"inplace": True}),
            norm="batch",
            dropout=params.dropout,
        )
        for module in self.net.modules():
            if isinstance(module, UpCat):
                module.is_pad = False  # sizes are whole multiples already, and a graph cannot ask
        self.dice = DiceLoss(softmax=True, to_onehot_y=False, batch=True)

    def logits(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) after the graph steps -> (B, K, *spatial)."""
        pads: list[Any] = []
        for size in reversed(x.shape[2:]):
            pads += [0, (size + _MULTIPLE - 1) // _MULTIPLE * _MULTIPLE - size]
        # What is mirrored is the padded image: the poolings' windows stay where they are, so tiles still join.
        padded = nn.functional.pad(x, pads)
        result: Tensor = self.net(padded)
        if self.params.mirror and not self.training:
            result = (result + self.net(padded.flip(2)).flip(2)) / 2
        for axis, size in enumerate(x.shape[2:], start=2):
            result = result.narrow(axis, 0, size)
        return result

    def loss(self, image: Tensor, target: Any) -> dict[str, Tensor]:
        """Cross entropy and soft Dice (Milletari et al., 3DV 2016) of crops; `target` (B, *spatial), 255 not scored."""
        logits = self.logits(self.steps(image))
        target = target.long()
        losses = {"cross_entropy": nn.functional.cross_entropy(logits, target, ignore_index=IGNORED)}
        if self.params.dice:
            scored = (target != IGNORED)[:, None]
            truth = nn.functional.one_hot(target * scored[:, 0], logits.shape[1]).movedim(-1, 1)
            # Where nothing is scored, both sides are certain of background: no part in the loss.
            blank = nn.functional.one_hot(torch.zeros_like(target), logits.shape[1]).movedim(-1, 1)
            answer = torch.where(scored, logits, 50.0 * blank)
            losses["dice"] = self.params.dice * self.dice(answer, truth)
        return losses


ENTRY = Entry(
    task="segment",
    params=UNetParams,
    learns="gradient",
    build=ensembled_segmenter(UNet),
    tiny={"channels": [4, 4, 8, 8, 8], "crop": 32},
)
