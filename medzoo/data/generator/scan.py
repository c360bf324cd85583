"""One synthetic scan from one label map: deformation, contrast, scanner, brain extraction.

After Billot et al., SynthSeg, Medical Image Analysis 86:102789 (2023), with a contrast that stays like that of a
T1-weighted or FLAIR scan where asked, and lesions of multiple sclerosis in the latter. Everything is drawn from one
generator, so a scan is a pure function of the label map, the settings and the seed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from medzoo.data.generator.artefacts import add_noise, add_smooth_noise, bias_field, blur, gamma, thick_slices
from medzoo.data.generator.contrast import Contrast, draw_contrast
from medzoo.data.generator.lesions import draw_lesions
from medzoo.data.generator.mimics import add_mimics
from medzoo.data.generator.structures import CSF, LESION, byte_of, table, tissues, within_brain
from medzoo.data.generator.tissue import paint
from medzoo.data.generator.warp import deform, smooth_field
from medzoo.types import Array

UNSCORED = 255


@dataclass(frozen=True)
class Look:
    """Settings of the synthesis; amounts of 1 are the usual strength, 0 switches a part off.

    `whole_head`: the share of scans that keep what lies outside the brain. `thick`: the share of scans
    acquired in slices of up to 3 voxels. `noise`: its largest standard deviation, white matter being 1.
    `bites`: the share of extractions that go a voxel too deep in places. `lesions`: least and largest number of
    lesions drawn into a scan (see lesions). `resampled`: the share of scans whose noise was smoothed as they were
    brought to their grid.
    """

    contrast: Contrast = "t1-like"
    whole_head: float = 0.0
    deformation: float = 1.0
    bias: float = 1.0
    gamma: float = 1.0
    noise: float = 0.04
    blur: tuple[float, float] = (0.4, 1.0)
    thick: float = 0.1
    bites: float = 0.3
    lesions: tuple[int, int] | None = None
    resampled: float = 0.0


def synthesise(labels: Array, rng: np.random.Generator, look: Look) -> tuple[Array, Array]:
    """A scan float32 and its tissues uint8 (0 background, 1 CSF, 2 grey, 3 white, 4 lesion), both like `labels`.

    What lies inside the brain and has no tissue of its own (see structures) is UNSCORED: no loss counts it, and
    metrics take it for background. Taught as background, it would leave holes in brains wherever they look alike.

    `labels`: label bytes (I, J, K) in RAS at about 1 mm (see structures). White matter is about 100; what a
    brain extraction takes away is exactly 0.
    """
    if rng.random() < 0.5 and look.deformation:
        labels = labels[::-1]  # left and right carry the same tissues
    labels = deform(labels, rng, amount=look.deformation)
    if look.contrast == "flair-like":
        labels = _narrow_sulci(labels, rng)
    target = tissues(unnamed=UNSCORED)[labels]
    mask = None if rng.random() < look.whole_head else _extraction(labels, target, rng, bites=look.bites)
    means, spread = draw_contrast(rng, look.contrast)
    scan = paint(labels, target, means, spread, rng)
    if look.contrast == "flair-like":
        add_mimics(scan, labels, target, rng)
    if look.lesions is not None:
        # The more cortex stands out from white matter, the more lesions do: both follow the echo time.
        glow, lesions = draw_lesions(labels, rng, count=look.lesions, bright=0.3 + float(means[3]) - 1)
        scan += glow
        target[lesions] = LESION
    if mask is not None:
        # What an extraction leaves of the meninges and sinuses is as bright as grey matter more often than dark.
        rests = mask & ~within_brain()[labels]
        scan[rests] *= rng.uniform(0.3, 1)
        scan[rests] += rng.uniform(0, 0.7)
    scan = blur(scan, rng, low=look.blur[0], high=look.blur[1])
    scan *= bias_field(rng, labels.shape, amount=look.bias)
    noise = 10 ** rng.uniform(-1, 0) * look.noise
    if rng.random() < look.thick:
        scan = thick_slices(scan, rng, thickest=3, noise=noise)
        noise /= 4
    if look.resampled and rng.random() < look.resampled:
        scan = add_smooth_noise(scan, rng, noise=noise)
    else:
        scan = add_noise(scan, rng, noise=noise)
    scan = gamma(scan, rng, amount=look.gamma)
    scan = np.maximum(100 * scan, np.float32(1e-3))
    if mask is not None:
        scan = scan * mask
        target = target * mask
    return np.ascontiguousarray(scan, np.float32), np.ascontiguousarray(target)


def _narrow_sulci(labels: Array, rng: np.random.Generator) -> Array:
    """`labels` with the outer millimetre of fluid turned to cortex in places: people differ in how wide sulci are."""
    beside = (labels == 24) & maximum_filter(table(3, 42)[labels], size=3)
    places = smooth_field(rng, labels.shape, spacing=rng.uniform(20, 50)) > rng.uniform(-2, 2)
    result: Array = np.where(beside & places, np.uint8(3), labels)
    return result


def _extraction(labels: Array, target: Array, rng: np.random.Generator, *, bites: float) -> Array:
    """(I, J, K) bool: what a brain extraction keeps. Tools differ in how much fluid they leave, and leave rests.

    From a mask made of FreeSurfer's own labels, without any fluid in the sulci, to a generous one. Real ones
    hold 3 to 20 % of fluid; the label maps' own envelope would be 40 %.
    """
    brain = within_brain()[labels]
    outer = labels == 24
    tissue = brain & ~outer & (target != CSF)
    kind = rng.random()
    if kind < 0.3:
        keep = tissue
    elif kind < 0.9:
        # A closed and smooth surface some millimetres from the tissue, sulci filled.
        keep = gaussian_filter(tissue.astype(np.float32), rng.uniform(1.5, 4)) > rng.uniform(0.25, 0.5)
    else:
        keep = maximum_filter(tissue, size=2 * int(rng.integers(1, 6)) + 1)
    brain &= keep | ~outer
    if rng.random() < bites:
        places = smooth_field(rng, labels.shape, spacing=rng.uniform(15, 40)) > rng.uniform(0.8, 2)
        brain &= ~places | minimum_filter(brain, size=3)
    if rng.random() < 0.5:
        near = maximum_filter(brain, size=2 * int(rng.integers(1, 4)) + 1)
        rests = smooth_field(rng, labels.shape, spacing=rng.uniform(10, 30)) > rng.uniform(0.5, 2)
        brain |= near & rests & (labels != 0) & (labels != byte_of(511))
    return brain
