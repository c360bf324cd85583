"""COCO's run lengths, held to pycocotools."""

from __future__ import annotations

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.io.run_lengths import compressed, crop_run_lengths, decompressed, from_run_lengths, run_lengths

coco = pytest.importorskip("pycocotools.mask", reason="needs pycocotools")


@pytest.mark.parametrize("seed", range(12))
def test_masks_are_packed_as_coco_packs_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 90)), int(rng.integers(1, 90)))
    mask = rng.random(shape) < rng.choice([0.02, 0.5, 0.98, 0, 1])
    if seed % 3 == 0:  # long runs, as objects have
        mask = np.kron(mask, np.ones((23, 17), bool))
    counts = run_lengths(mask)
    text = compressed(counts)
    assert text == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert decompressed(text, where="a") == counts
    assert np.array_equal(from_run_lengths(counts, mask.shape, where="a"), mask)
    whole = np.zeros((mask.shape[0] + 7, mask.shape[1] + 5), bool)
    for corner in ((0, 0), (3, 2), (7, 5)):
        whole[:] = False
        whole[corner[0] : corner[0] + mask.shape[0], corner[1] : corner[1] + mask.shape[1]] = mask
        assert crop_run_lengths(mask, corner, whole.shape) == run_lengths(whole)
    assert crop_run_lengths(mask, (0, 0), mask.shape) == counts


def test_the_example_of_two_rows() -> None:
    assert run_lengths(np.array([[0, 0, 0], [1, 1, 0]])) == [1, 1, 1, 1, 2]


@pytest.mark.parametrize(("counts", "shape"), [([3, 2], (2, 3)), ([7, -1], (2, 3)), ([3.5, 2.5], (2, 3))])
def test_runs_that_do_not_fill_the_mask_are_refused(counts: list[int], shape: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="a: its run lengths do not fill a mask of 2 x 3"):
        from_run_lengths(counts, shape, where="a")


@pytest.mark.parametrize("text", ["1\x7f2", "1 2", "\u00e9", "1o"])
def test_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="compressed run length"):
        decompressed(text, where="a")
