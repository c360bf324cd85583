"""Copies among volumes are found however they were changed, and organs of different people are no copies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift, zoom

from medzoo import registry
from medzoo.data.audit.audit import audit
from medzoo.data.audit.report import Audit
from medzoo.data.audit.volume_copies import (
    Orientation,
    agreement,
    find_candidates,
    is_copy,
    resize_volume,
    thumbnail_cube,
)
from medzoo.data.dataset import Dataset
from medzoo.data.split import Split
from medzoo.types import Array

SHAPE = (36, 44, 32)


def noise(seed: int, blur: float) -> Array:
    made: Array = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), blur, mode="wrap")
    return made / made.std()


def organ(seed: int) -> Array:
    """The same anatomy in every person, with a form of their own and a texture of their own."""
    made: Array = (100 + 60 * noise(999, 4) + 15 * noise(seed, 4) + 12 * noise(seed + 500, 1)).astype(np.float32)
    return made


CHANGES: dict[str, Callable[[Array], Array]] = {
    "as it is": lambda v: v,
    "rolled": lambda v: np.roll(v, (3, -4, 2), (0, 1, 2)),
    "moved": lambda v: shift(v, (3, -2, 0), order=1, cval=0),
    "moved by parts": lambda v: shift(v, (1.4, -0.6, 2.3), order=1, mode="nearest"),
    "mirrored": lambda v: v[::-1],
    "mirrored and moved": lambda v: np.roll(v[:, ::-1], 3, axis=2),
    "turned": lambda v: np.rot90(v, axes=(0, 1)),
    "turned twice": lambda v: np.rot90(v, 2, axes=(1, 2)),
    "larger": lambda v: zoom(v, 1.5, order=1),
    "smaller": lambda v: zoom(v, 0.7, order=1),
    "darker": lambda v: v * 0.4 - 30,
    "noisy": lambda v: v + np.random.default_rng(1).normal(0, 2, v.shape),
    "in eight bits": lambda v: np.clip(v / 2, 0, 255).astype(np.uint8),
}


@pytest.fixture(scope="module")
def people() -> list[Array]:
    return [organ(seed) for seed in range(12)]


def test_people_are_no_copies_of_each_other(people: list[Array]) -> None:
    found = find_candidates(np.stack([thumbnail_cube(one) for one in people]))
    assert found  # they look alike
    assert not [pair for pair in found if is_copy(people[pair.a], people[pair.b], pair.way)]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found_among_them(people: list[Array], change: str) -> None:
    volumes = [*people, np.ascontiguousarray(CHANGES[change](people[5]))]
    found = find_candidates(np.stack([thumbnail_cube(one) for one in volumes]))
    verified = [(pair.a, pair.b) for pair in found if is_copy(volumes[pair.a], volumes[pair.b], pair.way)]
    assert verified == [(5, 12)]


def test_mirror_images_count_by_choice_alone(people: list[Array]) -> None:
    volumes = [people[0], people[0][:, ::-1], np.roll(people[0], 4, axis=0)]
    found = find_candidates(np.stack([thumbnail_cube(one) for one in volumes]), mirrored=False)
    assert [(p.a, p.b) for p in found if is_copy(volumes[p.a], volumes[p.b], p.way)] == [(0, 2)]


def test_volumes_without_contrast_and_single_ones() -> None:
    assert find_candidates(np.stack([thumbnail_cube(np.full(SHAPE, 7.0))] * 3)) == []
    assert find_candidates(np.stack([thumbnail_cube(organ(1))])) == []


def test_agreement_of_what_is_the_same(people: list[Array]) -> None:
    whole, detail = agreement(people[0], people[0][::-1], Orientation(flipped=(True, False, False)))
    assert whole == pytest.approx(1, abs=1e-4)
    assert detail == pytest.approx(1, abs=1e-4)
    whole, detail = agreement(people[0], people[1], Orientation())
    assert detail < 0.6


def test_resized_keeps_the_mean_and_the_places() -> None:
    ramp = np.broadcast_to(np.arange(12.0)[:, None, None], (12, 4, 4))
    assert resize_volume(ramp, (4, 4, 4))[:, 0, 0].tolist() == [1, 4, 7, 10]
    assert resize_volume(ramp, (24, 2, 4)).mean() == pytest.approx(ramp.mean())


def opened(root: Path, volumes: dict[str, Array]) -> Dataset:
    for name, volume in volumes.items():
        for kind, array in (("t1", volume.astype(np.float32)), ("seg", (volume > 120).astype(np.uint8))):
            path = root / name / f"{kind}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    entry = registry.entry("data", "nifti-pairs")
    params = entry.params.model_validate({"root": root, "image": "{p}/t1.nii.gz", "label": "{p}/seg.nii.gz"})
    data: Dataset = entry.open(params, "segment", ("background", "organ"))
    return data


def audited(data: Dataset) -> Audit:
    names = [item.id for item in data.items()]
    test = tuple(name for name in names if name.startswith("z"))
    return audit(data, Split(tuple(n for n in names if n not in test), (), test, digest="", group="p"))


@pytest.mark.parametrize("change", ["moved by parts", "mirrored and moved", "smaller"])
def test_the_audit_names_copies_and_no_people(tmp_path: Path, people: list[Array], change: str) -> None:
    volumes = {f"p{k}": one for k, one in enumerate(people[:6])} | {"z1": people[7], "z2": CHANGES[change](people[2])}
    report = audited(opened(tmp_path, volumes))
    assert [(leak.kind, Path(leak.a).parent.name, Path(leak.b).parent.name) for leak in report.leaks] == [
        ("near", "p2", "z2")
    ]


def test_hippocampi_of_many_people_are_no_copies(shared_data: Path) -> None:
    paths = sorted((shared_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[:24]
    volumes = [np.asarray(nibabel.load(path).dataobj, np.float32) for path in paths]
    found = find_candidates(np.stack([thumbnail_cube(one) for one in volumes]))
    assert not [pair for pair in found if is_copy(volumes[pair.a], volumes[pair.b], pair.way)]
    planted = [*volumes, np.roll(volumes[3], (2, -3, 1), (0, 1, 2))[::-1]]
    again = find_candidates(np.stack([thumbnail_cube(one) for one in planted]))
    assert [(p.a, p.b) for p in again if is_copy(planted[p.a], planted[p.b], p.way)] == [(3, 24)]
