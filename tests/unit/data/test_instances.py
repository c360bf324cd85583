"""Label maps of instances: read, layered, and moved with their image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from medzoo.augment.augmentation import augment_labelled, check_augmentations
from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.blobs import Blobs
from medzoo.augment.ops.flip import Flip
from medzoo.data.dataset import Objects
from medzoo.data.instances import boxes_of, renumber_layers, stack_layers
from medzoo.data.layouts.instances import ENTRY, Params
from medzoo.errors import UserError
from medzoo.inputs.scenes import SceneBatches, ScenePictures
from medzoo.types import Array


def write(root: Path, name: str, labels: Array, *, suffix: str = ".png") -> None:
    for folder in ("images", "labels"):
        (root / folder).mkdir(exist_ok=True)
    Pillow.fromarray((labels > 0).astype(np.uint8) * 200).save(root / "images" / f"{name}.png")
    Pillow.fromarray(labels.astype(np.uint16)).save(root / "labels" / f"{name}{suffix}")


def example() -> Array:
    labels = np.zeros((40, 60), np.uint16)
    labels[5:15, 10:30], labels[20:30, 0:8], labels[35:38, 50:55], labels[2:4, 50:52] = 3, 300, 7, 7
    return labels


def test_every_value_is_an_object_with_its_mask(tmp_path: Path) -> None:
    write(tmp_path, "a", example())
    write(tmp_path, "b", np.zeros((40, 60)))
    data = ENTRY.open(Params(root=tmp_path), "detect", ("nucleus",))
    first, second = data.items()
    sample = data.load(first)
    target = sample.target
    assert isinstance(target, Objects)
    assert target.boxes.tolist() == [[10, 5, 30, 15], [50, 2, 55, 38], [0, 20, 8, 30]]  # by value: 3, 7, 300
    assert target.masks is not None
    layers = target.masks()
    assert layers.shape == (1, 40, 60)
    assert [(layers == n).sum() for n in (1, 2, 3)] == [200, 19, 80]
    assert {note.kind: note.text for note in sample.notes} == {
        "split": "1 of 3 objects lie in pieces: two may have one number",
        "border": "1 of 3 objects are cut by the border",
    }
    empty = data.load(second).target
    assert isinstance(empty, Objects)
    assert not len(empty.boxes)
    assert set(first.groups) == {"image", "near-duplicate", "look"}
    assert first.groups["look"] != second.groups["look"]


def test_damaged_sets_are_named(tmp_path: Path) -> None:
    write(tmp_path, "a", example())
    open_it = lambda: ENTRY.open(Params(root=tmp_path), "detect", ("nucleus",))  # noqa: E731
    with pytest.raises(UserError, match="name one label"):
        ENTRY.open(Params(root=tmp_path), "detect", ("a", "b"))
    Pillow.fromarray(np.zeros((39, 60), np.uint16)).save(tmp_path / "labels" / "a.png")
    with pytest.raises(UserError, match=r"a\.png"):
        open_it().load(open_it().items()[0])
    (tmp_path / "labels" / "a.png").rename(tmp_path / "labels" / "c.png")
    with pytest.raises(UserError, match="has no label map"):
        open_it().items()
    write(tmp_path, "a", example())
    with pytest.raises(UserError, match="is a label map without an image"):
        open_it().items()
    (tmp_path / "labels" / "c.png").rename(tmp_path / "labels" / "a.tif")
    with pytest.raises(UserError, match="has the name of a"):
        open_it().items()


def test_objects_that_overlap_lie_in_layers() -> None:
    masks = [(0, np.s_[0:4, 0:4]), (1, np.s_[2:6, 2:6]), (2, np.s_[5:8, 5:8]), (3, np.s_[0:2, 6:8])]
    layers = stack_layers(
        ((n, place, np.ones((place[0].stop - place[0].start,) * 2, bool)) for n, place in masks), (8, 8)
    )
    assert layers.shape == (2, 8, 8)
    for number, place in masks:
        assert (layers == number + 1).any(axis=0).sum() == (layers == number + 1).any(axis=0)[place].sum()
        assert (layers == number + 1).any(axis=0)[place].all()
    assert boxes_of(layers, 4)[1].tolist() == [2, 2, 6, 6]
    fewer = renumber_layers(layers, np.array([1, 3]), 4)
    assert boxes_of(fewer, 2).tolist() == [[2, 2, 6, 6], [6, 0, 8, 2]]
    assert fewer.max() == 2


@pytest.mark.parametrize(
    "change", [Flip(share=1), Flip(axis="y", share=1), Affine(rotate=180), Affine(rotate=30, scale=0.3)]
)
def test_masks_move_with_the_image_and_give_the_boxes(change: Flip | Affine) -> None:
    layers = np.zeros((1, 64, 80), np.uint16)
    layers[0, 10:30, 12:40], layers[0, 40:60, 50:75] = 1, 2
    image = torch.from_numpy((layers > 0).astype(np.float32) * 100)
    boxes = boxes_of(layers, 2).astype(np.float32)
    moved = 0.0
    for seed in range(6):
        found = augment_labelled(image, boxes, np.array([4, 5]), [change], np.random.default_rng(seed), masks=layers)
        assert found.masks is not None
        shown = (found.image[0] >= 50).numpy()
        kept = found.labels - 4
        if len(kept) == 2:
            assert (shown != (found.masks > 0).any(axis=0)).mean() < 0.01
        assert np.allclose(boxes_of(found.masks, len(kept)), found.boxes)
        moved = max(moved, float(np.abs(found.boxes - boxes[kept]).max(initial=0)))
    assert moved > 1


def test_what_masks_allow_and_what_they_forbid() -> None:
    check_augmentations([Affine(rotate=90)], boxes=True, masks=True)
    with pytest.raises(UserError, match=r"train\.augment\[0\]: blobs adds objects that have no mask"):
        check_augmentations([Blobs()], boxes=True, masks=True)


def test_training_batches_hold_masks_of_their_boxes(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path, name, example())
    data = ENTRY.open(Params(root=tmp_path), "detect", ("nucleus",))
    pictures = ScenePictures(data, data.items(), [], channels=1, size=(64, 64), masks=True)
    batches = SceneBatches(pictures, batch=2, seed=0, augmentations=[Flip(), Affine(rotate=20)])
    for step in range(3):
        _, targets = batches.batch(0, step)
        for target in targets:
            found = boxes_of(target["masks"].numpy(), len(target["boxes"]))
            assert np.abs(found - target["boxes"].numpy()).max() <= 1
