"""A cached picture that is damaged on disk is read again, with a warning."""

from __future__ import annotations

import os

import numpy as np
import pytest

from medzoo.inputs.shards import Shards


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 50, 99])
def test_a_flipped_byte_is_found(index: int, place: int, caplog: pytest.LogCaptureFixture) -> None:
    arrays = [np.arange(n, n + 50, dtype=np.int16).reshape(5, 10) for n in range(3)]
    shards = Shards(3, limit=0)
    for number, array in enumerate(arrays):
        shards.put(number, array)
    handle = shards._files[0].fileno()
    (byte,) = os.pread(handle, 1, 100 * index + place)
    os.pwrite(handle, bytes([byte ^ 1]), 100 * index + place)
    for number, array in enumerate(arrays):
        found = shards.get(number)
        assert (found is None) == (number == index)
        assert found is None or np.array_equal(found, array)
    assert "is damaged on disk" in caplog.text
