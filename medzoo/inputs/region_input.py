"""Regions that a host step proposes: the training input of detectors that classify proposals (R-CNN)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from rich.progress import track

from medzoo.augment.augmentation import Augmentation
from medzoo.data.opened import OpenData
from medzoo.inputs.batches import Batches
from medzoo.inputs.probes import blobs
from medzoo.inputs.regions import ProposedPictures, WholePictures, WindowBatches
from medzoo.inputs.training_input import VALIDATION_STEPS, Loaders, TrainingInput, brightness_examples
from medzoo.preprocess.host.selective_search import SelectiveSearch
from medzoo.preprocess.steps import parse_steps
from medzoo.recipe import Recipe
from medzoo.report.summary import Console
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.parity.gate import Golden

_CROWDED = 8  # images with many proposed regions among the golden inputs


@dataclass(frozen=True)
class RegionInput(TrainingInput):
    """Regions for nets that are trained by gradient on windows and then solved in closed form on whole images.

    By gradient: windows (N, C, h, w) of all training images and their classes (N,), of which `positive_share` overlap
    an object by at least `positive`; the last class is background. Solved and calibrated on whole images:
    ((regions (1, R, C, h, w), boxes (1, R, 4)), [{boxes (M, 4), labels (M,), windows (M, C, h, w)}]).
    """

    host_example: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"op": "selective-search", "side": 64, "smallest": 0.1, "count": 30, "size": [32, 32], "context": 4},
    )
    positive: float = 0.5
    positive_share: float = 0.25

    def open(self, geometry: Geometry, recipe: Recipe, data: OpenData) -> Loaders:
        """See TrainingInput.open."""
        settings = recipe.train
        train, val = (
            ProposedPictures(
                data.data,
                data.part(part),
                recipe.host_steps,
                channels=geometry.channels,
                on_bad_image=settings.on_bad_image,
                watch=lambda items: track(items, description="searching", console=Console(stderr=True)),
            )
            for part in ("train", "val")
        )
        # So many that each object is sampled about once.
        natural = -(-sum(len(one.objects) for one in train.all) // max(1, round(settings.batch * self.positive_share)))
        steps = settings.steps_per_epoch or max(1, natural)

        def windows(pictures: ProposedPictures, steps: int, seed: int, augment: Sequence[Augmentation]) -> Batches:
            return WindowBatches(
                pictures,
                positive=self.positive,
                positive_share=self.positive_share,
                classes=len(recipe.labels),
                batch=settings.batch,
                steps=steps,
                seed=seed,
                augmentations=augment,
            )

        augmentations = [step.params for step in settings.augment]
        return Loaders(
            windows(train, steps, settings.seed, augmentations),
            windows(val, min(VALIDATION_STEPS, steps), settings.seed + 1, ()) if len(val.items) else None,
            partial(_golden, WholePictures(val if len(val.items) else train)),
            WholePictures(train),
            WholePictures(val) if len(val.items) else None,
        )

    def example(self, geometry: Geometry, *, labels: int, size: int = 8) -> tuple[Any, ...]:
        """See TrainingInput.example."""
        kinds = torch.arange(size) % (labels + 1)
        return brightness_examples(kinds, (geometry.channels, 32, 32)), kinds

    def closed_form_examples(self, geometry: Geometry, *, labels: int) -> list[tuple[Any, ...]]:
        """See TrainingInput.closed_form_examples: three images of twelve regions."""
        found = []
        for _ in range(3):
            windows, kinds = self.example(geometry, labels=labels, size=12)
            low = torch.rand(12, 2) * 60
            boxes = torch.cat([low, low + 20], dim=1)
            there = kinds < labels
            objects = {"boxes": boxes[there], "labels": kinds[there], "windows": windows[there]}
            found.append(((windows[None], boxes[None]), [objects]))
        return found

    def probes(self, net: Any, metadata: Metadata, golden: Sequence[Golden]) -> list[Golden]:
        """See TrainingInput.probes."""
        return region_probes(metadata)


def _golden(pictures: WholePictures) -> list[Golden]:
    """Batches of 1, 2, 3 and 5 images with as many regions as suit, the objects among them; then more images with many
    regions, of which some overlap by any threshold."""
    found = []
    wanted = [(range(batch), count) for batch, count in ((1, 64), (2, 24), (3, 16), (5, 9))]
    wanted += [(range(first, first + 1), 160) for first in range(5, min(5 + _CROWDED, len(pictures)))]
    for picked, count in wanted:
        rows = []
        for index in picked:
            (regions, boxes), (target,) = pictures.batch(0, index % len(pictures))
            both = [np.concatenate([target["windows"], regions[0]]), np.concatenate([target["boxes"], boxes[0]])]
            rows.append([np.resize(np.arange(len(both[0])), count), *both])
        regions, boxes = (np.stack([row[part][row[0]] for row in rows]).astype(np.float32) for part in (1, 2))
        found.append(Golden(f"data {'x'.join(map(str, regions.shape))}", {"regions": regions, "boxes": boxes}))
    return found


def region_probes(metadata: Metadata, *, seed: int = 0, low: float = 0.0, high: float = 255.0) -> list[Golden]:
    """Seeded probe regions {"regions": (B, R, C, h, w), "boxes": (B, R, 4)} of several batches, in the size that the
    model's host step cuts: overlapping boxes on pictures of blobs, and rows of nothing at the end of some."""
    step = next((one for one in parse_steps(metadata.host) if isinstance(one, SelectiveSearch)), None)
    step = step or SelectiveSearch(size=(32, 32), context=4)
    rng = np.random.default_rng(seed)
    found = []
    for batch, count in ((1, 12), (2, 7), (3, 5), (5, 4)):
        regions, boxes = [], []
        for row in range(batch):
            picture = blobs(rng, metadata.geometry.channels, (160, 200), low, high)
            corner = rng.uniform((0, 0), (80, 60), (count, 2))
            mine = np.concatenate([corner, corner + rng.uniform(30, 100, (count, 2))], axis=1).round()
            cut = step.warp(picture, mine)
            if row % 2:
                mine[-1], cut[-1] = 0, 0
            boxes.append(mine)
            regions.append(cut.astype(np.float16))
        inputs = {"regions": np.stack(regions).astype(np.float32), "boxes": np.stack(boxes).astype(np.float32)}
        found.append(Golden(f"probe {'x'.join(map(str, inputs['regions'].shape))}", inputs))
    return found
