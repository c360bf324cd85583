"""The train section of a recipe. Knows no model and no trainer."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from medzoo.recipe.section import Section, Step

Count = Annotated[int, Field(ge=1)]
LoggerName = Literal["csv", "tensorboard", "mlflow", "wandb"]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class CheckpointSection(Section):
    """The checkpoints of a training."""

    every_steps: Count | None = Field(default=None, description="Save after this many optimiser steps.")
    every_minutes: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Save after this many minutes; with neither, after every epoch."
    )
    keep: int = Field(
        default=2, ge=1, le=1000, description="How many states are kept: a damaged one falls back to the one before it."
    )


class TrainSection(Section):
    """The training; closed-form models only take a seed and workers."""

    epochs: int = Field(default=10, ge=1, description="Passes over the training items.")
    max_steps: Count | None = Field(default=None, description="Stop after this many optimiser steps, if earlier.")
    steps_per_epoch: Count | None = Field(default=None, description="Batches that count as one epoch; null: all.")
    batch: int = Field(
        default=16,
        ge=1,
        description="Items in one batch, over all devices together: more devices change the speed, not the result.",
    )
    find: tuple[Literal["batch", "lr"], ...] = Field(
        default=(),
        description="What is looked for before training. batch: the largest that the device holds, at most 1024 and a "
        "tenth of an epoch's items. lr: a tenth of the rate at which the loss of a short sweep is least. "
        "The recipe in the model folder holds the numbers that were found.",
    )
    accumulate: int = Field(default=1, ge=1, description="Batches whose gradients make one optimiser step.")

    optimizer: Literal["adamw", "adam", "sgd"] = Field(default="adamw", description="The optimiser.")
    lr: float = Field(default=1e-3, gt=0, le=100, description="Learning rate after the warm-up.")
    weight_decay: float = Field(default=0.0, ge=0, le=100, description="Weight decay.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum; sgd only.")
    schedule: Literal["constant", "cosine", "poly", "step"] = Field(
        default="cosine",
        description="The learning rate after the warm-up: constant, down to zero by a half "
        "cosine, down to zero by (1 - share of the run) ** 0.9 (poly), or divided by ten at each of the milestones.",
    )
    milestones: tuple[Fraction, ...] = Field(
        default=(0.5, 0.75),
        description="Fractions of the run at which schedule step divides the learning rate.",
    )
    warmup: Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0,
        description="Steps (a count) or fraction of the run over which the learning rate rises from zero.",
    )
    clip: Annotated[float, Field(gt=0)] | None = Field(default=None, description="Largest norm of the gradient.")
    ema: Fraction | None = Field(default=None, description="Decay of an exponential moving average of the weights.")

    parent: str | None = Field(
        default=None,
        description="A trained model whose weights the training begins with, a zoo name or folder: by name and shape, "
        "heads by the names of the labels.",
    )
    freeze: tuple[str, ...] = Field(
        default=(), description="Parts of the net that stay as the parent has them, by the beginning of their names."
    )

    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of each target spread over all classes.")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="Weight the classes in the loss by the inverse of how often they occur."
    )
    focal: Annotated[float, Field(gt=0, le=10)] | None = Field(
        default=None, description="Exponent (gamma) of a focal loss in place of cross entropy."
    )
    mixup: float = Field(default=0.0, ge=0, le=10, description="Alpha of mixup's beta distribution; 0: no mixup.")
    augment: tuple[Step, ...] = Field(default=(), description="Random changes to the training images, in order.")

    monitor: str | None = Field(default=None, description="The validation figure that decides which state is best.")
    choose: Literal["best", "last"] = Field(
        default="best",
        description="The state that the model is made of. last: validation items choose nothing, so what is "
        "calibrated on them is not flattered.",
    )
    early_stopping: Count | None = Field(
        default=None, description="Stop after this many validations without a better one."
    )
    checkpoint: CheckpointSection = Field(
        default_factory=CheckpointSection, description="When the state of the training is saved."
    )
    logger: tuple[LoggerName, ...] = Field(
        default=("csv",),
        description="Where the learning curves are written, beside learning-curve.png; services need their package.",
    )

    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto", description="Arithmetic; auto: bf16 on a GPU that has it, else fp32."
    )
    devices: Literal["auto"] | Count = Field(default="auto", description="Devices on each node.")
    nodes: int = Field(default=1, ge=1, description="Machines that train together.")
    strategy: Literal["auto", "ddp", "fsdp"] = Field(default="auto", description="How several devices share the work.")
    deterministic: bool = Field(default=False, description="The same numbers on every run, at some cost in speed.")
    channels_last: bool = Field(default=False, description="Keep the channels last in memory, faster on some GPUs.")
    workers: int = Field(default=0, ge=0, le=1024, description="Processes that read data; 0: the training's own.")
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the weights, the order and the augmentation.")
    on_bad_image: Literal["stop", "skip"] = Field(
        default="stop",
        description="What to do about an image that cannot be read in the middle of a training.",
    )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.freeze and self.parent is None:
            raise PydanticCustomError("train", "freeze holds what a parent gave, and there is no parent")
        if self.focal is not None and self.label_smoothing > 0:
            raise PydanticCustomError("train", "focal and label_smoothing exclude each other")
        return self
