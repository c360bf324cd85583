"""Parts of pictures that a detector learns from: tiles of large pictures, and random parts of the canvas."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from medzoo.augment.augmentation import Labelled
from medzoo.data.dataset import Item, Objects, Sample
from medzoo.data.instances import areas_of, boxes_of, stack_layers
from medzoo.inputs.parts import TiledScenes, cut_part, middle_part, random_part
from medzoo.runtime.decode.tiles import needs_tiles
from medzoo.types import Array, Image


def squares(size: tuple[int, int], corners: Sequence[tuple[int, int]], side: int = 10) -> tuple[Array, Array, Array]:
    """A picture (1, H, W) with bright squares, their boxes, and their layers."""
    image = np.zeros((1, *size), np.float32)
    places = [(slice(y, y + side), slice(x, x + side)) for y, x in corners]
    for place in places:
        image[(0, *place)] = 200
    masks = stack_layers(((k, place, np.ones((side, side), bool)) for k, place in enumerate(places)), size)
    return image, np.array([[x, y, x + side, y + side] for y, x in corners], float), masks


def labelled(size: tuple[int, int], corners: Sequence[tuple[int, int]], *, masks: bool) -> Labelled:
    image, boxes, layers = squares(size, corners)
    return Labelled(torch.from_numpy(image), boxes, np.zeros(len(boxes), np.int64), layers if masks else None)


@pytest.mark.parametrize("masks", [True, False])
def test_a_part_keeps_what_is_mostly_in_it(masks: bool) -> None:
    whole = labelled((60, 80), [(5, 5), (16, 30), (40, 60)], masks=masks)
    part = cut_part(whole, (slice(18, 60), slice(10, 80)))
    # The first lies outside, of the second 8 of 10 rows are left.
    assert part.boxes.tolist() == [[20, 0, 30, 8], [50, 22, 60, 32]]
    assert part.image.shape == (1, 42, 70)
    if masks:
        assert part.masks is not None
        assert areas_of(part.masks, 2).tolist() == [80, 100]
    less = cut_part(whole, (slice(23, 60), slice(10, 80)))
    assert len(less.boxes) == 1  # 3 of 10 rows are too few


@pytest.mark.parametrize("seed", range(3))
def test_a_random_part_holds_an_object_and_its_picture(seed: int) -> None:
    whole, rng = labelled((200, 260), [(120, 200)], masks=True), np.random.default_rng(seed)
    found = 0
    for _ in range(40):
        part = middle_part(random_part(whole, (64, 96), rng), (64, 96))
        assert part.image.shape == (1, 64, 96)
        assert part.masks is not None
        assert np.array_equal(part.masks[0] > 0, part.image[0].numpy() > 0) or not len(part.boxes)
        assert np.array_equal(boxes_of(part.masks, len(part.boxes)), part.boxes)
        found += len(part.boxes)
    assert found > 25


def test_a_part_of_a_small_picture_is_all_of_it() -> None:
    whole = labelled((64, 96), [(5, 5)], masks=True)
    part = middle_part(random_part(whole, (64, 96), np.random.default_rng(0)), (64, 96))
    assert torch.equal(part.image, whole.image)


class Pictures:
    """One small picture, and one that takes four tiles of 100."""

    def items(self) -> Sequence[Item]:
        return [Item("small", {}), Item("large", {})]

    def load(self, item: Item) -> Sample:
        size, corners = ((90, 100), [(5, 5)]) if item.id == "small" else ((160, 190), [(5, 5), (140, 170), (75, 90)])
        image, boxes, masks = squares(size, corners)
        objects = Objects(boxes.astype(np.float32), np.zeros(len(boxes), np.int64), masks=lambda: masks)
        return Sample(item, Image(image.astype(np.uint8), None), objects)


def test_pictures_that_are_read_in_tiles_are_learnt_in_tiles() -> None:
    data = Pictures()
    assert [needs_tiles(size, 100) for size in ((90, 100), (150, 150), (100, 151))] == [False, False, True]
    scenes = TiledScenes(data, data.items(), [], tile=100, channels=1, size=(64, 64), masks=True)
    assert [item.id for item in scenes.items] == ["small", *["large"] * 4]
    counts = [len(scenes.scene(k).boxes) for k in range(len(scenes))]
    assert counts == [1, 2, 1, 1, 2]  # one object of the large picture lies in all four
    for k in range(len(scenes)):
        scene = scenes.scene(k)
        assert scene.masks is not None
        assert scene.image.shape == (1, 64, 64)
        assert np.abs(boxes_of(scene.masks, len(scene.boxes)) - scene.boxes).max() < 1.5
