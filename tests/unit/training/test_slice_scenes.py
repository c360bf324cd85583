"""Slices of volumes as scenes: where the boxes lie, which slices are sampled, and training on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from medzoo.data.layouts.nifti_pairs import ENTRY as PAIRS
from medzoo.errors import UserError
from medzoo.inputs.scenes import SceneBatches
from medzoo.inputs.slice_scenes import SliceScenes
from medzoo.models.region_cnn import ENTRY
from medzoo.nn.net import Geometry, Spec
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.steps import parse_steps
from tests.unit.training.scenes_toys import ToyScenes


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for patient in ("a", "b"):
        folder = tmp_path / patient
        folder.mkdir()
        labels = np.zeros((20, 24, 16), np.uint8)
        labels[4:9, 10:16, 3:6] = 1
        labels[12:15, 2:5, 4] = 1
        image = np.zeros(labels.shape, np.float32)
        image[:, :, 2:12] = 50
        image += 150 * labels + rng.uniform(0, 5, labels.shape) * (image > 0)
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), folder / "flair.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), folder / "lesions.nii.gz")
    return tmp_path


def scenes(
    root: Path, *, axis: int = 2, slices: int = 3, steps: Sequence[HostStep] = (), **options: Any
) -> SliceScenes:
    params = PAIRS.params.model_validate(
        {"root": root, "image": "{patient}/flair.nii.gz", "label": "{patient}/lesions.nii.gz", **options}
    )
    data = PAIRS.open(params, "detect", ("lesion",))
    geometry = Geometry(slices=slices, axis=axis)
    return SliceScenes(data, data.items(), steps, geometry=geometry, labels=1, size=(64, 64))


def test_every_slice_with_signal_and_its_boxes(pairs: Path) -> None:
    feed = scenes(pairs)
    boxes = {item.id: feed.stored(index).boxes.tolist() for index, item in enumerate(feed.items)}
    assert len(boxes) == 2 * 10
    # Of slices (rows i, columns j) along the last axis: x is j, y is i; the larger object first.
    assert boxes["a/flair.nii.gz#3"] == [[10, 4, 16, 9]]
    assert boxes["b/flair.nii.gz#4"] == [[10, 4, 16, 9], [2, 12, 5, 15]]
    empty = [name for name, found in boxes.items() if not found]
    assert len(empty) == 2 * 7
    assert all(2 <= int(name.split("#")[1]) < 12 for name in empty), "slices without signal teach nothing"


def test_a_slab_is_prepared_as_its_whole_volume_and_shows_its_own_slices(pairs: Path) -> None:
    steps = parse_steps([{"op": "crop-foreground"}, {"op": "zscore"}])
    one, many = scenes(pairs, steps=steps), scenes(pairs, steps=steps, slabs=2, gap=1)
    whole = {item.id: one.stored(index) for index, item in enumerate(one.items)}
    assert [item.id.split("#", 1)[1] for item in many.items] == [f"0#{k}" for k in range(4)] + [
        f"1#{k}" for k in range(5, 10)
    ] + [f"0#{k}" for k in range(4)] + [f"1#{k}" for k in range(5, 10)]
    for index, item in enumerate(many.items):
        name, _, place = item.id.split("#")
        alone, expected = many.stored(index), whole[f"{name}#{place}"]
        np.testing.assert_array_equal(alone.array, expected.array)
        np.testing.assert_array_equal(alone.boxes, expected.boxes)


def test_neighbours_are_channels(pairs: Path) -> None:
    feed = scenes(pairs)
    place = [item.id for item in feed.items].index("a/flair.nii.gz#3")
    array = feed.stored(place).array
    assert array.shape == (3, 20, 24)
    assert array[0, 6, 12] < 100 < array[1, 6, 12]  # the object begins in slice 3
    assert array[2, 13, 3] > 100  # the small one is in slice 4 alone


def test_they_train_the_region_cnn(pairs: Path) -> None:
    net = ENTRY.build(ENTRY.params.model_validate({**ENTRY.tiny, "slices": 3}), Spec("detect", ("lesion",)))
    losses = net.loss(*SceneBatches(scenes(pairs), batch=4, seed=0).batch(0, 0))
    assert all(torch.isfinite(value) for value in losses.values())


def test_pictures_are_refused() -> None:
    data = ToyScenes(2)
    with pytest.raises(UserError, match=r"s00\.png: has no label map"):
        SliceScenes(data, data.items(), (), geometry=Geometry(slices=3), labels=1, size=(64, 64))
