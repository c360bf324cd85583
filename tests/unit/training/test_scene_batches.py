"""Scenes as batches: a function of the seed, sampled evenly, negatives included, prepared as in the graph."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
import torch

from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.flip import Flip
from medzoo.augment.ops.intensity import Intensity
from medzoo.errors import UserError
from medzoo.inputs.canvas import fit_canvas
from medzoo.inputs.scenes import OrderedScenes, SceneBatches, ScenePictures
from medzoo.models.region_cnn import ENTRY
from medzoo.nn.net import Spec
from tests.unit.training.scenes_toys import ToyScenes

AUGMENTATIONS = (Flip(), Affine(rotate=0), Intensity())
SIZE = (64, 64)


def pictures(data: ToyScenes, *, limit: int = 1 << 20) -> ScenePictures:
    return ScenePictures(data, data.items(), (), channels=1, size=SIZE, limit=limit)


def test_a_batch_is_a_function_of_seed_epoch_and_step() -> None:
    one, two = (SceneBatches(pictures(ToyScenes(9)), batch=4, seed=3, augmentations=AUGMENTATIONS) for _ in range(2))
    late = two.batch(2, 1)
    two.batch(0, 0)
    images, targets = one.batch(2, 1)
    assert torch.equal(images, late[0])
    for a, b in zip(targets, late[1], strict=True):
        assert torch.equal(a["boxes"], b["boxes"])
        assert torch.equal(a["labels"], b["labels"])
    assert not torch.equal(images, one.batch(1, 1)[0])
    shares = [one.batch(2, 1, rank=rank, world=2) for rank in (0, 1)]
    assert torch.equal(torch.stack([shares[0][0], shares[1][0]], dim=1).flatten(0, 1), images)


def test_every_picture_is_sampled_equally_often_and_those_without_objects_too() -> None:
    feed = SceneBatches(pictures(ToyScenes(9)), batch=6, seed=0)
    drawn = Counter(name for epoch in range(3) for step in range(len(feed)) for name in feed.names(epoch, step))
    assert set(drawn.values()) == {4}
    assert any(not len(target["boxes"]) for target in feed.batch(0, 0)[1])


def test_canvas_and_boxes_are_those_of_the_graph() -> None:
    data = ToyScenes(3)
    scenes = pictures(data)
    for index, item in enumerate(data.items()):
        sample = data.load(item)
        source = torch.from_numpy(sample.image.array.astype(np.float32))
        canvas, sizes = fit_canvas(source[None], *SIZE)
        for _ in range(2):  # read, then kept
            found = scenes.scene(index)
            image, boxes = found.image, found.boxes
            assert torch.equal(image, canvas[0])
            scale = (sizes[:2] / sizes[2:]).repeat(2).numpy()
            np.testing.assert_allclose(boxes, sample.target.boxes * scale, atol=1e-4)  # type: ignore[union-attr]


def test_everything_can_be_read_before_workers_branch_off() -> None:
    data = ToyScenes(4, broken=["s01"])
    scenes = pictures(data)
    with pytest.raises(UserError, match=r"s01\.png"):
        scenes.decode(on_bad_image="stop")
    scenes.decode(on_bad_image="skip")
    reads = data.reads
    SceneBatches(scenes, batch=3, seed=0, on_bad_image="skip").pictures.scene(3)
    assert data.reads == reads


@pytest.mark.parametrize("limit", [1 << 20, 0], ids=["in memory", "in shards"])
def test_pictures_are_read_once_wherever_they_wait(limit: int) -> None:
    data = ToyScenes(4)
    feed = OrderedScenes(pictures(data, limit=limit), batch=4)
    first, targets = feed.batch(0, 0)
    again, same = feed.batch(1, 0)
    assert data.reads == 4
    assert torch.equal(first, again)
    assert all(torch.equal(a["boxes"], b["boxes"]) for a, b in zip(targets, same, strict=True))


def test_an_unreadable_picture_stops_or_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data = ToyScenes(4, broken=["s02"])
    with pytest.raises(UserError, match=r"s02\.png"):
        SceneBatches(pictures(data), batch=4, seed=0).batch(0, 0)
    with caplog.at_level(logging.WARNING):
        images, targets = SceneBatches(pictures(data), batch=4, seed=0, on_bad_image="skip").batch(0, 0)
    assert len(images) == len(targets) == 4
    assert "s02.png" in caplog.text
    with pytest.raises(UserError, match=r"s02\.png"):
        OrderedScenes(pictures(data), batch=3).batch(0, 0)
    ordered = OrderedScenes(pictures(data), batch=3, on_bad_image="skip")
    for _ in range(2):
        assert [len(ordered.batch(0, step)[1]) for step in range(2)] == [2, 1]
    none = ToyScenes(2, broken=["s00", "s01"])
    with pytest.raises(UserError, match="no training image can be read"):
        SceneBatches(pictures(none), batch=2, seed=0, on_bad_image="skip").batch(0, 0)


def test_a_batch_trains_the_region_cnn_with_and_without_objects() -> None:
    net = ENTRY.build(ENTRY.params.model_validate(ENTRY.tiny), Spec("detect", ("lesion",)))
    for number in (1, 9):  # one picture, without any object; and a mixed batch
        image, target = SceneBatches(pictures(ToyScenes(number)), batch=4, seed=0, augmentations=AUGMENTATIONS).batch(
            0, 0
        )
        losses = net.loss(image, target)
        assert all(torch.isfinite(value) for value in losses.values())
    assert losses["box"].item() > 0
