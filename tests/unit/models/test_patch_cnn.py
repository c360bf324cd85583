from __future__ import annotations

import io

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from medzoo.export.checked import export_checked
from medzoo.inputs.crops import CropInput
from medzoo.inputs.patches import PatchInput
from medzoo.models.patch_cnn import PatchCnn, PatchCnnParams
from medzoo.nn.net import Spec
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image

LABELS = ("background", "csf", "grey-matter", "white-matter")
TINY = {"channels": (6, 8, 10), "hidden": 12}


def build(labels: tuple[str, ...] = LABELS, **params: object) -> PatchCnn:
    torch.manual_seed(0)
    return PatchCnn(PatchCnnParams.model_validate(params), Spec("segment", labels)).eval()


@pytest.mark.parametrize(("params", "count"), [({}, 5_921_156), ({"inputs": 3}, 5_924_356), ({"slices": 3}, 5_924_356)])
def test_the_defaults_are_the_source_network(params: dict[str, int], count: int) -> None:
    with torch.device("meta"):
        net = PatchCnn(PatchCnnParams.model_validate(params), Spec("segment", LABELS))
    assert sum(p.numel() for p in net.parameters()) == count
    assert net.params.rest == 1


@pytest.mark.parametrize("params", [{}, {"inputs": 2, "slices": 3}, {"patch": 15}, {"kernel": 3, "patch": 9}])
def test_dense_is_patch_by_patch(params: dict[str, int]) -> None:
    net = build(**TINY, **params)
    size, margin = net.params.patch, net.params.patch // 2
    image = torch.rand(1, net.params.inputs * net.params.slices, 17, 21) * 3
    dense = net(image)["probabilities"]
    padded = nn.functional.pad(image, (margin,) * 4)
    patches = padded.unfold(2, size, 1).unfold(3, size, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    single = net.logits(patches).softmax(1)[:, :, 0, 0].T.reshape(1, len(LABELS), 17, 21)
    assert (dense - single).abs().max() < 1e-5


def test_the_source_network_too_is_dense_as_patch_by_patch() -> None:
    net = build()
    image = torch.rand(1, 1, 5, 6)
    padded = nn.functional.pad(image, (6,) * 4)
    patches = padded.unfold(2, 13, 1).unfold(3, 13, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    with torch.no_grad():
        single = net.logits(patches).softmax(1)[:, :, 0, 0].T.reshape(1, 4, 5, 6)
        assert (net(image)["probabilities"] - single).abs().max() < 1e-5


def test_crops_have_the_gradient_of_their_patches() -> None:
    net = build(**TINY, learn="crops", crop=17).double()
    assert isinstance(net.training_input, CropInput)
    images = torch.rand(3, 1, 17, 17, dtype=torch.float64)
    targets = torch.randint(0, 4, (3, 17, 17))
    targets[0, 6:8, 6:8] = 255

    def gradient(loss: torch.Tensor) -> list[torch.Tensor]:
        return list(torch.autograd.grad(loss, list(net.parameters())))

    dense = gradient(net.loss(images, targets)["cross_entropy"])
    patches = images.unfold(2, 13, 1).unfold(3, 13, 1).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
    centres = targets[:, 6:11, 6:11].flatten()
    scored = centres != 255
    single = gradient(net.loss(patches[scored], centres[scored])["cross_entropy"])
    for one, other in zip(dense, single, strict=True):
        assert torch.allclose(one, other, atol=1e-12)
    assert max(float(g.abs().max()) for g in dense) > 1e-4


def test_patches_are_the_default_training_input() -> None:
    feed = build(**TINY).training_input
    assert feed == PatchInput(13)


def _export(net: PatchCnn, *host: dict[str, object]) -> bytes:
    facts = Metadata(name="made", task="segment", labels=LABELS, outputs=net.outputs, geometry=net.geometry, host=host)
    return export_checked(net, facts, [], where="made").onnx


@pytest.fixture(scope="module")
def exported() -> bytes:
    return _export(build(**TINY, slices=3), {"op": "orient", "to": "RAS"}, {"op": "zscore", "where": "nonzero"})


@pytest.fixture(scope="module")
def predictor(exported: bytes) -> Predictor:
    return Predictor(OnnxBackend(exported, where="made", device="cpu"))


def test_response_normalisation_is_one_onnx_node_and_convolutions_stay_whole(exported: bytes) -> None:
    nodes = [node.op_type for node in onnx.load(io.BytesIO(exported)).graph.node]
    assert nodes.count("LRN") == 1
    assert nodes.count("Conv") == 5


def scan() -> Array:
    rng = np.random.default_rng(0)
    array = np.zeros((1, 30, 34, 22), np.float32)
    array[:, 4:26, 5:30, 3:20] = rng.gamma(4, 25, (1, 22, 25, 17))
    return array


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)])
def test_a_scan_stored_in_another_order_has_the_same_mask_voxel_by_voxel(
    predictor: Predictor, axes: tuple[int, ...], flips: tuple[int, ...]
) -> None:
    """Flips of any axis, and an exchange of the axes of the slice plane: Dice of the two predictions exactly 1."""
    array, affine = scan(), np.diag([1.0, 1.0, 1.0, 1.0])
    turn = np.eye(4)[:, [*axes, 3]] @ np.diag([*flips, 1.0])
    stored = array.transpose(0, *(a + 1 for a in axes))[:, :: flips[0], :: flips[1], :: flips[2]]
    shift = [n - 1 if f < 0 else 0 for n, f in zip(stored.shape[1:], flips, strict=True)]
    moved = affine @ turn
    moved[:3, 3] -= moved[:3, :3] @ shift
    expected = predictor.predict(Image(array, affine, "made")).mask
    got = predictor.predict(Image(np.ascontiguousarray(stored), moved, "made")).mask
    assert len(np.unique(expected)) > 2
    back = got[:: flips[0], :: flips[1], :: flips[2]].transpose(np.argsort(axes))
    assert np.array_equal(back, expected)


def test_scale_and_units_of_the_intensities_make_no_difference(predictor: Predictor) -> None:
    array = np.rint(scan())
    one = predictor.predict(Image(array.astype(np.int16), np.eye(4), "made")).mask
    other = predictor.predict(Image(array * np.float32(4), np.eye(4), "made")).mask
    assert (one == other).mean() > 0.999


def test_only_foreground_has_tissue_and_a_single_slice_is_predicted(predictor: Predictor) -> None:
    array = scan()
    mask = predictor.predict(Image(array, np.eye(4), "made")).mask
    assert not mask[array[0] == 0].any()
    plane = predictor.predict(Image(array[..., 10:11], np.eye(4), "made")).mask
    assert plane.shape == (30, 34, 1)
    assert plane.any()


@pytest.mark.parametrize(
    ("params", "words"),
    [({"slices": 2}, "odd"), ({"patch": 12}, "odd"), ({"patch": 11}, "at least 13 pixels")],
)
def test_parameters_that_do_not_fit_together(params: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PatchCnnParams.model_validate(params)


@pytest.mark.parametrize(
    ("channels", "patch", "convolutions", "norms"),
    # The last convolution is rewritten with all behind it; it alone where more than a pixel is left of a patch.
    [((6, 200, 330), 13, 2, 0), ((6, 200, 330), 15, 4, 1)],
)
def test_the_graph_with_winograd_agrees_with_torch(
    channels: tuple[int, ...], patch: int, convolutions: int, norms: int
) -> None:
    # The gate compares it with torch.
    net = build(channels=channels, patch=patch, hidden=12, convolution="winograd")
    facts = Metadata(name="patch-cnn", task="segment", labels=LABELS, outputs=net.outputs, geometry=net.geometry)
    exported = export_checked(net, facts, [], where="winograd")
    kinds = [node.op_type for node in onnx.load_from_string(exported.onnx).graph.node]
    assert kinds.count("Conv") == convolutions
    assert kinds.count("LRN") == norms
    assert exported.parity["largest"]["probabilities"] < 1e-4
