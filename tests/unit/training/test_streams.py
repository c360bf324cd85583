"""Data that do not fit into memory: shards, memory maps, the cache; the same numbers, and memory that stays flat."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medzoo.data.dataset import Item
from medzoo.data.layouts.nifti_pairs import ENTRY
from medzoo.inputs.crops import CropBatches, CropInput
from medzoo.inputs.patches import PatchBatches, PatchInput
from medzoo.inputs.shards import Shards
from medzoo.inputs.volumes import Volumes, load_volumes
from medzoo.io.mapping import map_of
from medzoo.nn.net import Geometry
from medzoo.preprocess.steps import parse_steps

ROOT = Path(__file__).resolve().parents[3]
GEOMETRY = Geometry(dims=2, channels=1, slices=3, axis=2, margin=None)
ORIENT = parse_steps([{"op": "orient", "to": "RAS"}])
SCALED = parse_steps([{"op": "orient", "to": "RAS"}, {"op": "zscore", "where": "nonzero"}])


@pytest.fixture
def scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four scans with labels, one of them packed, two of them turned; an own cache."""
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    for k in range(4):
        place = tmp_path / "scans" / f"p{k}"
        place.mkdir(parents=True)
        label = (rng.random((30, 28, 26)) < 0.3).astype(np.uint8)
        scan = (label * 60 + rng.integers(1, 60, label.shape)).astype(np.int16)
        affine = np.diag([-1.0, 1, 1, 1]) if k % 2 else np.eye(4)
        nibabel.Nifti1Image(scan, affine).to_filename(place / "t1.nii")
        nibabel.Nifti1Image(label, affine).to_filename(place / "label.nii.gz")
    packed = tmp_path / "scans" / "p3" / "t1.nii"
    (tmp_path / "scans" / "p3" / "t1.nii.gz").write_bytes(gzip.compress(packed.read_bytes()))
    return tmp_path / "scans"


def opened(scans: Path, *, limit: int, scaled: bool = False) -> Volumes:
    params = ENTRY.params.model_validate(
        {"root": scans, "image": "{patient}/t1.nii", "label": "{patient}/label.nii.gz"}
    )
    data = ENTRY.open(params, "segment", ("background", "tissue"))
    steps = SCALED if scaled else ORIENT
    return load_volumes(data, data.items(), steps, geometry=GEOMETRY, labels=2, seed=0, limit=limit)


def test_an_unpacked_scan_stays_in_its_file(scans: Path) -> None:
    volumes = opened(scans, limit=1 << 30)
    assert all(map_of(volume.array) is not None for volume in volumes)
    assert volumes[1].array.dtype == np.int16
    decoded = np.asarray(nibabel.load(scans / "p1" / "t1.nii").dataobj)[::-1]  # type: ignore[attr-defined]
    assert np.array_equal(volumes[1].array[0], np.moveaxis(decoded, 2, 0))


def test_scans_that_are_computed_on_wait_in_the_cache(scans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = opened(scans, limit=1 << 30, scaled=True)
    assert not any(map_of(volume.array) for volume in held)
    small = opened(scans, limit=0, scaled=True)
    assert all(map_of(part) for volume in small for part in (volume.array, volume.target, *volume.places))
    for one, two in zip(held, small, strict=True):
        assert np.array_equal(one.array, two.array)
        assert np.array_equal(one.target, two.target)
    # The next run decodes nothing.
    kind = type(ENTRY.open(ENTRY.params(root=scans, image="{p}", label="{p}"), "segment", ("a", "b")))

    def load(self: object, item: Item) -> None:
        raise AssertionError(f"{item.id} was decoded again")

    monkeypatch.setattr(kind, "load", load)
    again = opened(scans, limit=0, scaled=True)
    assert np.array_equal(again[2].array, held[2].array)


@pytest.mark.parametrize("scaled", [False, True])
def test_batches_are_the_same_wherever_scans_wait(scans: Path, scaled: bool) -> None:
    one, two = (opened(scans, limit=limit, scaled=scaled) for limit in (1 << 30, 0))
    for volumes in (one, two):
        assert volumes.sizes.shape == (4, 2)
    crops = [CropBatches(v, CropInput((40, 12)), geometry=GEOMETRY, batch=6, steps=2, seed=0) for v in (one, two)]
    patches = [PatchBatches(v, PatchInput(5), geometry=GEOMETRY, batch=64, steps=2, seed=0) for v in (one, two)]
    for first, second in (crops, patches):
        for step in range(2):
            for a, b in zip(first.batch(1, step), second.batch(1, step), strict=True):
                assert torch.equal(a, b)
    image, _ = patches[0].batch(0, 0)
    assert image.dtype == torch.float32


def test_patches_at_the_rim_see_zeros_outside(scans: Path) -> None:
    volumes = opened(scans, limit=1 << 30)
    feed = PatchBatches(volumes, PatchInput(5), geometry=GEOMETRY, batch=4, steps=1, seed=0)
    volume = volumes[0]
    padded = np.pad(volume.array, ((0, 0), (1, 1), (2, 2), (2, 2)))
    flat = np.array([np.ravel_multi_index(at, volume.target.shape) for at in [(0, 0, 0), (5, 9, 27), (25, 29, 27)]])
    for place, patch in zip(flat, feed._gather(volume, flat), strict=True):
        s, y, x = np.unravel_index(place, volume.target.shape)
        assert np.array_equal(patch, padded[0, s : s + 3, y : y + 5, x : x + 5])


def test_shards_give_back_what_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 255, (1 + k % 3, 5, 7 + k), dtype=np.uint8) for k in range(20)]
    arrays[7] = arrays[7].astype(np.float32) / 7
    shards = Shards(20, limit=300, shard=1000)
    for index, array in enumerate(arrays):
        assert shards.get(index) is None
        shards.put(index, array)
    for index, array in enumerate(arrays):
        found = shards.get(index)
        assert found is not None
        assert found.dtype == array.dtype
        assert np.array_equal(found, array)
    assert not list(tmp_path.iterdir())  # without a name: nothing is left of them
    child = os.fork()
    if not child:
        shards.put(0, arrays[0])
        same = np.array_equal(shards.get(19), arrays[19])  # type: ignore[arg-type]
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_full_disk_costs_speed_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*of: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    shards = Shards(2, limit=0)
    shards.put(0, np.zeros((1, 4, 4), np.uint8))
    shards.put(1, np.zeros((1, 4, 4), np.uint8))
    assert shards.get(0) is None
    assert shards.get(1) is None


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pictures", "scans"])
def test_memory_stays_flat(tmp_path: Path, kind: str) -> None:
    """A tenth of what benchmarks/streams.py does, by the same script."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MEDZOO_CACHE": str(tmp_path / "c")}
    command = [sys.executable, "-m", "benchmarks.streams", "--kind", kind, "--share", "0.1", "--folder", str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    growth = float(done.stdout.splitlines()[-1].split()[-1])
    assert growth < 1.1, done.stdout
