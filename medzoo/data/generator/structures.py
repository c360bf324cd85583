"""FreeSurfer's label numbers: the tissue each belongs to, and what it looks like in T1-weighted and FLAIR scans.

Knows numbers only. Label maps are held as one byte a voxel: numbers below 256 as they are, numbers from 500
on (tissues outside the brain, as in the label maps of SynthSeg) as number - OUTSIDE.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from medzoo.types import Array

CSF, GREY, WHITE, LESION = 1, 2, 3, 4
OUTSIDE = 400  # 500 becomes 100, which FreeSurfer's numbers in use leave free up to 135
FIRST_OUTSIDE, LAST_OUTSIDE = 500, 534

VENTRICLES = (4, 5, 14, 15, 43, 44, 72)
TISSUE_NUMBERS: Mapping[int, tuple[int, ...]] = MappingProxyType(
    {
        CSF: (*VENTRICLES, 24),
        GREY: (3, 8, 10, 11, 12, 13, 17, 18, 26, 28, 42, 47, 49, 50, 51, 52, 53, 54, 58, 60),
        WHITE: (2, 7, 16, 41, 46, 77, 85, 251, 252, 253, 254, 255),
    }
)

# Structures that share an intensity, left and right. A pair (low, high) is where between cortex (0) and
# white matter (1) a T1-weighted scan shows them; below 0 is darker than cortex. Ranges are wide enough for
# the usual sequences (MPRAGE, SPGR) at 1.5 and 3 tesla.
BETWEEN: Mapping[tuple[int, ...], tuple[float, float]] = MappingProxyType(
    {
        (3, 42): (0.0, 0.0),
        (8, 47): (-0.1, 0.4),  # cerebellar cortex
        (10, 49): (0.25, 0.75),  # thalamus
        (11, 50): (-0.05, 0.4),  # caudate
        (12, 51): (0.05, 0.5),  # putamen
        (13, 52): (0.45, 0.95),  # pallidum
        (17, 53): (-0.1, 0.25),  # hippocampus
        (18, 54): (-0.1, 0.25),  # amygdala
        (26, 58): (0.0, 0.35),  # accumbens
        (28, 60): (0.45, 0.95),  # ventral diencephalon
        (2, 41): (1.0, 1.0),
        (7, 46): (0.6, 1.1),  # cerebellar white matter
        (16,): (0.2, 1.05),  # brain stem
        (85,): (0.3, 1.0),  # optic chiasm
        (77, 25, 57): (-0.2, 0.8),  # white matter lesions
        (251, 252, 253, 254, 255): (0.95, 1.15),  # corpus callosum
        (30, 62): (-0.5, 1.0),  # vessels
    }
)

# The same in FLAIR scans, where cortex (0) is brighter than white matter (1): above 1 is darker than white matter.
BETWEEN_FLAIR: Mapping[tuple[int, ...], tuple[float, float]] = MappingProxyType(
    {
        (3, 42): (0.0, 0.0),
        (8, 47): (-0.1, 0.6),  # cerebellar cortex
        (10, 49): (0.2, 0.9),  # thalamus
        (11, 50): (-0.2, 0.5),  # caudate
        (12, 51): (0.0, 0.7),  # putamen
        (13, 52): (0.6, 1.6),  # pallidum, which holds iron
        (17, 53): (-0.5, 0.3),  # hippocampus
        (18, 54): (-0.6, 0.3),  # amygdala
        (26, 58): (-0.2, 0.4),  # accumbens
        (28, 60): (0.2, 1.1),  # ventral diencephalon
        (2, 41, 77, 25, 57): (1.0, 1.0),  # lesions of the label maps look like white matter: none of ours are there
        (7, 46): (0.5, 1.1),  # cerebellar white matter
        (16,): (0.0, 1.0),  # brain stem
        (85,): (0.0, 1.0),  # optic chiasm
        (251, 252, 253, 254, 255): (0.9, 1.5),  # corpus callosum
        (30, 62): (-0.5, 2.0),  # vessels
    }
)
PLEXUS = (136, 137, 163, 164)  # choroid plexus and the like inside the ventricles
SUPRATENTORIAL_WHITE = (2, 41, 77, 25, 57, 251, 252, 253, 254, 255)
INFRATENTORIAL_WHITE = (7, 46, 16)

# Outside the brain: intensities as multiples of white matter.
BEYOND: Mapping[tuple[int, ...], tuple[float, float]] = MappingProxyType(
    {
        (502, 514): (0.1, 1.2),  # vessels and sinuses
        (506,): (0.15, 0.5),  # eyes
        (511,): (0.6, 1.6),  # skin and fat
        (515,): (0.03, 0.35),  # bone
        (516,): (0.3, 1.4),  # marrow
        (512,): (0.6, 1.0),  # spinal cord
    }
)


def table(*numbers: int) -> Array:
    """(256,) bool: the bytes of these label numbers."""
    chosen = np.zeros(256, bool)
    chosen[[byte_of(number) for number in numbers]] = True
    return chosen


def compact(labels: Array) -> Array:
    """Label numbers as one byte a voxel. Raises ValueError for a number that is neither."""
    numbers = np.asarray(labels)
    found = np.flatnonzero(np.bincount(numbers.ravel(order="K"))) if numbers.min() >= 0 else np.array([-1])
    bytes_of = np.zeros(LAST_OUTSIDE + 1, np.uint8)
    for number in found.tolist():
        if not (0 <= number < 256 or FIRST_OUTSIDE <= number <= LAST_OUTSIDE):
            raise ValueError(f"label numbers are 0 to 255 and {FIRST_OUTSIDE} to {LAST_OUTSIDE}, here is {number}")
        bytes_of[number] = byte_of(number)
    result: Array = bytes_of[numbers]
    return result


def byte_of(number: int) -> int:
    """The byte that stands for a label number."""
    return number - OUTSIDE if number >= FIRST_OUTSIDE else number


def tissues(*, unnamed: int = 0) -> Array:
    """(256,) uint8: tissue of each byte; what the numbers above do not name is 0, background, outside the brain
    and `unnamed` inside it (lesions, vessels, choroid plexus)."""
    found = np.where(within_brain(), unnamed, 0).astype(np.uint8)
    for tissue, numbers in TISSUE_NUMBERS.items():
        found[list(numbers)] = tissue
    return found


def within_brain() -> Array:
    """(256,) bool: bytes of structures inside the brain's envelope, fluid included."""
    inside = np.ones(256, bool)
    inside[0] = False
    inside[byte_of(FIRST_OUTSIDE) : byte_of(LAST_OUTSIDE) + 1] = False
    return inside
