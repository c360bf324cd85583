"""Parameters of the region CNN that do not fit together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from medzoo.models.region_cnn import ENTRY
from medzoo.nn.detection.region_cnn_params import RegionCnnParams


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": (64, 70)}, "multiples of 16"),
        ({"strides": (16, 8)}, "strides must increase"),
        ({"anchor_sizes": ((8.0,),)}, "one tuple for each of the 2 strides"),
        ({"anchor_sizes": ((8.0,), (8.0, 9.0))}, "the same number of sizes"),
        ({"anchor_sizes": ((8.0,), (0.0,))}, "must be positive"),
        ({"slices": 2}, "must be odd"),
        ({"region": 50}, "Extra inputs"),
    ],
)
def test_wrong_parameters_are_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        RegionCnnParams(**{**ENTRY.tiny, **changes})
