"""Results: as the fixed JSON, with millilitres and millimetres, written and drawn."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.results import Classification, Detections, Failure, Result, Segmentation
from medzoo.types import Image

LABELS = ["background", "csf", "grey-matter"]
AFFINE = np.array([[0, -2.0, 0, 10], [1.5, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])


def segmentation(affine: np.ndarray | None = AFFINE) -> Segmentation:
    shape = (6, 7, 5) if affine is not None else (6, 7)
    mask = np.zeros(shape, np.uint8)
    mask[1:4, 2:5] = 2
    mask[0, 0] = 1
    array = np.arange(1, mask.size + 1, dtype=np.int16).reshape(1, *shape)
    return Segmentation(
        input="./t1.nii.gz", model="m", mask=mask, labels=LABELS, image=Image(array, affine), seconds=1.23456
    )


def test_millilitres_are_voxels_times_the_determinant(tmp_path: Path) -> None:
    seg = segmentation()
    assert seg.volumes_ml == pytest.approx({"csf": 5 * 12 / 1000, "grey-matter": 45 * 12 / 1000})
    assert seg.areas_px is None
    oblique = AFFINE.copy()
    angle = np.radians(30)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    oblique[:3, :3] = turn @ AFFINE[:3, :3]
    assert segmentation(oblique).volumes_ml == pytest.approx(seg.volumes_ml)


def test_a_segmentation_names_its_mask_once_it_is_saved(tmp_path: Path) -> None:
    seg = segmentation()
    assert "mask" not in seg.to_dict()
    saved = seg.save(tmp_path / "out.nii.gz")
    assert saved.to_dict() == {
        "input": "./t1.nii.gz",
        "model": "m",
        "task": "segment",
        "seconds": 1.2346,
        "mask": str(tmp_path / "out.nii.gz"),
        "volumes_ml": {"csf": 0.06, "grey-matter": 0.54},
    }
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), seg.mask)
    np.testing.assert_allclose(written.affine, AFFINE)
    with pytest.raises(dataclasses.FrozenInstanceError):
        seg.mask_path = tmp_path  # type: ignore[misc]


def test_areas_of_a_picture(tmp_path: Path) -> None:
    saved = segmentation(None).save(tmp_path / "m.png")
    answer = saved.to_dict()
    assert answer["areas_px"] == {"csf": 1, "grey-matter": 9}
    assert "volumes_ml" not in answer
    with pytest.raises(UserError, match=r"written as \.nii\.gz"):
        segmentation().save(tmp_path / "m.png")


def test_classification_json(tmp_path: Path) -> None:
    answer = Classification(
        input="a.png",
        model="breast-mass-svm",
        label="benign",
        probabilities={"benign": np.float32(0.75), "malignant": np.float32(0.25)},
        outline="found",
        features={"area": np.float64(1234.56789012), "solidity": 0.000012345678},
    )
    expected = {
        "input": "a.png",
        "model": "breast-mass-svm",
        "task": "classify",
        "seconds": 0.0,
        "label": "benign",
        "probabilities": {"benign": 0.75, "malignant": 0.25},
        "outline": "found",
        "features": {"area": 1234.568, "solidity": 1.234568e-05},
    }
    assert answer.to_dict() == expected
    assert answer.save(tmp_path / "a.json") is answer
    assert json.loads((tmp_path / "a.json").read_text()) == expected
    plain = dataclasses.replace(answer, outline=None, features=None).to_dict()
    assert "outline" not in plain
    assert "features" not in plain
    with pytest.raises(UserError, match=r"saved as \.json"):
        answer.save(tmp_path / "a.txt")


def test_detections_come_best_first_with_millimetres() -> None:
    boxes = np.array([[0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6]], np.float32)
    found = Detections(
        input="a",
        model="m",
        labels=["lesion", "cyst"],
        boxes=boxes,
        scores=np.array([0.25, 0.5], np.float32),
        classes=np.array([0, 1]),
        image=Image(np.ones((1, 9, 9, 9)), AFFINE),
        details=[{"members": {"svm": {"benign": 0.9}}}, {}],
    )
    one, two = found.to_dict()["detections"]
    assert one.pop("measures")["volume_ml"] == 0.324  # 27 voxels of 12 mm3
    # i runs along A in steps of 1.5, j along L in steps of 2, k along S in steps of 4.
    assert one == {
        "label": "cyst",
        "score": 0.5,
        "box": [1, 2, 3, 4, 5, 6],
        "box_mm": [[1.0, 20.75, 40.0], [7.0, 25.25, 52.0]],
    }
    assert (two["label"], two["score"], two["members"]) == ("lesion", 0.25, {"svm": {"benign": 0.9}})
    json.dumps(found.to_dict())
    assert len(found) == 2


def test_no_detections() -> None:
    none = Detections(
        input="a",
        model="m",
        labels=["lesion"],
        boxes=np.zeros((0, 4)),
        scores=np.zeros(0),
        classes=np.zeros(0, int),
        image=Image(np.ones((1, 9, 9), np.uint8)),
    )
    assert none.to_dict()["detections"] == []
    assert none.boxes_mm is None


def test_every_result_draws_itself(tmp_path: Path) -> None:
    picture = Image(np.full((1, 40, 50), 90, np.uint8))
    volume = Image(np.random.default_rng(0).random((1, 9, 9, 9)), AFFINE)
    shared = {"input": "a", "model": "m"}
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:30] = 1
    answers = [
        Classification(label="b", probabilities={"a": 0.2, "b": 0.8}, image=picture, mask=mask, **shared),
        Segmentation(mask=mask, labels=LABELS, image=picture, **shared),
        segmentation(),
        *(
            Detections(
                labels=["x"],
                boxes=np.array(box, float),
                scores=np.array([0.5]),
                classes=np.array([0]),
                image=image,
                **shared,
            )
            for image, box in ((picture, [[1, 2, 30, 40]]), (volume, [[1, 1, 1, 5, 5, 5]]))
        ),
        Detections(
            labels=["x"],
            boxes=np.zeros((0, 6)),
            scores=np.zeros(0),
            classes=np.zeros(0, int),
            image=volume,
            **shared,
        ),
    ]
    for n, answer in enumerate(answers):
        path = answer.plot(tmp_path / f"{n}.png")
        assert np.asarray(Pillow.open(path)).std() > 1
    with pytest.raises(UserError, match="cannot be drawn"):
        dataclasses.replace(answers[0], image=None).plot(tmp_path / "x.png")


@pytest.mark.parametrize("use", ["save", "plot", "link"])
def test_a_result_is_not_written_over_what_it_was_made_from(tmp_path: Path, use: str) -> None:
    from PIL import Image as Pillow

    from medzoo.io import read_image

    scan = tmp_path / "scan.png"
    Pillow.new("L", (8, 8), 9).save(scan)
    before = scan.read_bytes()
    image = read_image(scan)
    mask = np.ones(image.shape, np.uint8)
    result = Segmentation(input=str(scan), model="m", mask=mask, labels=("background", "a"), image=image)
    target = scan
    if use == "link":
        target = tmp_path / "other.png"
        target.symlink_to(scan)
    with pytest.raises(UserError, match="is one of the inputs and would be overwritten"):
        result.plot(target) if use == "plot" else result.save(target)
    assert scan.read_bytes() == before
    assert result.save(tmp_path / "mask.png").mask_path == tmp_path / "mask.png"


def test_results_show_themselves_in_one_short_line() -> None:
    picture = Image(np.zeros((1, 6, 7), np.uint8))
    label = Classification(input="a\n.png", model="m", label="benign", probabilities={"benign": 0.75, "malign\n": 0.25})
    doubtful = dataclasses.replace(label, label_set=["benign", "malign\n"], coverage=0.9)
    boxes = Detections(
        input="a.png",
        model="m",
        labels=["mass"],
        boxes=np.zeros((4, 4)),
        scores=np.array([0.1, 0.9, 0.3, 0.2]),
        classes=np.zeros(4, int),
        image=picture,
    )
    none = dataclasses.replace(boxes, boxes=np.zeros((0, 4)), scores=np.zeros(0), classes=np.zeros(0, int))
    assert repr(segmentation()) == "<Segmentation of './t1.nii.gz' by 'm': csf 0.06 ml, grey-matter 0.54 ml>"
    assert repr(segmentation(None)) == "<Segmentation of './t1.nii.gz' by 'm': csf 1 px, grey-matter 9 px>"
    assert repr(label) == r"<Classification of 'a\n.png' by 'm': benign 0.75>"
    assert repr(doubtful) == r"<Classification of 'a\n.png' by 'm': benign 0.75, not sure: benign or malign\x0a>"
    assert repr(boxes) == "<Detections of 'a.png' by 'm': 4 boxes (mass 0.90, mass 0.30, mass 0.20, ...)>"
    assert repr(none) == "<Detections of 'a.png' by 'm': 0 boxes>"


def test_a_failure_raises_its_error_for_every_attribute_of_a_result_of_any_task() -> None:
    class Landmarks(Result):
        points: float = 0.0

    failure = Failure("a.png", UserError("is empty", "a.png"))
    for name in ("mask", "label", "boxes", "volumes_ml", "save", "notes", "points"):
        with pytest.raises(UserError, match="is empty"):
            getattr(failure, name)
    for name in ("__deepcopy__", "nonsense", "_summary"):
        with pytest.raises(AttributeError):
            getattr(failure, name)
    assert failure.input == "a.png"
    assert failure.to_dict() == {"input": "a.png", "error": "a.png: is empty"}
