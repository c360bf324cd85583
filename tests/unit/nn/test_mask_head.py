"""The mask head: targets of regions, loss, and the class whose mask is returned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medzoo.data.instances import stack_layers
from medzoo.errors import UserError
from medzoo.models.region_cnn import ENTRY
from medzoo.nn.detection.heads import mask_loss, mask_of_class, mask_targets
from medzoo.nn.net import Spec


def layers() -> torch.Tensor:
    """Two objects of 16 x 16 pixels that overlap, so they lie in two layers."""
    full = np.ones((16, 16), bool)
    made = stack_layers([(0, np.s_[8:24, 8:24], full), (1, np.s_[16:32, 16:32], full)], (40, 48))
    assert len(made) == 2
    return torch.from_numpy(made.astype(np.int32))


def test_targets_are_the_object_inside_the_region() -> None:
    regions = torch.tensor([[8.0, 8, 24, 24], [8, 8, 40, 24], [16, 16, 32, 32], [-8, 8, 24, 24]])
    found = mask_targets(layers(), torch.tensor([0, 0, 1, 0]), regions, size=8)
    assert found.shape == (4, 8, 8)
    assert found[0].all()
    assert found[1, :, :4].all()
    assert not found[1, :, 4:].any()
    assert found[2].all()  # also where the first object lies over it
    assert found[3].mean() == 0.5  # what lies outside the picture is no object


def test_the_mask_of_the_predicted_class_is_taken() -> None:
    logits = torch.arange(2 * 3 * 4, dtype=torch.float32).reshape(2, 3, 2, 2)
    assert torch.equal(mask_of_class(logits, torch.tensor([2, 0])), torch.stack([logits[0, 2], logits[1, 0]]))
    assert float(mask_loss(logits[:0, 0], [])) == 0


def test_a_batch_without_objects_has_a_loss_of_zero() -> None:
    net = ENTRY.build(ENTRY.params(**ENTRY.tiny_variants["masks"]), Spec("detect", ("a", "b")))
    none = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(1, 48, 56, dtype=torch.int32),
    }
    some = {"boxes": torch.tensor([[8.0, 8, 24, 24]]), "labels": torch.ones(1, dtype=torch.int64), "masks": layers()}
    image = torch.rand(1, 1, 40, 48) * 255
    assert net.loss(image, [none])["mask"].item() == 0
    lost = net.loss(image, [some])["mask"]
    assert lost.item() == pytest.approx(np.log(2), abs=0.2)  # nothing is known yet
    lost.backward()
    assert net.mask_head.masks.weight.grad.abs().sum() > 0


def test_masks_are_of_pictures() -> None:
    with pytest.raises(ValueError, match="mask is for pictures"):
        ENTRY.params(**ENTRY.tiny, mask={}, slices=3)
    with pytest.raises(ValueError, match="size must be even"):
        ENTRY.params(**ENTRY.tiny, mask={"size": 15})


def test_data_without_masks_are_refused() -> None:
    from medzoo.inputs.scenes import ScenePictures
    from tests.unit.training.scenes_toys import ToyScenes

    data = ToyScenes(3)
    pictures = ScenePictures(data, data.items(), [], channels=1, size=(64, 64), masks=True)
    with pytest.raises(UserError, match="has boxes but no masks, which the model learns"):
        [pictures.scene(index) for index in range(3)]


def test_a_part_of_the_canvas_is_learnt_from_with_anchors_of_its_own() -> None:
    net = ENTRY.build(ENTRY.params(**ENTRY.tiny_variants["parts"]), Spec("detect", ("a", "b")))
    some = {"boxes": torch.tensor([[8.0, 8, 24, 24]]), "labels": torch.ones(1, dtype=torch.int64), "masks": layers()}
    net.train()
    assert all(torch.isfinite(loss) for loss in net.loss(torch.rand(1, 1, 32, 48) * 255, [some]).values())
    # Validation and prediction see the whole canvas.
    net.eval()
    canvas = net._canvas(torch.rand(1, 1, 32, 48))[0]
    assert net.proposals(net.pyramid(net.backbone(canvas)))[0].shape[1] == 480
    assert net.geometry.tile == 64
    with pytest.raises(ValueError, match=r"part \(32, 40\) must be positive multiples of 16 within size"):
        ENTRY.params(**ENTRY.tiny, part=(32, 40))


def test_a_detector_goes_on_from_another_one(tmp_path: Path) -> None:
    params = dict(ENTRY.tiny)
    boxes = ENTRY.build(ENTRY.params(**params), Spec("detect", ("a",), seed=1))
    save_file(boxes.state_dict(), tmp_path / "model.safetensors")
    more = params | {"mask": {"size": 12, "channels": 16, "convs": 1}, "weights": str(tmp_path)}
    net = ENTRY.build(ENTRY.params(**more), Spec("detect", ("a",), seed=2))
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in boxes.state_dict().items())
    for changed, name in (({"hidden": 16}, "head"), ({"backbone": "test_resnet"}, "backbone")):
        with pytest.raises(UserError, match=f"is of another network: {name}\\."):
            ENTRY.build(ENTRY.params(**(more | changed)), Spec("detect", ("a",)))
