"""Scans of brains synthesised while they are read, from label maps with FreeSurfer's numbers.

An item is one label map and the number of a variant; what it looks like is a pure function of both and of
the seed, so nothing is stored and every run sees the same scans. Splits by "subject" leave label maps out.
Fluid: the label maps of SynthSeg count all of it (24 is that outside the ventricles, sulci included), while
FreeSurfer's own segmentations of real scans hold little but the ventricles; compare CSF with that in mind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.data.generator.scan import Look, synthesise
from medzoo.data.generator.structures import compact, tissues
from medzoo.errors import UserError
from medzoo.io.cache import cached, code_digest
from medzoo.io.read import read_labels
from medzoo.preprocess.orient import Orient
from medzoo.types import Array, Frame, Image

LABELS = ("background", "csf", "grey-matter", "white-matter")
_MARGIN = 18  # millimetres kept around grey and white matter, for what deformation moves


class BrainGeneratorParams(DataParams):
    """Where the label maps are, and what the scans made from them look like."""

    root: Path = Field(description="folder of label maps (.nii.gz, .nii, .mgz) with FreeSurfer's numbers")
    pattern: str = Field("*.nii.gz", min_length=1, description="which files of the folder are label maps")
    variants: int = Field(2, ge=1, le=10_000, description="scans made from each label map")
    renew: int = Field(0, ge=0, description="training scans replaced by new ones at each epoch")
    contrast: Literal["t1-like", "random"] = Field("t1-like", description="intensities of the tissues")
    whole_head: float = Field(0.0, ge=0, le=1, description="share of scans without brain extraction")
    deformation: float = Field(1.0, ge=0, le=2, description="strength of the deformation, 0 for none")
    bias: float = Field(1.0, ge=0, le=3, description="strength of the bias field, 0 for none")
    gamma: float = Field(1.0, ge=0, le=3, description="strength of the change of the contrast curve")
    noise: float = Field(0.04, ge=0, le=1, description="largest standard deviation of noise; white matter is 1")
    thick: float = Field(0.1, ge=0, le=1, description="share of scans in slices of up to 3 mm")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of all scans")


class BrainGenerator:
    """Items are label map x variant; groups "subject" and "scan"."""

    def __init__(self, params: BrainGeneratorParams, task: str, labels: Sequence[str]) -> None:
        if tuple(labels) != LABELS:
            raise UserError(f"brain-generator has the labels {', '.join(LABELS)}", where="labels")
        self.params = params
        self.look = Look(
            contrast=params.contrast,
            whole_head=params.whole_head,
            deformation=params.deformation,
            bias=params.bias,
            gamma=params.gamma,
            noise=params.noise,
            thick=params.thick,
        )
        self._maps = lru_cache(maxsize=64)(label_map)

    def items(self) -> Sequence[Item]:
        files = sorted(self.params.root.glob(self.params.pattern)) if self.params.root.is_dir() else []
        if not files:
            raise UserError(f"no label maps {self.params.pattern} here", where=str(self.params.root))
        return [
            Item(
                f"{file.name.split('.')[0]}/{variant:03d}",
                {"label": file},
                {"subject": file.name.split(".")[0], "scan": f"{file.name}/{variant}"},
                facts={"map": index, "variant": variant, "generation": 0},
            )
            for variant in range(self.params.variants)
            for index, file in enumerate(files)
        ]

    def renewed(self, items: Sequence[Item], epoch: int) -> list[Item]:
        """`items` as they are in `epoch`: in turn, `renew` of them have been replaced before each epoch."""
        replaced = epoch * self.params.renew
        return [
            replace(item, facts={**item.facts, "generation": (replaced + len(items) - 1 - place) // len(items)})
            for place, item in enumerate(items)
        ]

    def load(self, item: Item) -> Sample:
        path = item.files["label"]
        labels, affine = self._maps(path)
        key = [self.params.seed, item.facts["map"], item.facts["variant"], item.facts["generation"]]
        make = cache(lambda: synthesise(labels, np.random.default_rng(np.random.SeedSequence(key)), self.look))
        if item.facts["generation"]:
            scan, target = make()
        else:
            # Audit and training, and every run that begins anew, look at these.
            said = f"{code_digest()} {self.look} {key}"
            scan = np.array(cached(path, f"scan {said}", lambda: make()[0]))
            target = np.array(cached(path, f"tissues {said}", lambda: make()[1]))
        return Sample(item, Image(scan[None], affine, source=item.id), target)


def label_map(path: Path) -> tuple[Array, Array]:
    """Label bytes (I, J, K) uint8 in RAS, cut to the brain with a margin, and their affine.

    Raises UserError for a file that is no label map, or holds no grey or white matter.
    """
    image = read_labels(path)
    image, _ = Orient(to="RAS").apply(image, Frame.of(image))
    try:
        labels = compact(image.array[0])
    except ValueError as error:
        raise UserError(str(error), where=str(path)) from error
    tissue = tissues()[labels] > 1
    if not tissue.any():
        raise UserError("has no grey and no white matter by FreeSurfer's numbers", where=str(path))
    assert image.affine is not None
    box = []
    for axis, step in enumerate(image.spacing):
        hits = np.flatnonzero(tissue.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = round(_MARGIN / step)
        box.append(slice(max(0, int(hits[0]) - margin), min(labels.shape[axis], int(hits[-1]) + 1 + margin)))
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return np.ascontiguousarray(labels[tuple(box)]), affine


ENTRY = DataEntry(params=BrainGeneratorParams, tasks=("segment",), open=BrainGenerator, image="brain-extracted T1 scan")
