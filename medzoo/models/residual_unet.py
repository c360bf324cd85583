"""A U-Net for volumes as nnU-Net plans it: run in overlapping patches whose voxels have known sides.

Isensee et al., Nature Methods 18:203, 2021. Instance normalisation makes an answer depend on the whole patch, so the
runtime gives the graph patches of the size of training, and joins them by Gaussian weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from monai.losses import DiceLoss
from pydantic import Field, model_validator
from torch import Tensor, nn

from medzoo.inputs.crops import CropInput
from medzoo.nn.ensemble import ensembled_segmenter
from medzoo.nn.net import Entry, Spec
from medzoo.nn.residual_unet import ResidualUNet, plan_levels
from medzoo.nn.segmenter import Segmenter, SegmenterParams
from medzoo.runtime.metadata import SlidingWindow
from medzoo.types import IGNORED

Side = Annotated[int, Field(ge=8, le=1024)]
Width = Annotated[int, Field(ge=1, le=2048)]
Millimetres = Annotated[float, Field(gt=0)]


class ResidualUNetParams(SegmenterParams):
    """Parameters of the U-Net for volumes; the defaults suit two cores."""

    patch: tuple[Side, Side, Side] = Field((48, 48, 48), description="voxels of the patches it learns from and answers")
    spacing: tuple[Millimetres, Millimetres, Millimetres] = Field(
        (1.0, 1.0, 1.0),
        description="sides of the prepared voxels, mm: coarse axes are pooled later, and convolved along later",
    )
    channels: Annotated[tuple[Width, ...], Field(min_length=2, max_length=8)] = Field(
        (24, 48, 96, 192), description="width at each level"
    )
    residual: bool = Field(True, description="residual blocks in the encoder; false: plain convolutions")
    deep_supervision: bool = Field(True, description="coarser levels are scored too, with weights 1, 1/2, 1/4, ...")
    oversample: float = Field(1 / 3, ge=0, le=1, description="share of the patches drawn around a foreground label")
    dice: float = Field(1.0, ge=0, description="weight of the soft Dice loss beside cross entropy")
    overlap: float = Field(0.5, ge=0, le=0.9, description="least share of a patch that its neighbour repeats")
    mirror: tuple[Literal[0, 1, 2], ...] = Field(
        (), description="axes of the prepared volume over whose mirrored views the answer is averaged"
    )

    @model_validator(mode="after")
    def _fits(self) -> ResidualUNetParams:
        if self.slices != 1:
            raise ValueError("slices are for models of slices; a volume has them all")
        if len(set(self.mirror)) < len(self.mirror):
            raise ValueError("mirror names an axis twice")
        plan_levels(self.patch, self.spacing, len(self.channels))
        return self


class VolumeUNet(Segmenter):
    """(B, C, *spatial) -> labels uint8 (B, *spatial), probabilities (B, K, *spatial)."""

    def __init__(self, params: ResidualUNetParams, spec: Spec) -> None:
        plan = plan_levels(params.patch, params.spacing, len(params.channels))
        window = SlidingWindow(size=params.patch, overlap=params.overlap, mirror=tuple(sorted(params.mirror)))
        super().__init__(params, spec, dims=3, multiple=max(plan.multiple), window=window)
        self.params, self.multiple = params, plan.multiple
        self.training_input = CropInput(params.patch, foreground=params.oversample)
        self.net = ResidualUNet(
            params.inputs,
            len(spec.labels),
            channels=params.channels,
            plan=plan,
            residual=params.residual,
            deep=params.deep_supervision,
        )
        self.dice = DiceLoss(include_background=False, batch=True)

    def logits(self, x: Tensor) -> Tensor:
        """(B, C, *spatial) after the graph steps -> (B, K, *spatial)."""
        pads: list[Any] = []
        for size, multiple in zip(reversed(x.shape[2:]), reversed(self.multiple), strict=True):
            pads += [0, (size + multiple - 1) // multiple * multiple - size]
        levels: Sequence[Tensor] = self.net(nn.functional.pad(x, pads))
        result = levels[0]
        for axis, size in enumerate(x.shape[2:], start=2):
            result = result.narrow(axis, 0, size)
        return result

    def loss(self, image: Tensor, target: Any) -> dict[str, Tensor]:
        """Cross entropy and soft Dice (Milletari et al., 3DV 2016) of patches; `target` (B, *patch), 255 not scored.

        With deep supervision the weighted mean over the levels, whose targets are every second voxel and so on.
        """
        levels: Sequence[Tensor] = self.net(self.steps(image))
        halved = [0.5**level for level in range(len(levels))]
        losses = {"cross_entropy": image.new_zeros(()), "dice": image.new_zeros(())}
        for logits, weight in zip(levels, halved, strict=True):
            strides = [whole // own for whole, own in zip(target.shape[1:], logits.shape[2:], strict=True)]
            picked = target[(slice(None), *(slice(stride // 2, None, stride) for stride in strides))]
            for name, value in self._scored(logits.float(), picked.long()).items():
                losses[name] = losses[name] + weight / sum(halved) * value
        return losses if self.params.dice else {"cross_entropy": losses["cross_entropy"]}

    def _scored(self, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """The losses of one level, means over the voxels that are scored; 0 where none is."""
        scored = target != IGNORED
        entropy = nn.functional.cross_entropy(logits, target, ignore_index=IGNORED, reduction="sum")
        truth = nn.functional.one_hot(target * scored, logits.shape[1]).movedim(-1, 1) * scored[:, None]
        dice = self.dice(logits.softmax(dim=1) * scored[:, None], truth)
        return {"cross_entropy": entropy / scored.sum().clamp(min=1), "dice": self.params.dice * dice}


ENTRY = Entry(
    task="segment",
    params=ResidualUNetParams,
    learns="gradient",
    build=ensembled_segmenter(VolumeUNet),
    tiny={"channels": [4, 6, 8], "patch": [16, 16, 16]},
)
