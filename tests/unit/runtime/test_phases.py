"""Several phases of one scan as one input: the ejection fraction, in Python, JSON, files and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medzoo.commands.predict import predict_files
from medzoo.errors import OffGridError, UserError
from medzoo.metrics.segment import SegmentScores
from medzoo.report.summary import result_line
from medzoo.runtime.metadata import Geometry, Metadata
from medzoo.runtime.predictor import Predictor

LABELS = ("none", "left-ventricle", "right-ventricle")


class Bright:
    """A voxel's value is its label."""

    name, device = "toy", "cpu"

    def __init__(self, phases: Sequence[str] = LABELS[1:]) -> None:
        self.metadata = Metadata(
            name="toy", task="segment", labels=LABELS, outputs=("labels",), geometry=Geometry(dims=3),
            phases=tuple(phases),
        )  # fmt: skip

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        return {"labels": inputs["image"][:, 0].astype(np.uint8)}


def phase(left: int, right: int) -> np.ndarray[Any, Any]:
    array = np.zeros((10, 8, 6), np.uint8)
    array.reshape(-1)[:left] = 1
    array.reshape(-1)[200 : 200 + right] = 2
    return array


def save(path: Path, array: Any, side: float = 1.0) -> str:
    nib.save(nib.Nifti1Image(array, np.diag([side, side, side, 1.0])), path)
    return str(path)


@pytest.fixture
def heart(tmp_path: Path) -> list[str]:
    """End systole first: 40 and 60 voxels, then end diastole: 100 and 80, then 70 and 50."""
    counts = [(40, 60), (100, 80), (70, 50)]
    return [save(tmp_path / f"phase{n}.nii.gz", phase(*pair)) for n, pair in enumerate(counts)]


def test_files_or_a_fourth_axis_give_one_answer_with_the_ejection_fractions(heart: list[str], tmp_path: Path) -> None:
    stacked = np.stack([np.asarray(nib.load(one).dataobj) for one in heart], axis=-1)
    whole = save(tmp_path / "cine.nii.gz", stacked)
    predictor = Predictor(Bright())
    for source in (",".join(heart), whole, nib.load(whole)):
        result = predictor.predict(source)
        assert result.phases is not None
        assert (result.phases.end_diastole, result.phases.end_systole) == (1, 0)
        assert result.phases.ejection_fractions == pytest.approx({"left-ventricle": 0.6, "right-ventricle": 0.25})
        assert result.counts == {"left-ventricle": 100, "right-ventricle": 80}
        assert np.array_equal(result.image.array[0], stacked[..., 1])
        document = result.to_dict()
        assert document["ejection_fraction"] == {"left-ventricle": 0.6, "right-ventricle": 0.25}
        assert document["phases"] == {"count": 3, "end_diastole": 1, "end_systole": 0}
        assert "ejection fraction left-ventricle 60 %" in result_line(document)
        assert "left-ventricle 60 %" in repr(result)


def test_the_masks_are_one_file_along_a_fourth_axis(heart: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    (result,) = predict_files(Predictor(Bright()), [",".join(heart)], out=out)
    assert result.error is None
    (mask,) = out.glob("*_mask.nii.gz")
    stored = nib.load(mask)
    assert stored.shape == (10, 8, 6, 3)
    for number, one in enumerate(heart):
        assert np.array_equal(np.asarray(stored.dataobj)[..., number], np.asarray(nib.load(one).dataobj))
    assert np.allclose(stored.affine, np.eye(4))
    assert len(list(out.glob("*.png"))) == 1


def test_one_phase_is_answered_as_by_any_other_model(heart: list[str]) -> None:
    result = Predictor(Bright()).predict(heart[1])
    assert result.phases is None
    assert "ejection_fraction" not in result.to_dict()


def test_an_empty_cavity_has_no_fraction(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{n}.nii.gz", phase(n, 0)) for n in (5, 10)]
    result = Predictor(Bright()).predict(",".join(files))
    assert result.phases.ejection_fractions == pytest.approx({"left-ventricle": 0.5})
    nothing = [save(tmp_path / f"empty{n}.nii.gz", phase(0, 3)) for n in (0, 1)]
    assert "ejection fraction right-ventricle 0 %" in result_line(
        Predictor(Bright()).predict(",".join(nothing)).to_dict()
    )


def test_phases_on_two_grids_are_refused(heart: list[str], tmp_path: Path) -> None:
    other = save(tmp_path / "other.nii.gz", phase(3, 3), side=1.5)
    with pytest.raises(OffGridError, match=r"other\.nii\.gz"):
        Predictor(Bright()).predict(f"{heart[0]},{other}")


def test_other_models_take_no_phases(heart: list[str], tmp_path: Path) -> None:
    predictor = Predictor(Bright(phases=()))
    with pytest.raises(UserError):
        predictor.predict(",".join(heart[:2]))
    with pytest.raises(UserError):
        predictor.predict(save(tmp_path / "cine.nii.gz", np.stack([phase(1, 1)] * 3, axis=-1)))
    assert "phases" not in predictor.metadata.model_dump()
    again = Metadata.model_validate_json(Bright().metadata.model_dump_json())
    assert again.phases == LABELS[1:]


def test_the_ejection_error_is_of_groups_and_of_ventricles() -> None:
    scores = SegmentScores([*LABELS, "wall"], ["dice", "ejection-error"])
    truths, answers = [(100, 80), (40, 60)], [(90, 80), (45, 40)]
    for n, (truth, answer) in enumerate(zip(truths, answers, strict=True)):
        scores.add(phase(*truth), phase(*answer), item=f"a{n}", group="a", spacing=(1, 1, 1))
    scores.add(phase(7, 0), phase(9, 0), item="b0", group="b", spacing=(1, 1, 1))
    for n in (0, 1):
        scores.add(phase(50 - 25 * n, 0), phase(50 - 25 * n, 0), item=f"c{n}", group="c", spacing=(1, 1, 1))
    found = {metric.name: metric for metric in scores.metrics()}
    # a: 60 % taken for 50 %, c: 50 % for 50 %; b has one phase.
    assert found["ejection-error/left-ventricle"].value == pytest.approx(5.0)
    # a: 25 % taken for 50 %; c has no right ventricle.
    assert found["ejection-error/right-ventricle"].value == pytest.approx(25.0)
    assert "ejection-error/wall" not in found
    again = SegmentScores(scores.labels, scores.names)
    for record in scores.records():
        again.restore(record)
    assert [metric.value for metric in again.metrics()] == [metric.value for metric in scores.metrics()]
