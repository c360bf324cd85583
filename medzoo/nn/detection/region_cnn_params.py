"""Parameters of the model type `region-cnn`, as its recipes give them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from medzoo.nn.detection.boxes import Mirror, Weights
from medzoo.nn.detection.heads import MaskParams
from medzoo.nn.net import Params

# Of each stage: scale of its box targets, about their inverse spread, and the overlap from which a region is an
# object's (Cascade R-CNN, section 4; the first line is Fast R-CNN's).
STAGES: tuple[tuple[Weights, float], ...] = (
    ((10.0, 10.0, 5.0, 5.0), 0.5),
    ((20.0, 20.0, 10.0, 10.0), 0.6),
    ((30.0, 30.0, 15.0, 15.0), 0.7),
)


class RegionCnnParams(Params):
    """Parameters of `region-cnn`; lengths are in pixels of the canvas."""

    backbone: str = Field("efficientnet_lite0", description="a timm model that gives features")
    weights: str | None = Field(
        None,
        description="package:efficientnet-lite0, or a safetensors file or folder: of a backbone, or of another region "
        "CNN, whose layers are taken as far as they are there",
    )
    norm: Literal["frozen", "batch"] = Field("frozen", description="batch norm of the backbone while training")
    freeze: tuple[str, ...] = Field(
        (), description="backbone layers that stay as loaded, by the beginning of their names: conv_stem, blocks.0"
    )
    channels: int = Field(3, ge=1, description="channels of one picture or slice")
    slices: int = Field(1, ge=1, description="neighbouring slices of a volume seen at once (odd)")
    axis: Literal[0, 1, 2] = Field(2, description="axis of the prepared volume along which slices are taken")
    mean: float = Field(127.0, description="stored value, after the graph steps, that the backbone sees as 0")
    std: float = Field(128.0, gt=0, description="stored difference that the backbone sees as 1")
    size: tuple[int, int] = Field((512, 512), description="canvas height and width; images are fitted into it")
    part: tuple[int, int] | None = Field(
        None, description="height and width of the part of the canvas that a training step sees; null: all of it"
    )
    tile: int | None = Field(
        None,
        ge=32,
        description="side of the square tiles in which pictures more than half as large again are read, each fitted "
        "into the canvas; null: all pictures are shrunk to the canvas",
    )
    strides: tuple[int, ...] = Field((8, 16, 32), min_length=1, description="pyramid levels, finest first")
    pyramid: int = Field(96, ge=1, description="channels of the pyramid")
    light: bool = Field(True, description="separable 3 x 3 convolutions in the pyramid and the proposals")
    anchor_sizes: tuple[tuple[float, ...], ...] = Field(
        ((12.0, 24.0), (48.0, 96.0), (160.0, 280.0)), description="square roots of areas, a tuple a level"
    )
    anchor_ratios: tuple[float, ...] = Field((0.5, 1.0, 2.0), min_length=1, description="height over width")
    candidates: int = Field(200, ge=1, description="proposals of each level before suppression")
    regions: int = Field(50, ge=1, description="regions that reach the head")
    detections: int = Field(50, ge=1, description="rows of the answer")
    overlap: float = Field(0.5, gt=0, lt=1, description="IoU above which the weaker of two answers goes")
    hidden: int = Field(256, ge=1, description="width of the head's two layers")
    stages: int = Field(1, ge=1, le=3, description="heads in a row, each moving the boxes of the one before it")
    tta: tuple[Mirror, ...] = Field(
        (),
        description="test-time augmentation: mirrored copies (x: left and right, y: up and down, xy) in which each "
        "region is classified as well",
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of the head's hidden values left out in training")
    train_candidates: int = Field(600, ge=1, description="candidates while training")
    train_regions: int = Field(300, ge=1, description="regions while training, before sampling")
    # The papers draw 256 anchors and 128 regions; where a picture holds an object or two that is nearly all
    # background, and a short training learns far slower.
    anchor_batch: int = Field(32, ge=2, description="anchors a picture in the proposal loss")
    region_batch: int = Field(32, ge=4, description="regions a picture in the head's loss")
    positive_share: float = Field(0.25, gt=0, lt=1, description="largest share of regions with an object")
    jittered_positives: int = Field(4, ge=0, description="jittered copies of each object among the head's regions")
    false_positives: float | None = Field(
        0.25,
        gt=0,
        description="false positives an image on validation data at the operating threshold; null: where F1 is best",
    )
    calibrate: bool = Field(
        False,
        description="after training, scores become chances: a logistic curve a class, of the score and of how close a "
        "box lies to the picture's border, through the answers to validation pictures",
    )
    mask: MaskParams | None = Field(
        None, description="a mask head (Mask R-CNN): the outline of each detection; needs data with instance masks"
    )
    background_min_iou: float = Field(
        0.0, ge=0, lt=0.5, description="lowest IoU with an object of regions sampled as background"
    )

    @model_validator(mode="after")
    def _fits(self) -> RegionCnnParams:
        if any(side < 1 or side % max(self.strides) for side in self.size):
            raise ValueError(f"size {self.size} must be positive multiples of {max(self.strides)}")
        if self.part is not None and any(
            side < 1 or side % max(self.strides) or side > whole
            for side, whole in zip(self.part, self.size, strict=True)
        ):
            raise ValueError(
                f"part {self.part} must be positive multiples of {max(self.strides)} within size {self.size}"
            )
        if self.tile is not None and self.slices > 1:
            raise ValueError("tile is for pictures: slices must be 1")
        if list(self.strides) != sorted(set(self.strides)) or self.strides[0] < 1:
            raise ValueError("strides must increase")
        if len(self.anchor_sizes) != len(self.strides):
            raise ValueError(f"anchor_sizes needs one tuple for each of the {len(self.strides)} strides")
        if len({len(level) for level in self.anchor_sizes}) != 1 or not self.anchor_sizes[0]:
            raise ValueError("every level of anchor_sizes needs the same number of sizes")
        if min(min(level) for level in self.anchor_sizes) <= 0 or min(self.anchor_ratios) <= 0:
            raise ValueError("anchor sizes and ratios must be positive")
        if self.slices % 2 == 0:
            raise ValueError("slices must be odd")
        if self.mask is not None and self.slices > 1:
            raise ValueError("mask is for pictures: slices must be 1")
        return self
