"""Rules on connected components: what they keep, that a model stores them, and how they are chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from medzoo.data.dataset import Item, Sample
from medzoo.evaluation.components import choose_rules
from medzoo.runtime.decode.components import apply_rules
from medzoo.runtime.metadata import ComponentRule, Geometry, Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.tasks.segment import ENTRY as SEGMENT
from medzoo.types import Array, Image


def scene() -> Array:
    """Label 1: a box with a hole of background and one of label 2, a part at its corner, a speck; label 2: a bar."""
    mask = np.zeros((30, 30, 20), np.uint8)
    mask[2:10, 2:10, 2:10] = 1
    mask[4, 4, 4] = 0
    mask[6, 6, 6] = 2
    mask[10, 10, 10] = 1  # touches at a corner
    mask[20:22, 20, 5] = 1
    mask[15:18, 3, 15] = 2
    return mask


def test_the_largest_component_alone_is_kept_with_what_touches_at_a_corner() -> None:
    found = apply_rules(scene(), [ComponentRule(label=1, largest=True)])
    assert not found[20:22, 20, 5].any()
    assert found[10, 10, 10] == 1
    assert (found == 1).sum() == 8**3 - 2 + 1
    assert (found == 2).sum() == 4


@pytest.mark.parametrize(("voxel", "least", "kept"), [(1.0, 2.0, True), (1.0, 3.0, False), (8.0, 10.0, True)])
def test_a_least_volume_is_in_millimetres(voxel: float, least: float, kept: bool) -> None:
    found = apply_rules(scene(), [ComponentRule(label=1, least_volume=least)], voxel=voxel)
    assert bool(found[20:22, 20, 5].all()) is kept
    assert found[3, 3, 3] == 1


def test_holes_of_background_are_filled_and_other_labels_stay() -> None:
    found = apply_rules(scene(), [ComponentRule(label=1, fill_holes=True)])
    assert found[4, 4, 4] == 1
    assert found[6, 6, 6] == 2
    assert found[20, 20, 5] == 1
    assert (found != scene()).sum() == 1


@pytest.mark.parametrize("rules", [[], [ComponentRule(label=7, largest=True)], [ComponentRule(label=2)]])
def test_without_anything_to_do_the_mask_is_as_it_was(rules: list[ComponentRule]) -> None:
    assert np.array_equal(apply_rules(scene(), rules), scene())


def test_rules_work_on_pictures() -> None:
    mask = scene()[:, :, 4]
    assert not apply_rules(mask, [ComponentRule(label=1, largest=True, fill_holes=True)])[20, 20]


class Stored:
    """Returns the labels that the image itself holds."""

    name, device = "stored", "cpu"

    def __init__(self, calibration: dict[str, Any] | None = None) -> None:
        self.metadata = Metadata(
            name="stored",
            task="segment",
            labels=("none", "one", "two"),
            outputs=("labels",),
            geometry=Geometry(dims=3),
            calibration=calibration,
        )

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        return {"labels": inputs["image"][:, 0].astype(np.uint8)}


def predict(calibration: dict[str, Any] | None) -> Array:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    return Predictor(Stored(calibration)).predict(Image(scene()[None].astype(np.float32), affine, "made")).mask


def test_the_rules_of_a_models_metadata_are_applied_to_its_predictions() -> None:
    assert np.array_equal(predict(None), scene())
    rule = {"label": 1, "largest": False, "least_volume": 17.0, "fill_holes": True}
    found = predict({"components": [rule], "components_items": 3})
    assert not found[20:22, 20, 5].any()  # two voxels of 8 mm^3
    assert found[4, 4, 4] == 1


@pytest.mark.parametrize(
    "rules", [[{"label": 0}], [{"label": 1, "least_volume": -1.0}], [{"label": 1, "smallest": True}], "largest", [3]]
)
def test_rules_that_cannot_be_are_refused_when_a_model_is_opened(rules: Any) -> None:
    with pytest.raises(ValueError, match="calibration"):
        Stored({"components": rules})


class Cases:
    """Scans that hold their prediction, and other truths."""

    def __init__(self, pairs: Sequence[tuple[Array, Array]]) -> None:
        self.pairs = pairs

    def items(self) -> list[Item]:
        return [Item(str(number), {}) for number in range(len(self.pairs))]

    def load(self, item: Item) -> Sample:
        answer, truth = self.pairs[int(item.id)]
        return Sample(item, Image(answer[None].astype(np.float32), np.eye(4), item.id), truth)


def chosen(*pairs: tuple[Array, Array]) -> dict[int, ComponentRule]:
    data = Cases(pairs)
    return {rule.label: rule for rule in choose_rules(Predictor(Stored()), data, data.items())}  # type: ignore[arg-type]


def test_what_raises_dice_is_chosen_for_each_label_alone() -> None:
    answer, truth = scene(), scene()
    truth[20:22, 20, 5] = 0  # a false speck of label 1; all parts of label 2 are real
    found = chosen((answer, truth), (answer, truth))
    assert set(found) == {1}
    assert found[1] == ComponentRule(label=1, largest=True)


def test_nothing_is_chosen_where_every_component_is_real() -> None:
    assert chosen((scene(), scene()), (scene(), scene())) == {}


def test_holes_are_filled_where_the_truth_has_none() -> None:
    truth = scene()
    truth[3:6, 3:6, 3:6] = 1
    answer = truth.copy()
    answer[3:6, 3:6, 3:6] = 0
    assert chosen((answer, truth)) == {1: ComponentRule(label=1, fill_holes=True)}


def test_a_least_volume_is_chosen_where_two_real_parts_and_specks_are_seen_or_none_at_all() -> None:
    truth = np.zeros((30, 30, 20), np.uint8)
    truth[2:10, 2:10, 2:10] = truth[15:22, 15:22, 10:16] = 1
    specks = np.zeros_like(truth)
    specks[28:30, 1:3, 17:19] = 1
    rule = chosen((truth | specks, truth), (specks, np.zeros_like(truth)))[1]
    assert rule.least_volume == 10
    assert not rule.largest


def test_the_card_tells_the_rules() -> None:
    rules = [ComponentRule(label=1, largest=True).model_dump(), ComponentRule(label=2, least_volume=30).model_dump()]
    words = SEGMENT.calibration_words({"components": rules, "components_items": 12})
    assert words is not None
    assert "label 1: the largest component alone" in words
    assert "label 2: components of 30 mm3 or more" in words
    assert "12 validation items" in words
    assert SEGMENT.calibration_words(None) is None
    assert "every component is kept" in str(SEGMENT.calibration_words({"components": [], "components_items": 2}))


def test_an_empty_validation_part_gives_one_line() -> None:
    from medzoo.commands.train import _with_components
    from medzoo.errors import UserError

    data = SimpleNamespace(part=lambda part: [])
    with pytest.raises(UserError, match="validation part"):
        _with_components(Stored().metadata, None, data, console=None)  # type: ignore[arg-type]
