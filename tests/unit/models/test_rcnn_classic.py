"""The classic R-CNN learns in three steps, and its one file predicts pictures of every kind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from medzoo.errors import UserError
from medzoo.export.checked import export_checked
from medzoo.inputs.regions import ProposedPictures, WholePictures, WindowBatches
from medzoo.models.rcnn_classic import ENTRY, RcnnClassic, RcnnClassicParams, build
from medzoo.nn.net import Spec
from medzoo.preprocess.extras import PROPOSED_BOXES
from medzoo.preprocess.steps import apply_steps
from medzoo.recipe import TrainSection
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import Metadata, OperatingPoint
from medzoo.runtime.predictor import Predictor
from medzoo.training.closed_form import fit_both
from medzoo.training.fit import FitReport
from medzoo.types import Array, Image
from tests.unit.training.regions_toys import STEP
from tests.unit.training.scenes_toys import ToyScenes, rectangle

SETTINGS = TrainSection(epochs=2, batch=32, lr=3e-3)


def net_of(**changes: object) -> RcnnClassic:
    return build(RcnnClassicParams(**{**ENTRY.tiny, **changes}), Spec("detect", ["thing"]))  # type: ignore[arg-type]


def fitted(net: RcnnClassic, folder: Path) -> FitReport:
    data = ToyScenes(14)
    items = data.items()
    for item in items:
        item.files.clear()  # type: ignore[attr-defined]
    train, val = (ProposedPictures(data, part, [STEP], channels=1) for part in (items[:9], items[9:]))
    options = {"positive": 0.5, "positive_share": 0.25, "classes": 1, "batch": 32, "steps": 6, "seed": 0}
    return fit_both(
        net,
        SETTINGS,
        WindowBatches(train, **options),  # type: ignore[arg-type]
        WindowBatches(val, **options),  # type: ignore[arg-type]
        WholePictures(train),
        WholePictures(val),
        folder=folder,
        console=Console(quiet=True),
    )


def metadata(net: RcnnClassic) -> Metadata:
    point = net.operating_point
    assert point is not None
    return Metadata(
        name="classic",
        task="detect",
        labels=("thing",),
        inputs=net.inputs,
        outputs=net.outputs,
        geometry=net.geometry,
        host=(STEP.model_dump(),),
        operating_point=OperatingPoint(threshold=point[0], rule=point[1]),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[RcnnClassic, FitReport]:
    net = net_of()
    return net, fitted(net, tmp_path_factory.mktemp("classic"))


@pytest.fixture(scope="module")
def predictor(trained: tuple[RcnnClassic, FitReport]) -> Predictor:
    net = trained[0]
    exported = export_checked(net, metadata(net), [], where="classic")
    return Predictor(OnnxBackend(exported.onnx, where="classic", device="cpu"))


def scene(*boxes: tuple[int, int, int, int], height: int = 90, width: int = 110) -> Array:
    noise = np.random.default_rng(3).integers(0, 10, (1, height, width))
    return (rectangle(height, width, np.array(boxes).reshape(-1, 4)) + noise).astype(np.uint8)


def test_every_stage_learns_and_says_from_what(trained: tuple[RcnnClassic, FitReport]) -> None:
    net, report = trained
    assert report.steps == 12
    assert report.curve[-1][1] < report.curve[0][1]
    said = report.findings["thing"]
    assert said["objects"] == 6
    assert said["background"] > 50
    assert said["boxes"] > 5
    assert said["reached"] == 1
    assert net.svm_weight.abs().sum() > 0
    assert net.box_weight.abs().sum() > 0
    assert net.operating_point is not None
    assert net.calibration is not None
    assert (net.slope > 0).all()


def test_an_object_is_found_where_it_is(predictor: Predictor) -> None:
    found = predictor.predict(Image(scene((30, 25, 65, 55)), None, "made"))
    assert len(found) >= 1
    assert np.abs(found.boxes[0] - [30, 25, 65, 55]).max() < 8
    assert found.to_dict()["detections"][0]["label"] == "thing"
    assert 0 < found.scores[0] < 1


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.full((1, 60, 80), 70, np.uint8), "constant"),
        (np.zeros((1, 7, 9), np.uint8), "constant and smaller than a region"),
    ],
)
def test_a_picture_without_proposals_has_no_detections(predictor: Predictor, array: Array, what: str) -> None:
    assert len(Predictor(predictor.backend, threshold=0).predict(Image(array, None, what))) == 0


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (12, 10), (1, 1), (2, 3)])
def test_odd_shapes_are_predicted_inside_the_picture(predictor: Predictor, shape: tuple[int, int]) -> None:
    array = np.random.default_rng(0).integers(0, 255, (1, *shape)).astype(np.uint8)
    found = Predictor(predictor.backend, threshold=0).predict(Image(array, None, "odd"))
    assert (found.boxes >= 0).all()
    assert (found.boxes[:, 2:] <= [shape[1], shape[0]]).all()


def test_colour_and_large_pictures_are_predicted_and_16_bits_by_models_of_16_bits(predictor: Predictor) -> None:
    grey = scene((30, 25, 65, 55))
    one = predictor.predict(Image(grey, None, "grey"))
    three = predictor.predict(Image(np.repeat(grey, 3, axis=0), None, "colour"))
    assert np.allclose(one.boxes, three.boxes, atol=1e-3)
    deep = Image(grey.astype(np.uint16) * 257, None, "deep")
    with pytest.raises(
        UserError, match="deep: the picture has 16 bits per pixel, but classic was trained on 8-bit pictures"
    ):
        predictor.predict(deep)
    trained_deep = Predictor(predictor.backend)
    trained_deep.metadata = predictor.metadata.model_copy(update={"bits": 16})
    assert np.isfinite(trained_deep.predict(deep).scores).all()
    large = predictor.predict(Image(grey.repeat(40, axis=1).repeat(40, axis=2), None, "large"))
    assert np.abs(large.boxes[0] / 40 - one.boxes[0]).max() < 1.5


def test_a_volume_is_refused(predictor: Predictor) -> None:
    with pytest.raises(UserError, match="is a volume, but regions are proposed on a picture"):
        predictor.predict(Image(np.ones((1, 9, 9, 9), np.float32), np.eye(4), "scan"))


def test_pictures_with_fewer_regions_are_filled_up_with_nothing(trained: tuple[RcnnClassic, FitReport]) -> None:
    net = trained[0]
    state = apply_steps(Image(scene((30, 25, 65, 55)), None, "made"), [STEP])
    regions = torch.from_numpy(state.image.array)[None]
    boxes = torch.from_numpy(state.extras[PROPOSED_BOXES])[None]
    with torch.inference_mode():
        alone = net(regions, boxes)
        filled = net(
            torch.cat([regions, torch.rand(1, 5, *regions.shape[2:]) * 255], dim=1),
            torch.cat([boxes, torch.zeros(1, 5, 4)], dim=1),
        )
    for name, value in alone.items():
        assert torch.allclose(value, filled[name], atol=1e-4), name


def test_without_fine_tuning_the_network_stays_as_it_was(tmp_path: Path) -> None:
    net = net_of(finetune=False, norm="frozen")
    before = {name: value.clone() for name, value in net.network.state_dict().items()}
    report = fitted(net, tmp_path)
    assert not report.curve
    assert all(torch.equal(value, before[name]) for name, value in net.network.state_dict().items())
    assert report.findings["thing"]["objects"] == 6
