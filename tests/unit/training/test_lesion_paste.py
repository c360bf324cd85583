"""Pasted lesions: where they may go, that their box fits, and the error of recipes that cannot have them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medzoo.augment.augmentation import Lesion, augment_labelled, check_augmentations
from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.flip import Flip
from medzoo.augment.ops.lesion_paste import LesionPaste, cut_out
from medzoo.boxes import box_iou
from medzoo.data.dataset import Item, Objects, Sample
from medzoo.errors import UserError
from medzoo.inputs.scenes import SceneBatches, ScenePictures
from medzoo.inputs.slice_scenes import SliceScenes
from medzoo.nn.net import Geometry
from medzoo.types import Array, Image
from tests.unit.training.scenes_toys import ToyScenes

PASTE = LesionPaste(share=1, scale=0.2, shift=1.0)
HEIGHT, WIDTH = 96, 128


def augmented(*given: Any, **options: Any) -> tuple[torch.Tensor, Array, Array]:
    found = augment_labelled(*given, **options)
    return found.image, found.boxes, found.labels


def disc(height: int, width: int, y: float, x: float, radius: float) -> Array:
    rows, columns = np.mgrid[:height, :width] + 0.5
    found: Array = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return found


def donor() -> Lesion:
    """A dark, rough disc on ground of 150."""
    mask = disc(HEIGHT, WIDTH, 40, 50, 12)
    rough = np.random.default_rng(0).normal(0, 4, mask.shape)
    image = torch.from_numpy(np.where(mask, 60 + rough, 150 + rough).astype(np.float32))[None]
    (lesion,) = cut_out(image, mask, np.array([[38, 28, 62, 52]]), np.array([1]))
    return lesion


def ground(value: float = 90.0) -> torch.Tensor:
    noise = np.random.default_rng(1).normal(0, 4, (1, HEIGHT, WIDTH))
    return torch.from_numpy((value + noise).astype(np.float32))


def test_a_lesion_is_cut_out_with_its_outline_class_and_place() -> None:
    lesion = donor()
    assert lesion.label == 1
    assert lesion.corner == (24, 34)
    assert lesion.mask.sum() == disc(HEIGHT, WIDTH, 40, 50, 12).sum()
    assert lesion.image.shape == (1, 32, 32)


def test_specks_and_boxes_without_outline_are_no_lesions() -> None:
    mask = disc(HEIGHT, WIDTH, 40, 50, 1.5)
    assert not cut_out(ground(), mask, np.array([[48, 38, 52, 42], [0, 0, 20, 20]]), np.array([0, 0]))


def test_the_box_is_tight_on_what_was_put_there_and_its_contrast_stays() -> None:
    lesion = donor()
    for seed in range(12):
        before = ground()
        after, box = PASTE.put(before, np.zeros((0, 4)), lesion, np.random.default_rng(seed))
        assert box is not None
        # The lesion was 90 darker than its ground; half of that is its outline.
        rows, columns = np.nonzero((before - after)[0].numpy() > 45)
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.abs(np.array(found) - box).max() <= 1.5
        assert torch.equal(before, ground()), "the picture itself is left alone"
        outside = torch.ones(HEIGHT, WIDTH, dtype=torch.bool)
        x0, y0, x1, y1 = box.astype(int)
        outside[max(y0 - 8, 0) : y1 + 8, max(x0 - 8, 0) : x1 + 8] = False
        assert torch.equal(before[0][outside], after[0][outside])


def test_no_object_is_covered_and_nothing_goes_beside_the_picture() -> None:
    boxes = np.array([[0, 0, 64, 96]], float)
    image = ground()
    image[:, :, 110:] = 0
    put = 0
    for seed in range(40):
        _, box = PASTE.put(image, boxes, donor(), np.random.default_rng(seed))
        if box is not None:
            put += 1
            assert not box_iou(box[None], boxes).any()
            # At most a tenth of it may hang over the edge of what the picture covers.
            assert box[2] <= 114
    assert put > 10
    full = np.array([[0, 0, WIDTH, HEIGHT]], float)
    same, box = PASTE.put(image, full, donor(), np.random.default_rng(0))
    assert box is None
    assert same is image


def test_boxes_and_labels_grow_together_and_move_with_what_follows() -> None:
    lesion, flip = donor(), Flip(share=1)
    boxes, labels = np.array([[4, 4, 20, 20]], np.float32), np.array([0])
    rng = np.random.default_rng(4)
    image, found, kinds = augmented(ground(), boxes, labels, [PASTE, flip], rng, donors=lambda rng: [lesion])
    assert kinds.tolist() == [0, 1]
    assert found[0].tolist() == [WIDTH - 20, 4, WIDTH - 4, 20]
    x0, y0, x1, y1 = found[1].astype(int)
    assert image[0, (y0 + y1) // 2, (x0 + x1) // 2] < 40
    _, alone, _ = augmented(ground(), boxes, labels, [PASTE], rng)
    assert len(alone) == 1, "without lesions to paste the picture stays"


class Outlined(ToyScenes):
    """Toy scenes whose rectangles are given as masks too."""

    def load(self, item: Item) -> Sample:
        sample = super().load(item)
        return Sample(sample.item, sample.image, sample.target, (sample.image.array[0] > 100).astype(np.uint8))


def pictures(data: ToyScenes) -> ScenePictures:
    return ScenePictures(data, data.items(), (), channels=1, size=(96, 112))


def test_pasting_depends_on_seed_and_step_and_keeps_boxes_tight() -> None:
    changes = [LesionPaste(share=1, shift=1.0), Affine(rotate=0, translate=0, scale=0.1)]
    one, two = (SceneBatches(pictures(Outlined(9)), batch=6, seed=1, augmentations=changes) for _ in range(2))
    images, targets = one.batch(1, 1)
    again, same = two.batch(1, 1)
    assert torch.equal(images, again)
    plain = SceneBatches(pictures(Outlined(9)), batch=6, seed=1).batch(1, 1)[1]
    assert sum(len(t["boxes"]) for t in targets) > sum(len(t["boxes"]) for t in plain)
    for image, target, other in zip(images, targets, same, strict=True):
        assert torch.equal(target["boxes"], other["boxes"])
        for box in target["boxes"].round().int().tolist():
            inside = image[0, box[1] + 3 : box[3] - 3, box[0] + 3 : box[2] - 3]
            assert inside.mean() > 120


def test_data_without_outlines_stop_with_the_file_and_the_way_out() -> None:
    feed = SceneBatches(pictures(ToyScenes(3)), batch=3, seed=0, augmentations=[PASTE])
    with pytest.raises(UserError, match=r"s0\d\.png: has boxes but no outlines.*leave lesion-paste out"):
        feed.batch(0, 0)


def test_slices_of_volumes_lend_their_lesions_with_their_neighbours() -> None:
    class Scans:
        def load(self, item: Item) -> Sample:
            mask = np.zeros((60, 64, 8), np.uint8)
            mask[20:32, 24:40, 3:5] = 1
            array = np.where(mask, 220, 100).astype(np.float32)[None]
            return Sample(item, Image(array, np.eye(4), "made"), Objects(np.zeros((0, 6)), np.zeros(0)), mask)

    geometry = Geometry(dims=2, channels=1, slices=3)
    scans = SliceScenes(
        Scans(), [Item("one", {"image": Path("one.nii")})], (), geometry=geometry, labels=1, size=(64, 64)
    )  # fmt: skip
    lesions = [lesion for index in range(len(scans)) for lesion in scans.lesions(index)]
    assert len(lesions) == 2
    assert lesions[0].image.shape[0] == 3
    assert lesions[0].mask.sum() == pytest.approx(12 * 16 * (64 / 60) ** 0, rel=0.2)
    images, targets = SceneBatches(scans, batch=4, seed=2, augmentations=[PASTE]).batch(0, 0)
    assert images.shape == (4, 3, 64, 64)
    assert sum(len(t["boxes"]) for t in targets) > 2


def test_inputs_of_single_objects_refuse_it() -> None:
    check_augmentations([Flip()], boxes=False)
    with pytest.raises(UserError, match=r"train\.augment\[1\]: lesion-paste adds objects"):
        check_augmentations([Flip(), PASTE], boxes=False)
