"""Whole pictures as batches: sampled evenly, the same wherever they are made, prepared as in the graph."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from medzoo.augment.ops.affine import Affine
from medzoo.augment.ops.flip import Flip
from medzoo.augment.ops.intensity import Intensity
from medzoo.data.dataset import Item
from medzoo.errors import UserError
from medzoo.inputs.batches import Loader
from medzoo.inputs.images import ImageBatches, OrderedImages
from medzoo.inputs.pictures import Pictures
from medzoo.models.lenet import LeNet, LeNetParams
from medzoo.nn.net import Spec
from tests.unit.training.pictures_toys import LABELS, Toys

AUGMENTATIONS = (Affine(), Flip(), Intensity())


def pictures(data: Toys, *, size: tuple[int, int] = (24, 32), limit: int = 1 << 20) -> Pictures:
    return Pictures(data, data.items(), (), labels=LABELS, channels=1, size=size, limit=limit)


def test_a_batch_is_a_function_of_seed_epoch_and_step() -> None:
    one, two = (
        ImageBatches(pictures(Toys(10)), batch=4, seed=3, augmentations=AUGMENTATIONS, mixup=0.4) for _ in range(2)
    )
    late = two.batch(2, 1)
    two.batch(0, 0)
    for a, b in zip(one.batch(2, 1), late, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(one.batch(2, 1)[0], one.batch(1, 1)[0])
    other = ImageBatches(pictures(Toys(10)), batch=4, seed=4, augmentations=AUGMENTATIONS, mixup=0.4)
    assert not torch.equal(one.batch(2, 1)[0], other.batch(2, 1)[0])


def test_every_batch_is_full_and_every_picture_sampled_equally_often() -> None:
    feed = ImageBatches(pictures(Toys(9)), batch=4, seed=0)
    assert len(feed) == 3
    drawn: Counter[str] = Counter()
    for epoch in range(3):
        for step in range(3):
            names = feed.names(epoch, step)
            assert len(names) == len(feed.batch(epoch, step)[0]) == 4
            drawn.update(names)
    assert set(drawn.values()) == {4}
    assert len(drawn) == 9


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_the_batch_of_one(world: int) -> None:
    feed = ImageBatches(pictures(Toys(10)), batch=4, seed=0, augmentations=AUGMENTATIONS, mixup=0.4)
    whole, shares = feed.batch(1, 0)
    for rank in range(world):
        image, share = feed.batch(1, 0, rank=rank, world=world)
        assert torch.equal(image, whole[rank::world])
        assert torch.equal(share, shares[rank::world])
    ordered = OrderedImages(pictures(Toys(10)), batch=4)
    seen = [ordered.batch(0, s, rank=r, world=world)[1] for s in range(len(ordered)) for r in range(world)]
    assert len(torch.cat(seen)) == 10


def test_mixup_mixes_picture_and_target_alike() -> None:
    plain = ImageBatches(pictures(Toys(6)), batch=6, seed=1)
    mixed = ImageBatches(pictures(Toys(6)), batch=6, seed=1, mixup=0.5)
    (images, classes), (both, shares) = plain.batch(0, 0), mixed.batch(0, 0)
    assert torch.allclose(shares.sum(1), torch.ones(6))
    assert not torch.allclose(both, images)
    # The same share of the same partner in both: solving for it from the pictures gives the targets.
    for row in range(6):
        candidates = [torch.nn.functional.one_hot(classes[[row, k]], 3).float() for k in range(6)]
        fits = []
        for k, pair in enumerate(candidates):
            direction = images[row] - images[k]
            length = (direction * direction).sum()
            share = ((both[row] - images[k]) * direction).sum() / length if length else torch.tensor(1.0)
            error = (share * images[row] + (1 - share) * images[k] - both[row]).abs().max()
            fits.append((float(error), share * pair[0] + (1 - share) * pair[1]))
        error, expected = min(fits, key=lambda fit: fit[0])
        assert error < 1e-2
        assert torch.allclose(shares[row], expected, atol=1e-3)


def test_training_sees_the_pixels_that_the_graph_makes_of_the_stored_picture() -> None:
    net = LeNet(LeNetParams(size=(36, 48), oversample=2), Spec("classify", LABELS)).eval()
    held = pictures(Toys(4), size=net.canvas)
    for index in range(4):
        stored = torch.from_numpy(held.stored(index)[None].astype(np.float32))
        assert torch.equal(net.prepare(stored), net.prepare(held.picture(index)[None]))


def test_pictures_are_decoded_once_and_memory_is_bounded() -> None:
    data = Toys(8)
    held = pictures(data)
    for _ in range(3):
        for index in range(8):
            held.picture(index)
    assert data.reads == 8
    tight = pictures(Toys(8), limit=5000)
    assert sum(array.nbytes for array in tight._kept.values()) <= 5000
    first = [tight.picture(i) for i in range(8)]
    again = [tight.picture(i) for i in range(8)]
    assert sum(array.nbytes for array in tight._kept.values()) <= 5000
    assert all(map(torch.equal, first, again))


class Files(Toys):
    """Toys whose bytes lie in files."""

    def __init__(self, folder: Path, count: int) -> None:
        super().__init__(count)
        self.folder = folder
        for item in super().items():
            (folder / f"{item.id}.png").write_text(item.id)

    def items(self) -> list[Item]:
        return [replace(item, files={"image": self.folder / f"{item.id}.png"}) for item in super().items()]


def test_another_run_finds_decoded_pictures_on_disk_by_the_bytes_of_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    first, second = Files(tmp_path, 4), Files(tmp_path, 4)
    seen = [pictures(first).picture(index) for index in range(4)]
    held = pictures(second, limit=0)  # as in a worker that keeps nothing itself
    assert all(torch.equal(a, held.picture(index)) for index, a in enumerate(seen))
    assert (first.reads, second.reads) == (4, 0)
    held.picture(0).zero_()  # the caller's own: what is kept stays
    assert torch.equal(held.picture(0), seen[0])
    assert pictures(second, size=(24, 30)).picture(0).shape == (1, 24, 30)
    assert second.reads == 1
    (tmp_path / "p01.png").write_text("changed")
    pictures(second).picture(1)
    assert second.reads == 2


def test_an_unreadable_picture_stops_by_name_or_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    data = Toys(6, broken=["p03"])
    with pytest.raises(UserError, match=r"p03\.png: is truncated"):
        list(Loader(ImageBatches(pictures(data), batch=3, seed=0)))
    feed = ImageBatches(pictures(data), batch=6, seed=0, on_bad_image="skip")
    with caplog.at_level(logging.WARNING):
        assert len(feed.batch(0, 0)[0]) == 6
        feed.batch(1, 0)
    assert [record.getMessage() for record in caplog.records] == ["left out: p03.png: is truncated"]
    ordered = OrderedImages(pictures(data), batch=4, on_bad_image="skip")
    assert sum(len(ordered.batch(0, step)[1]) for step in range(len(ordered))) == 5


def test_the_one_line_of_an_error_survives_a_worker() -> None:
    feed = ImageBatches(pictures(Toys(6, broken=["p03"])), batch=6, seed=0)
    with pytest.raises(UserError, match=r"^p03\.png: is truncated$"):
        list(Loader(feed, workers=1))


def test_nothing_readable_is_reported() -> None:
    data = Toys(3, broken=["p00", "p01", "p02"])
    with pytest.raises(UserError, match="no training image can be read"):
        ImageBatches(pictures(data), batch=2, seed=0, on_bad_image="skip").batch(0, 0)


def test_a_label_outside_the_list_is_named() -> None:
    with pytest.raises(UserError, match=r"p02\.png: has the label 'bright', expected one of a, b"):
        Pictures(Toys(4), Toys(4).items(), (), labels=("a", "b"), channels=1, size=(8, 8))
