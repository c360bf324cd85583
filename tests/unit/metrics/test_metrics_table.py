"""The names that recipes use, and that the room needs no torch."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.imaging.instance_masks import InstanceMasks
from medzoo.metrics import Boxes, accumulator, compute
from medzoo.task import task_names, task_of
from medzoo.types import GridTransform


def test_the_names_of_recipes_are_known():
    assert set(task_names()) == {"classify", "segment", "detect"}
    assert {
        "auc",
        "balanced-accuracy",
        "sensitivity-at-specificity-90",
        "accuracy",
        "f1",
        "ece",
        "brier",
    } <= set(task_of("classify").metrics)
    assert {"dice", "jaccard", "hd95", "assd", "surface-dice", "volume-error"} <= set(task_of("segment").metrics)
    assert {"ap", "ap50", "froc", "cpm"} <= set(task_of("detect").metrics)


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_every_metric_has_a_protocol(task):
    box, grid = np.array([[0, 0, 5, 5.0]]), GridTransform((8, 8), (8, 8), np.eye(3))
    layers = np.zeros((1, 8, 8), np.uint16)
    layers[0, :5, :5] = 1
    masks = InstanceMasks(np.ones((1, 4, 4)), box, grid)
    truth, answer = {
        "classify": (1, [0.3, 0.7]),
        "segment": (np.eye(6, dtype=np.uint8), np.eye(6, dtype=np.uint8)),
        "detect": (
            Boxes(box, np.zeros(1, int), np.empty(0), masks=layers),
            Boxes(box, np.zeros(1, int), np.ones(1), masks=masks),
        ),
    }[task]
    for name in task_of(task).metrics:
        if name == "ejection-error":
            continue  # of items with phases alone: tests/unit/runtime/test_phases.py
        figures = compute(task, [name], [truth] * 2, [answer] * 2, labels=["a", "b"], groups=["p", "q"])
        assert figures
        for figure in figures:
            assert figure.name.startswith(name)
            assert figure.protocol
            assert figure.to_dict()["name"] == figure.name


def test_an_unknown_name_is_a_user_error():
    with pytest.raises(UserError, match="did you mean 'dice'"):
        accumulator("segment", ["background", "x"], ["dise"])


def test_the_base_install_is_enough():
    code = (
        "import sys; import medzoo.metrics; "
        "print([m for m in ('torch', 'sklearn', 'monai', 'faster_coco_eval') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
