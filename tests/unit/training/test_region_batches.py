"""Windows and whole pictures of proposed regions: which are sampled, with which boxes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medzoo.augment.ops.flip import Flip
from medzoo.boxes import box_iou
from medzoo.errors import UserError
from medzoo.inputs.region_input import RegionInput
from medzoo.inputs.regions import ProposedPictures, WholePictures, WindowBatches
from medzoo.preprocess.host.luma import Luma
from tests.unit.training.regions_toys import STEP
from tests.unit.training.scenes_toys import ToyScenes

FEED = RegionInput(positive=0.5, positive_share=0.25)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDZOO_CACHE", "")
    return tmp_path


def pictures(count: int = 6, **options: object) -> ProposedPictures:
    data = ToyScenes(count, broken=options.pop("broken", ()))  # type: ignore[arg-type]
    for item in (items := data.items()):
        item.files.clear()  # type: ignore[attr-defined]
    return ProposedPictures(data, items, [STEP], channels=1, **options)  # type: ignore[arg-type]


def windows(found: ProposedPictures, **changes: object) -> WindowBatches:
    options = {"classes": 1, "batch": 16, "steps": 3, "seed": 5, **changes}
    return WindowBatches(found, positive=FEED.positive, positive_share=FEED.positive_share, **options)  # type: ignore[arg-type]


def test_objects_are_proposed_and_come_back_in_source_pixels(cache: Path) -> None:
    for one in pictures().all:
        assert (one.boxes[:, 2:] - one.boxes[:, :2] > 0).all()
        if len(one.objects):
            assert box_iou(one.boxes, one.objects).max() > 0.8


def test_a_batch_holds_the_requested_share_of_objects(cache: Path) -> None:
    batches = windows(pictures())
    drawn, classes = batches.batch(0, 0)
    assert drawn.shape == (16, 1, 32, 32)
    assert (classes == 0).sum() == 4
    assert (classes == 1).sum() == 12
    # A window on a bright rectangle is bright in its middle, background mostly is not.
    middle = drawn[:, 0, 12:20, 12:20].mean(dim=(1, 2))
    assert middle[classes == 0].mean() > middle[classes == 1].mean() + 40


def test_batches_follow_from_seed_epoch_and_step_and_are_shared_out(cache: Path) -> None:
    batches = windows(pictures(), augmentations=[Flip()])
    first, again = batches.batch(1, 2), batches.batch(1, 2)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], batches.batch(1, 1)[0])
    shares = [batches.batch(1, 2, rank=rank, world=2) for rank in range(2)]
    assert torch.equal(torch.stack([s[0] for s in shares], dim=1).flatten(0, 1), first[0])
    assert set(batches.names(1, 2)) <= set(batches.pictures.ids)


def test_a_whole_picture_comes_with_its_regions_objects_and_their_windows(cache: Path) -> None:
    whole = WholePictures(pictures())
    assert len(whole) == 6
    (regions, boxes), (target,) = whole.batch(0, 1)
    assert regions.shape[:2] == boxes.shape[:2] == (1, boxes.shape[1])
    assert target["windows"].shape == (1, 1, 32, 32)
    assert target["windows"][0, 0, 16, 16] > 190
    (regions, boxes), (target,) = whole.batch(0, 0)
    assert len(target["boxes"]) == 0
    assert target["windows"].shape == (0, 1, 32, 32)


def test_a_constant_picture_has_one_region_of_nothing(cache: Path) -> None:
    found = pictures(1)
    one = found.all[0]
    found._all = [type(one)(one.picture * 0, one.boxes[:0], one.objects, one.labels)]
    (regions, boxes), _ = WholePictures(found).batch(0, 0)
    assert boxes.tolist() == [[[0.0, 0.0, 0.0, 0.0]]]
    assert regions.shape == (1, 1, 1, 32, 32)


def test_pictures_that_cannot_be_read_stop_or_are_left_out(cache: Path) -> None:
    with pytest.raises(UserError, match=r"s01\.png: is truncated"):
        _ = pictures(broken=["s01"]).all
    found = pictures(broken=["s01"], on_bad_image="skip")
    assert found.ids == ["s00", "s02", "s03", "s04", "s05"]


def test_steps_that_propose_nothing_are_refused_with_the_way_out() -> None:
    with pytest.raises(UserError, match=r"preprocess\.host: the model takes regions.*end it with \{op: selective"):
        ProposedPictures(ToyScenes(1), [], [Luma()], channels=1)


def test_pictures_without_any_object_cannot_be_learned_from(cache: Path) -> None:
    with pytest.raises(UserError, match="none of the regions of 1 pictures hold any object"):
        windows(pictures(1))


def test_proposals_are_read_from_disk_the_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image as Pillow

    from medzoo.data.dataset import Item

    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    data = ToyScenes(2)
    path = tmp_path / "s01.png"
    Pillow.fromarray(data.load(Item("s01", {})).image.array[0]).save(path)
    items = [Item("s01", {"image": path})]
    first = ProposedPictures(data, items, [STEP], channels=1).all[0]
    searched: list[object] = []
    monkeypatch.setattr(type(STEP), "search", lambda self, picture: searched.append(picture))
    again = ProposedPictures(data, items, [STEP], channels=1).all[0]
    assert not searched
    assert np.array_equal(first.boxes, again.boxes)
