from __future__ import annotations

import numpy as np
import pytest
import torch

from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.mirror import Mirror
from medzoo.augment.ops.noise import Noise
from medzoo.errors import UserError
from medzoo.inputs.batches import Loader
from medzoo.inputs.crops import CropBatches, CropInput
from medzoo.inputs.patches import PatchBatches, PatchInput
from medzoo.inputs.volumes import IGNORED, Volume, sample_foreground, sample_places
from medzoo.nn.net import Geometry
from medzoo.runtime.decode.slices import slice_with_neighbours

GEOMETRY = Geometry(slices=3, margin=2, foreground="nonzero")


@pytest.fixture
def volume() -> Volume:
    """Every voxel holds its own flat number, so that a patch tells where it was cut."""
    shape = (6, 20, 24)
    array = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(1, *shape)
    target = np.zeros(shape, np.uint8)
    target[:, 8:, :] = 1
    target[2, 10:12, 10:12] = 2
    return Volume(array, target, tuple(np.flatnonzero(target == label) for label in range(3)))


def test_patches_lie_around_their_pixel_with_neighbouring_slices_and_carry_its_label(volume: Volume) -> None:
    batches = PatchBatches([volume], PatchInput(5), geometry=GEOMETRY, batch=300, steps=2, seed=0)
    patches, labels = batches.batch(0, 0)
    assert patches.shape == (300, 3, 5, 5)
    centres = patches[:, 1, 2, 2].numpy().astype(int) - 1
    assert np.array_equal(volume.target.reshape(-1)[centres], labels.numpy())
    s, y, x = np.unravel_index(centres, volume.target.shape)
    padded = np.pad(volume.array[0], ((1, 1), (2, 2), (2, 2)))
    for n in range(300):
        expected = padded[s[n] : s[n] + 3, y[n] : y[n] + 5, x[n] : x[n] + 5]
        assert np.array_equal(patches[n].numpy(), expected)
    assert torch.bincount(labels).tolist() == [100, 100, 100]


@pytest.mark.parametrize("kind", ["patches", "crops"])
def test_sequences_and_slices_are_trained_on_in_the_order_in_which_they_are_predicted(kind: str) -> None:
    """Two sequences and three slices: six channels, which the Predictor stacks slice by slice."""
    shape = (6, 20, 24)
    array = np.random.default_rng(0).normal(0, 1, (2, *shape)).astype(np.float32)
    target = np.zeros(shape, np.uint8)
    target[3, 10, 12] = 1  # the place that balanced drawing must find in every second item
    volume = Volume(array, target, tuple(np.flatnonzero(target == label) for label in range(2)))
    options = {"geometry": Geometry(channels=2, slices=3, margin=2), "batch": 8, "steps": 2, "seed": 0}
    predicted = slice_with_neighbours(array.transpose(1, 0, 2, 3), 3, 1)
    if kind == "patches":
        images, labels = PatchBatches([volume], PatchInput(5), **options).batch(0, 0)  # type: ignore[arg-type]
        found = images[labels == 1]
        assert len(found) == 4
        assert all(np.array_equal(one, predicted[:, 8:13, 10:15]) for one in found.numpy())
        return
    images, targets = CropBatches([volume], CropInput((8, 8)), **options).batch(0, 0)  # type: ignore[arg-type]
    found = [(image, np.argwhere(t == 1)) for image, t in zip(images.numpy(), targets.numpy(), strict=True)]
    marked = [(image, places[0]) for image, places in found if len(places)]
    assert len(marked) >= 4
    for image, (y, x) in marked:
        assert np.array_equal(image[:, y, x], predicted[:, 10, 12])


def test_batches_depend_on_seed_epoch_and_step_alone(volume: Volume) -> None:
    def make(seed: int) -> PatchBatches:
        return PatchBatches([volume], PatchInput(5), geometry=GEOMETRY, batch=16, steps=4, seed=seed)

    once, again = make(0), make(0)
    late = again.batch(3, 2)
    again.batch(0, 1)
    assert torch.equal(once.batch(3, 2)[0], late[0])
    assert not torch.equal(once.batch(3, 2)[0], once.batch(3, 1)[0])
    assert not torch.equal(once.batch(3, 2)[0], make(1).batch(3, 2)[0])


def test_processes_share_the_batch_that_one_process_would_have(volume: Volume) -> None:
    batches = PatchBatches([volume], PatchInput(5), geometry=GEOMETRY, batch=16, steps=4, seed=0)
    whole, _ = batches.batch(1, 1)
    parts = [batches.batch(1, 1, rank=rank, world=2)[0] for rank in range(2)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_starts_at_the_given_step_and_workers_change_nothing(volume: Volume, workers: int) -> None:
    batches = PatchBatches([volume], PatchInput(5), geometry=GEOMETRY, batch=8, steps=5, seed=0)
    loader = Loader(batches, workers=workers)
    loader.epoch, loader.start = 2, 3
    found = [image for image, _ in loader]
    assert len(found) == 2
    assert torch.equal(found[0], batches.batch(2, 3)[0])
    assert torch.equal(found[1], batches.batch(2, 4)[0])
    assert len(list(loader)) == 5


def test_crops_carry_their_map_and_mark_what_lies_outside(volume: Volume) -> None:
    batches = CropBatches([volume], CropInput((30, 12)), geometry=GEOMETRY, batch=24, steps=1, seed=0)
    images, maps = batches.batch(0, 0)
    assert images.shape == (24, 3, 30, 12)
    assert maps.shape == (24, 30, 12)
    inside = images[:, 1] != 0
    assert torch.equal(maps[~inside], torch.full_like(maps[~inside], IGNORED))
    numbers = images[:, 1][inside].numpy().astype(int) - 1
    assert np.array_equal(volume.target.reshape(-1)[numbers], maps[inside].numpy())
    assert (maps == 2).any()


def test_crops_come_in_full_batches_whatever_their_number(volume: Volume) -> None:
    feed = CropBatches([volume], CropInput(size=(16, 16)), geometry=Geometry(slices=3), batch=3, steps=4, seed=0)
    assert [len(feed.batch(0, step)[0]) for step in range(4)] == [3] * 4


def test_drawing_needs_something_to_draw() -> None:
    empty = Volume(np.zeros((1, 2, 2, 2)), np.zeros((2, 2, 2), np.uint8), (np.array([], int),) * 2)
    with pytest.raises(UserError, match="no labelled voxel"):
        sample_places([empty], np.random.default_rng(0), 4)


VOLUMES = Geometry(dims=3)


def scan(*shape: int, objects: bool = True, seed: int = 0) -> Volume:
    """A volume whose values tell the label, 1 in a small cube if it has any, and 0 nowhere."""
    target = np.zeros(shape, np.uint8)
    if objects:
        target[tuple(slice(n // 2, n // 2 + 3) for n in shape)] = 1
    array = (10 + 100 * target + np.random.default_rng(seed).random(shape))[None].astype(np.float32)
    return Volume(array, target, tuple(np.flatnonzero(target == label) for label in range(2)))


def test_a_share_of_the_places_lies_in_the_foreground_of_their_own_scan() -> None:
    volumes = [scan(20, 20, 20), scan(9, 9, 9), scan(12, 10, 8, objects=False)]
    for share, least in ((1.0, 1.0), (1 / 3, 1 / 3), (0.0, 0.0)):
        found = []
        for step in range(40):
            which, flat = sample_foreground(volumes, np.random.default_rng(step), 6, share=share)
            assert set(which) <= {0, 1, 2}
            in_objects = [bool(volumes[w].target.reshape(-1)[f]) for w, f in zip(which, flat, strict=True)]
            found += [hit for w, hit in zip(which, in_objects, strict=True) if w != 2]
        assert np.mean(found) == pytest.approx(least, abs=0.1) if share < 1 else all(found)


def test_without_any_voxel_to_sample_there_is_no_place() -> None:
    empty = Volume(np.zeros((1, 4, 4, 4), np.float32), np.full((4, 4, 4), 255, np.uint8), (np.zeros(0, int),) * 2)
    with pytest.raises(UserError, match="no labelled voxel"):
        sample_foreground([empty], np.random.default_rng(0), 2, share=0.3)


@pytest.mark.parametrize("shape", [(30, 30, 30), (16, 40, 8), (10, 12, 9)])
def test_crops_with_foreground_lie_inside_the_scan_as_far_as_it_reaches(shape: tuple[int, ...]) -> None:
    crop = CropInput((16, 12, 8), foreground=0.5)
    batches = CropBatches([scan(*shape)], crop, geometry=VOLUMES, batch=8, steps=1, seed=0)
    images, targets = batches.batch(0, 0)
    inside = np.prod([min(n, side) for n, side in zip(shape, crop.size, strict=True)])
    assert ((images[:, 0] != 0).sum(dim=(1, 2, 3)) == inside).all()
    assert torch.equal(targets == IGNORED, images[:, 0] == 0)


@pytest.mark.parametrize("change", [Affine(rotate=20), Mirror(axes=(0, 1, 2)), Noise(share=1)])
def test_augmented_crops_depend_on_seed_epoch_and_step_alone(change: object) -> None:
    def batches(seed: int = 0, **options: object) -> CropBatches:
        crop = CropInput((16, 12, 8), foreground=0.5)
        return CropBatches([scan(20, 20, 20)], crop, geometry=VOLUMES, batch=4, steps=3, seed=seed, **options)  # type: ignore[arg-type]

    one, again = batches(augmentations=[change]), batches(augmentations=[change])
    again.batch(0, 0)  # whatever was drawn before
    image, target = one.batch(1, 2)
    assert torch.equal(image, again.batch(1, 2)[0])
    assert torch.equal(target, again.batch(1, 2)[1])
    assert not torch.equal(image, one.batch(1, 1)[0])
    assert not torch.equal(image, batches().batch(1, 2)[0])
    # The share of each of two processes is that of the whole batch.
    halves = [one.batch(1, 2, rank=rank, world=2)[0] for rank in range(2)]
    assert torch.equal(image[0::2], halves[0])
    assert torch.equal(image[1::2], halves[1])
    # Labels moved with the values that tell them.
    bright = image[:, 0] > 60
    scored = target != IGNORED
    assert float(((target == 1) == bright)[scored].float().mean()) > 0.97
