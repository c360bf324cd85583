"""The region CNN learns, and predicts the same in PyTorch and ONNX Runtime, alone and in a batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor

from medzoo.export.onnx_file import translations
from medzoo.models.region_cnn import ENTRY, RegionCnn, RegionCnnParams, build
from medzoo.nn.detection.boxes import iou
from medzoo.nn.detection.postprocess import SCORE_FLOOR
from medzoo.nn.net import Spec

SIZES = [(64, 64), (96, 80), (50, 131), (200, 190)]
BATCHES = [1, 2, 3, 5]
# Objects of four 64 x 64 pictures: x0, y0, x1, y1, label; a label is a grey value.
LAYOUT: list[list[tuple[int, int, int, int, int]]] = [
    [],
    [(10, 12, 30, 28, 0)],
    [(36, 30, 56, 54, 1)],
    [(4, 4, 20, 20, 0), (40, 6, 60, 22, 1), (12, 38, 34, 60, 1)],
]
Answer = dict[str, np.ndarray[Any, Any]]


def net_of(**changes: Any) -> RegionCnn:
    params = {**ENTRY.tiny, "backbone": "test_resnet", "pyramid": 32, **changes}
    return build(RegionCnnParams(**params), Spec("detect", ["dim", "bright"]))


def scenes() -> tuple[Tensor, list[dict[str, Tensor]]]:
    images = torch.rand(len(LAYOUT), 1, 64, 64, generator=torch.Generator().manual_seed(3)) * 60
    targets = []
    for image, objects in zip(images, LAYOUT, strict=True):
        for x0, y0, x1, y1, label in objects:
            image[0, y0:y1, x0:x1] += 60 + 120 * label
        targets.append(
            {
                "boxes": torch.tensor([row[:4] for row in objects], dtype=torch.float32).reshape(-1, 4),
                "labels": torch.tensor([row[4] for row in objects], dtype=torch.int64),
            }
        )
    return images, targets


def batch_of(count: int, size: tuple[int, int]) -> Tensor:
    """Scenes with none, one and many objects at another size, each with noise of its own."""
    images = torch.nn.functional.interpolate(scenes()[0], size=size, mode="bilinear")
    noise = torch.rand(5, 1, *size, generator=torch.Generator().manual_seed(4)) * 20
    return images[[3, 0, 1, 2, 3]][:count] + noise[:count]


@pytest.fixture(scope="module")
def history() -> tuple[RegionCnn, list[float]]:
    """A net overfitted on the scenes, and its total loss step by step."""
    net = net_of(region_batch=16, positive_share=0.5, anchor_batch=32)
    net.train()
    images, targets = scenes()
    torch.manual_seed(0)
    steps, totals = 80, []
    optimizer = torch.optim.AdamW(net.parameters())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 4e-3 * min(1, step / 10) * (1 + math.cos(math.pi * step / steps)) / 2
        total = torch.stack(list(net.loss(images, targets).values())).sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimizer.step()
        totals.append(total.item())
    return net.eval(), totals


@pytest.fixture(scope="module")
def trained(history: tuple[RegionCnn, list[float]]) -> RegionCnn:
    return history[0]


@pytest.fixture(scope="module")
def graph(trained: RegionCnn) -> onnx.ModelProto:
    return exported(trained)


def exported(net: RegionCnn) -> onnx.ModelProto:
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        net,
        (batch_of(2, (96, 80)),),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: free, 2: free, 3: free},),
        input_names=["image"],
        output_names=list(net.outputs),
        custom_translation_table=translations(),
    )
    assert program is not None
    return program.model_proto


def runner(graph: onnx.ModelProto) -> Callable[[Tensor], Answer]:
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(None, {"image": image.numpy()}), strict=True))


@pytest.fixture(scope="module")
def run(graph: onnx.ModelProto) -> Callable[[Tensor], Answer]:
    return runner(graph)


def torch_answer(net: RegionCnn, image: Tensor) -> Answer:
    with torch.inference_mode():
        return {name: tensor.numpy() for name, tensor in net(image).items()}


def test_loss_falls_and_every_object_is_found(history: tuple[RegionCnn, list[float]]) -> None:
    net, totals = history
    assert np.mean(totals[-10:]) < 0.35 * np.mean(totals[:5])
    images, targets = scenes()
    answer = net(images)
    for row, target in enumerate(targets):
        sure = answer["scores"][row] > 0.5
        assert int(sure.sum()) == len(target["boxes"])
        overlap = iou(target["boxes"], answer["boxes"][row][sure])
        same = target["labels"][:, None] == answer["labels"][row][sure][None, :]
        assert ((overlap > 0.6) & same).any(dim=1).all()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", BATCHES)
def test_onnx_runtime_equals_torch(
    trained: RegionCnn, run: Callable[[Tensor], Answer], count: int, size: tuple[int, int]
) -> None:
    image = batch_of(count, size)
    expected, answer = torch_answer(trained, image), run(image)
    np.testing.assert_array_equal(answer["count"], expected["count"])
    assert answer["count"].max() > 0 or size == SIZES[2]  # squeezed by two, an overfitted net may see nothing
    np.testing.assert_array_equal(answer["labels"], expected["labels"])
    np.testing.assert_allclose(answer["boxes"], expected["boxes"], atol=0.01, rtol=0)
    np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_an_image_gets_the_same_outputs_alone_and_in_a_batch(
    run: Callable[[Tensor], Answer], size: tuple[int, int]
) -> None:
    image = batch_of(5, size)
    for count in BATCHES:
        together = run(image[:count])
        for row in range(count):
            alone = run(image[row : row + 1])
            for name, values in alone.items():
                np.testing.assert_array_equal(values[0], together[name][row], err_msg=name)


def test_rows_are_sorted_above_the_floor_inside_the_image_and_zero_after_count(
    run: Callable[[Tensor], Answer],
) -> None:
    answer = run(batch_of(5, (50, 131)))
    for boxes, scores, labels, count in zip(*answer.values(), strict=True):
        assert (np.diff(scores) <= 0).all()
        assert (scores[:count] > SCORE_FLOOR).all()
        assert not scores[count:].any()
        assert not boxes[count:].any()
        assert not labels[count:].any()
        assert (boxes[:count, :2] >= 0).all()
        assert (boxes[:count, 2:] <= [131, 50]).all()
        assert (boxes[:count, 2:] > boxes[:count, :2]).all()


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (1, 1), (700, 500)])
def test_extreme_shapes_are_predicted_alike(
    trained: RegionCnn, run: Callable[[Tensor], Answer], size: tuple[int, int]
) -> None:
    image = torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(6)) * 255
    expected, answer = torch_answer(trained, image), run(image)
    np.testing.assert_array_equal(answer["count"], expected["count"])
    np.testing.assert_allclose(answer["boxes"], expected["boxes"], atol=0.01, rtol=0)


def test_boxes_scale_with_the_image(trained: RegionCnn) -> None:
    small, _ = scenes()
    large = torch.nn.functional.interpolate(small, scale_factor=2, mode="nearest")
    one, two = torch_answer(trained, small[1:2]), torch_answer(trained, large[1:2])
    np.testing.assert_allclose(two["boxes"][0, 0], 2 * one["boxes"][0, 0], atol=0.5)


@pytest.fixture(scope="module")
def seen_thrice(trained: RegionCnn) -> RegionCnn:
    """The trained net with test-time augmentation over two mirrored copies."""
    net = net_of(tta=("x", "xy"))
    net.load_state_dict(trained.state_dict())
    return net.eval()


def test_mirrored_views_are_averaged_alike_in_onnx_and_in_a_batch(seen_thrice: RegionCnn, trained: RegionCnn) -> None:
    answer_of = runner(exported(seen_thrice))
    for size in SIZES[:3]:
        image = batch_of(3, size)
        expected, answer = torch_answer(seen_thrice, image), answer_of(image)
        np.testing.assert_array_equal(answer["count"], expected["count"])
        np.testing.assert_allclose(answer["boxes"], expected["boxes"], atol=0.01, rtol=0)
        np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-4, rtol=0)
        for row in range(3):
            for name, values in answer_of(image[row : row + 1]).items():
                np.testing.assert_array_equal(values[0], answer[name][row], err_msg=name)
        assert np.abs(expected["scores"] - torch_answer(trained, image)["scores"]).max() > 1e-3


def test_a_region_is_classified_in_the_mirror_as_on_a_mirrored_picture(trained: RegionCnn) -> None:
    """One region, one head: the mean of the picture's output and of the mirrored picture's, mirrored back."""
    net = net_of(tta=("x",))
    net.load_state_dict(trained.state_dict())
    net.eval()
    image, valid_size = scenes()[0][3:4], torch.tensor([64.0, 64.0])
    region = torch.tensor([[[5.0, 3.0, 22.0, 21.0]]])
    there = torch.tensor([[[64 - 22.0, 3.0, 64 - 5.0, 21.0]]])
    with torch.inference_mode():
        canvases = [net._canvas(picture)[0] for picture in (image, image.flip(3))]
        levels = [net.pyramid(net.backbone(canvas)) for canvas in canvases]
        both = [torch.cat(pair) for pair in zip(*levels, strict=True)]
        scores, deltas = net._classify_mirrored(net.head, both, region, valid_size)
        alone = [net._classify(net.head, maps, box) for maps, box in zip(levels, (region, there), strict=True)]
    (one, here), (two, mirrored) = alone
    mirrored = mirrored * torch.tensor([-1.0, 1, 1, 1])
    torch.testing.assert_close(scores[0], ((one.softmax(1) + two.softmax(1)) / 2)[:, :-1])
    torch.testing.assert_close(deltas[0], (here + mirrored) / 2)


@pytest.fixture(scope="module")
def calibrated(trained: RegionCnn) -> RegionCnn:
    """The trained net, calibrated on pictures whose objects at the border are not labelled."""
    net = net_of(calibrate=True)
    net.load_state_dict(trained.state_dict() | {f"curve.{n}": t for n, t in net.curve.state_dict().items()})
    net.eval()
    images, targets = scenes()
    shifted = images.roll((-8, -11), dims=(2, 3))
    inner = [{**target, "boxes": target["boxes"] - torch.tensor([11.0, 8, 11, 8])} for target in targets]
    for target in inner:
        whole = (target["boxes"] >= 3).all(dim=1)
        target["boxes"], target["labels"] = target["boxes"][whole], target["labels"][whole]
    with torch.inference_mode():
        net.calibrate([*net.predictions(images, targets), *net.predictions(shifted, inner)])
    return net


def test_calibration_lowers_scores_at_the_border_and_is_reported(calibrated: RegionCnn, trained: RegionCnn) -> None:
    assert calibrated.calibration is not None
    assert calibrated.calibration["items"] == 8
    assert min(calibrated.calibration["border"]) < -0.1
    assert calibrated.operating_point is not None
    assert calibrated.curve is not None
    lowered = 0
    for outside in range(12, 22):
        # More and more of the object lies outside, on the left border; where it was found there, all of it counts.
        image = scenes()[0][1:2].roll(-outside, dims=3)
        image[..., 50:] = 30
        before, after = torch_answer(trained, image), torch_answer(calibrated, image)
        if before["boxes"][0, 0, 0] >= 2:
            continue
        box, label = before["boxes"][0, 0], int(before["labels"][0, 0])
        same = int(np.abs(after["boxes"][0] - box).max(axis=1).argmin())
        np.testing.assert_allclose(after["boxes"][0, same], box, atol=1e-4)
        rows = torch.zeros(1, calibrated.classes, 1)
        rows[0, label, 0] = float(before["scores"][0, 0])
        inside = float(calibrated.curve(rows, torch.zeros(1, 1))[0, label, 0])
        assert after["scores"][0, same] < before["scores"][0, 0]
        assert after["scores"][0, same] < inside + 1e-6
        lowered += after["scores"][0, same] < inside - 1e-6
    assert lowered >= 2


def test_calibrated_scores_are_the_same_in_onnx_and_in_a_batch(calibrated: RegionCnn, trained: RegionCnn) -> None:
    answer_of = runner(exported(calibrated))
    for size in SIZES:
        image = batch_of(3, size)
        expected, answer = torch_answer(calibrated, image), answer_of(image)
        np.testing.assert_array_equal(answer["count"], expected["count"])
        np.testing.assert_allclose(answer["boxes"], expected["boxes"], atol=0.01, rtol=0)
        np.testing.assert_allclose(answer["scores"], expected["scores"], atol=1e-4, rtol=0)
        assert (np.diff(answer["scores"], axis=1) <= 0).all()
        # No answer is lost because its chance is small.
        np.testing.assert_array_equal(answer["count"], torch_answer(trained, image)["count"])
        for row in range(3):
            for name, values in answer_of(image[row : row + 1]).items():
                np.testing.assert_array_equal(values[0], answer[name][row], err_msg=name)
    assert np.abs(expected["scores"] - torch_answer(trained, image)["scores"]).max() > 1e-3


def test_the_threshold_is_chosen_among_calibrated_scores(calibrated: RegionCnn) -> None:
    """`calibrate` saw the scores that the calibrated net returns."""
    net = net_of(calibrate=True)
    state = calibrated.state_dict()
    net.load_state_dict(state)
    net.eval()
    fresh = net_of(calibrate=True)
    fresh.load_state_dict(state | {f"curve.{n}": t for n, t in fresh.curve.state_dict().items()})
    fresh.eval()
    images, targets = scenes()
    with torch.inference_mode():
        raw, wanted = fresh.predictions(images, targets), net.predictions(images, targets)
    fresh.curve.load_state_dict(net.curve.state_dict())
    fresh.curve.fit = lambda *given: False  # type: ignore[method-assign]
    told = fresh._calibrate(fresh.curve, raw)
    for (_, mine), (_, theirs) in zip(told, wanted, strict=True):
        np.testing.assert_allclose(mine.scores, theirs.scores, atol=1e-5)
        np.testing.assert_allclose(mine.boxes, theirs.boxes, atol=1e-4)
        np.testing.assert_array_equal(mine.labels, theirs.labels)


def test_a_net_without_calibration_holds_nothing_of_it() -> None:
    assert not [name for name in net_of().state_dict() if name.startswith("curve")]


@pytest.mark.parametrize("damage", ["a channel doubled", "a threshold moved", "an operator exchanged"])
def test_a_damaged_graph_predicts_visibly_otherwise(
    graph: onnx.ModelProto, run: Callable[[Tensor], Answer], damage: str
) -> None:
    broken = onnx.ModelProto()
    broken.CopyFrom(graph)
    if damage == "a channel doubled":
        weight = next(w for w in broken.graph.initializer if w.name == "pyramid.lateral.0.weight")
        values = numpy_helper.to_array(weight).copy()
        values[3] *= 2
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    elif damage == "a threshold moved":
        last = [node for node in broken.graph.node if node.op_type == "NonMaxSuppression"][-1]
        floor = numpy_helper.from_array(np.array([SCORE_FLOOR + 0.05], np.float32), "moved")
        broken.graph.initializer.append(floor)
        last.input[4] = "moved"
    else:
        relu = [node for node in broken.graph.node if node.op_type == "Relu"][-1]
        relu.op_type = "Sigmoid"
    wrong, differs = runner(broken), False
    for size in SIZES:
        image = batch_of(5, size)
        a, b = run(image), wrong(image)
        differs |= bool((a["count"] != b["count"]).any()) or float(np.abs(a["boxes"] - b["boxes"]).max()) > 0.01
        differs |= float(np.abs(a["scores"] - b["scores"]).max()) > 1e-4
    assert differs


def test_images_without_objects_teach_background_alone() -> None:
    net = net_of().train()
    losses = net.loss(torch.rand(2, 1, 64, 64) * 255, [scenes()[1][0]] * 2)
    assert losses["box"] == losses["proposal_box"] == 0
    assert losses["objectness"] > 0
    assert losses["class"] > 0


def test_a_crowd_and_touching_borders_give_finite_losses() -> None:
    low = torch.rand(300, 2, generator=torch.Generator().manual_seed(0)) * 60
    boxes = torch.cat([low, low + 3], dim=1).clamp(max=64)
    boxes[0] = torch.tensor([0.0, 0, 64, 64])
    boxes[1] = torch.tensor([63.0, 63, 64, 64])
    target = {"boxes": boxes, "labels": torch.zeros(300, dtype=torch.int64)}
    losses = net_of().train().loss(torch.rand(1, 1, 64, 64) * 255, [target])
    assert all(torch.isfinite(value) for value in losses.values())
    assert losses["box"] > 0


def test_the_loss_fits_images_of_another_size_with_their_boxes() -> None:
    net = net_of().eval()
    images, targets = scenes()
    twice = torch.nn.functional.interpolate(images, scale_factor=2, mode="nearest")
    doubled = [{**target, "boxes": target["boxes"] * 2} for target in targets]
    torch.manual_seed(0)
    expected = net.loss(images, targets)
    torch.manual_seed(0)
    answer = net.loss(twice, doubled)
    for name, value in expected.items():
        torch.testing.assert_close(answer[name], value, atol=1e-3, rtol=1e-3)


def test_the_same_seed_gives_the_same_net_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    first, second = net_of(), net_of()
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
