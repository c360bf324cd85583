"""Scans of brains synthesised while they are read, from label maps with FreeSurfer's numbers.

An item is one label map and the number of a variant; what it looks like is a pure function of both and of
the seed, so nothing is stored and every run sees the same scans. Splits by "subject" leave label maps out.
Fluid: the label maps of SynthSeg count all of it (24 is that outside the ventricles, sulci included), while
FreeSurfer's own segmentations of real scans hold little but the ventricles; compare CSF with that in mind.

With `real`, real scans and their label maps are the data's own test part (`split: {given: true}`): what was learned
from synthetic scans is measured on people.

With `lesions` the scans are FLAIR-like and hold lesions of multiple sclerosis: one more label of a segmentation, or the
objects of a detection (a box about each connected lesion).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from medzoo import registry
from medzoo.boxes import bounding_box
from medzoo.data.dataset import DERIVED, DataEntry, DataParams, Dataset, Item, Objects, Sample
from medzoo.data.file_names import distinct_names, is_hidden
from medzoo.data.generator.contrast import plain_contrast
from medzoo.data.generator.scan import Look, synthesise
from medzoo.data.generator.structures import LESION, compact, tissues
from medzoo.data.objects import component_boxes
from medzoo.errors import UserError
from medzoo.io.cache import cached, code_digest
from medzoo.io.read import read_labels
from medzoo.preprocess.host.orient import Orient
from medzoo.types import Array, GridTransform, Image

LABELS = ("background", "csf", "grey-matter", "white-matter")
LESION_LABEL = "lesion"
_MARGIN = 18  # millimetres kept around grey and white matter, for what deformation moves


class RealScans(DataParams):
    """Real scans to test on after training on synthetic ones; `image` and `label` as in `nifti-pairs`.

    With `test`, they are cut into `slabs`, of which those are tested on and the others learned from, `repeat` times.
    """

    root: Path = Field(description="folder of the scans")
    image: str = Field(description='pattern of their paths below it, such as "{subject}/flair.nii.gz"')
    label: str = Field(description="pattern of their label maps, with the same places in braces")
    slabs: int = Field(1, ge=1, description="blocks of slices that each scan is cut into")
    gap: int = Field(3, ge=0, description="slices left out between two of them")
    test: tuple[int, ...] | None = Field(None, description="numbers of the slabs tested on; without: everything is")
    repeat: int = Field(1, ge=1, description="how often a slab that is learned from stands among the synthetic scans")

    @model_validator(mode="after")
    def _agrees(self) -> RealScans:
        if self.test is not None and (self.slabs == 1 or not all(0 <= number < self.slabs for number in self.test)):
            raise ValueError("test must name some of the slabs, which are numbered from 0")
        return self


class BrainGeneratorParams(DataParams):
    """Parameters of `brain-generator`: the label maps, and the look of the scans made from them."""

    root: Path = Field(description="folder of label maps (.nii.gz, .nii, .mgz) with FreeSurfer's numbers")
    pattern: str = Field("*.nii.gz", min_length=1, description="which files of the folder are label maps")
    variants: int = Field(2, ge=1, le=10_000, description="scans made from each label map")
    renew: int = Field(0, ge=0, description="training scans replaced by new ones at each epoch")
    contrast: Literal["t1-like", "flair-like", "random"] = Field("t1-like", description="intensities of the tissues")
    whole_head: float = Field(0.0, ge=0, le=1, description="share of scans without brain extraction")
    deformation: float = Field(1.0, ge=0, le=2, description="strength of the deformation, 0 for none")
    bias: float = Field(1.0, ge=0, le=3, description="strength of the bias field, 0 for none")
    gamma: float = Field(1.0, ge=0, le=3, description="strength of the change of the contrast curve")
    noise: float = Field(0.04, ge=0, le=1, description="largest standard deviation of noise; white matter is 1")
    thick: float = Field(0.1, ge=0, le=1, description="share of scans in slices of up to 3 mm")
    resampled: float = Field(0.0, ge=0, le=1, description="share of scans whose noise is smooth, as after resampling")
    blur: tuple[float, float] = Field((0.4, 1.0), description="least and largest point spread, mm (standard deviation)")
    lesions: tuple[int, int] | None = Field(
        None, description="least and largest number of lesions drawn into a scan; flair-like only"
    )
    smallest_mm3: float = Field(0.0, ge=0, description="detect: lesions below this volume are no box")
    real: RealScans | None = Field(None, description="real scans, the test part of a split that is `given`")
    seed: int = Field(0, ge=0, lt=2**32, description="seed of all scans")

    @model_validator(mode="after")
    def _agrees(self) -> BrainGeneratorParams:
        if not 0 <= self.blur[0] <= self.blur[1]:
            raise ValueError("blur must be two numbers of at least 0, the smaller first")
        if self.lesions is None:
            return self
        if not 1 <= self.lesions[0] <= self.lesions[1]:
            raise ValueError("lesions must be two numbers of at least 1, the smaller first")
        if self.contrast != "flair-like":
            raise ValueError("lesions are drawn only into scans of contrast: flair-like")
        return self


class BrainGenerator:
    """Items are label map x variant; groups "subject" and "scan".

    Samples of a detection hold the lesions' boxes, and their mask as `Sample.mask`.
    """

    def __init__(self, params: BrainGeneratorParams, task: str, labels: Sequence[str]) -> None:
        if task == "detect" and params.lesions is None:
            raise UserError("scans without lesions have nothing to detect", "data.lesions", "lesions: [10, 100]")
        if task == "detect" and params.renew:
            raise UserError("a detector needs every scan from the first epoch on", "data.renew", "use variants")
        known: tuple[str, ...] = (*LABELS, LESION_LABEL) if params.lesions else LABELS
        if task == "detect":
            known = (LESION_LABEL,)
        if tuple(labels) != known:
            raise UserError(f"the labels of brain-generator must be {', '.join(known)}", where="labels")
        self.params, self.task = params, task
        self.look = Look(
            contrast=params.contrast,
            whole_head=params.whole_head,
            deformation=params.deformation,
            bias=params.bias,
            gamma=params.gamma,
            noise=params.noise,
            thick=params.thick,
            resampled=params.resampled,
            blur=params.blur,
            lesions=params.lesions,
        )
        self._maps = lru_cache(maxsize=64)(label_map)
        self._real: Dataset | None = None
        if params.real is not None:
            entry, chosen = registry.entry("data", "nifti-pairs"), params.real.model_dump(exclude={"test", "repeat"})
            if task == "detect":
                chosen["smallest_mm3"] = params.smallest_mm3
            self._real = entry.open(entry.params.model_validate(chosen), task, labels)

    def items(self) -> Sequence[Item]:
        root = self.params.root
        files = sorted(root.glob(self.params.pattern)) if root.is_dir() else []
        files = [path for path in files if not is_hidden(path, root=root)]
        if not files:
            raise UserError(f"no label map matches {self.params.pattern}", where=str(self.params.root))
        names = distinct_names(files, root, short=lambda path: path.name.split(".")[0])
        alone = len({file.name for file in files}) == len(files)
        return [
            Item(
                f"{name}/{variant:03d}",
                {"label": file},
                {"subject": name, "scan": f"{file.name if alone else name}/{variant}"},
                part="train",
                facts={"map": index, "variant": variant, "generation": 0},
            )
            for variant in range(self.params.variants)
            for index, (file, name) in enumerate(zip(files, names, strict=True))
        ] + self._real_items()

    def _real_items(self) -> list[Item]:
        """Real scans, or the slabs of them, those that are learned from as often as `repeat` says."""
        if self._real is None or self.params.real is None:
            return []
        asked, found = self.params.real, []
        for item in self._real.items():
            item = replace(item, groups={"subject": item.id, "scan": item.id})
            if asked.test is None or int(item.id.rpartition("#")[2]) in asked.test:
                found.append(replace(item, part="test"))
            else:
                found += [replace(item, id=f"{item.id}/{n:03d}", part="train") for n in range(asked.repeat)]
        return found

    def items_at_epoch(self, items: Sequence[Item], epoch: int) -> list[Item]:
        """Made `items` as they are in `epoch`: in turn, `renew` of them have been replaced before each epoch."""
        replaced = epoch * self.params.renew
        return [
            replace(item, facts={**item.facts, "generation": (replaced + len(items) - 1 - place) // len(items)})
            for place, item in enumerate(items)
        ]

    def source(self, item: Item) -> Sample:
        """The label map that `item` is made from, as a plain image of the brain: a copy of it under another name cannot
        be seen in the scans, each of which is deformed and shaded in its own way."""
        if "map" not in item.facts:
            return self.load(item)
        labels, affine = self._maps(item.files["label"])
        image = Image(plain_contrast()[labels][None], affine, source=item.id, meta={DERIVED: item.facts["variant"]})
        return Sample(item, image, tissues()[labels])

    def load(self, item: Item) -> Sample:
        if "map" not in item.facts:
            assert self._real is not None
            return self._real.load(item)
        path = item.files["label"]
        labels, affine = self._maps(path)
        key = [self.params.seed, item.facts["map"], item.facts["variant"], item.facts["generation"]]
        make = cache(lambda: synthesise(labels, np.random.default_rng(np.random.SeedSequence(key)), self.look))
        if item.facts["generation"]:
            scan, target = make()
        else:
            # Audit and training, and every run that begins anew, look at these.
            cache_key = f"{code_digest()} {self.look} {key}"
            scan = np.array(cached(path, f"scan {cache_key}", lambda: make()[0]))
            target = np.array(cached(path, f"tissues {cache_key}", lambda: make()[1]))
        image = Image(scan[None], affine, source=item.id)
        if self.task == "segment":
            return Sample(item, image, target)
        mask = (target == LESION).astype(np.uint8)
        smallest = max(1, int(np.ceil(self.params.smallest_mm3 / np.prod(image.spacing))))
        boxes = component_boxes(mask, smallest=smallest)
        return Sample(item, image, Objects(boxes, np.zeros(len(boxes), np.int64)), mask)


def label_map(path: Path) -> tuple[Array, Array]:
    """Label bytes (I, J, K) uint8 in RAS, cut to the brain with a margin, and their affine.

    Raises UserError for a file that is no label map, or holds no grey or white matter.
    """
    image = read_labels(path)
    try:
        image = image.replace(array=compact(image.array))  # first, for a byte a voxel is turned in no time
    except ValueError as error:
        raise UserError(str(error), where=str(path)) from error
    image, _ = Orient(to="RAS").apply(image, GridTransform.identity(image))
    labels = image.array[0]
    tissue = tissues()[labels] > 1
    box = bounding_box(tissue, margin=[round(_MARGIN / step) for step in image.spacing])
    if box is None:
        raise UserError("has neither grey nor white matter by FreeSurfer's label numbers", where=str(path))
    assert image.affine is not None
    affine = image.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return np.ascontiguousarray(labels[box]), affine


ENTRY = DataEntry(
    params=BrainGeneratorParams,
    tasks=("segment", "detect"),
    open=BrainGenerator,
    image="brain-extracted scan",
)
