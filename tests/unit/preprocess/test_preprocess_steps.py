"""Host steps one by one: exact where they must be, and refused where they cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo import registry
from medzoo.errors import UserError
from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.types import Array, Image

RNG = np.random.default_rng(5)
AFFINE = np.diag([2.0, 1.0, 3.0, 1.0])


def run(array: Array, *steps: dict[str, object], affine: Array | None = AFFINE) -> Image:
    return apply_steps(Image(array, affine, "scan"), parse_steps(steps)).image


@pytest.mark.parametrize("to", ["RAS", "LPS", "SPL", "AIR"])
def test_orient_agrees_with_nibabel(to: str) -> None:
    array = RNG.integers(0, 99, (3, 4, 5))
    turn, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * [1, 2, 3]
    affine[:3, 3] = 7, 8, 9
    image = nib.Nifti1Image(array.astype(np.int16), affine)
    start = nib.io_orientation(affine)
    expected = image.as_reoriented(nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(to)))
    turned = run(array[None], {"op": "orient", "to": to}, affine=affine)
    assert nib.aff2axcodes(turned.affine) == tuple(to)
    np.testing.assert_array_equal(turned.array[0], np.asarray(expected.dataobj))
    np.testing.assert_allclose(turned.affine, expected.affine)


def test_a_picture_has_neither_orientation_nor_spacing() -> None:
    for step in ({"op": "orient"}, {"op": "spacing", "mm": 1}):
        with pytest.raises(UserError, match="scan: is a picture"):
            run(np.ones((1, 4, 5)), step, affine=None)


def test_zscore_leaves_zeros_exactly_zero() -> None:
    array = RNG.normal(50, 9, (1, 8, 8, 8)) * (RNG.random((1, 8, 8, 8)) > 0.4)
    scaled = run(array, {"op": "zscore", "where": "nonzero"}).array
    inside = array != 0
    assert scaled.dtype == np.float32
    assert (scaled[~inside] == 0).all()
    assert abs(scaled[inside].mean()) < 1e-6
    assert abs(scaled[inside].std() - 1) < 1e-6
    everything = run(array, {"op": "zscore", "where": "all"}).array
    np.testing.assert_allclose(everything, (array - array.mean()) / array.std(), rtol=1e-4, atol=1e-6)


def test_zscore_by_quartiles_is_moved_little_by_fluid_and_lesions() -> None:
    rng = np.random.default_rng(0)
    array = rng.normal(90, 12, (1, 20, 20, 20)).astype(np.float32)
    others = array.copy()
    others[0, :2] = 5  # a tenth of fluid
    others[0, 2, :5] = 140
    for by, apart in (("quartiles", 0.35), ("moments", 10.0)):
        plain, changed = (run(a, {"op": "zscore", "by": by}).array for a in (array, others))
        inside = np.s_[0, 5:]
        assert np.abs(plain[inside] - changed[inside]).mean() < apart
        if by == "quartiles":
            np.testing.assert_allclose(plain, (array - 90) / 12, atol=0.15)
    moments = run(others, {"op": "zscore", "by": "moments"}).array[inside]
    quartiles = run(others, {"op": "zscore", "by": "quartiles"}).array[inside]
    assert np.abs(moments - plain[inside]).mean() > 2 * np.abs(quartiles - plain[inside]).mean()


def test_zscore_of_large_values_keeps_its_precision() -> None:
    array = (RNG.integers(0, 2, (1, 64, 64, 64)) + 30000).astype(np.uint16)
    scaled = run(array, {"op": "zscore"}).array
    assert abs(float(scaled.astype(float).mean())) < 1e-6
    assert abs(float(scaled.astype(float).std()) - 1) < 1e-6


@pytest.mark.parametrize("value", [0, 7, 0.1])
def test_a_constant_image_has_no_zscore(value: float) -> None:
    with pytest.raises(UserError, match="scan: is constant"):
        run(np.full((1, 4, 4, 4), value), {"op": "zscore"})


def test_window() -> None:
    hu = np.array([-2000, -160, 40, 140, 240, 3000], np.int16).reshape(1, 1, 1, 6)
    windowed = run(hu, {"op": "window", "centre": 40, "width": 400}).array
    assert windowed.dtype == np.float32
    np.testing.assert_allclose(windowed.ravel(), [0, 0, 0.5, 0.75, 1, 1])


def test_rescale_percentiles() -> None:
    array = np.arange(101, dtype=np.uint8).reshape(1, 1, 101)
    scaled = run(array, {"op": "rescale-percentiles", "low": 10, "high": 90, "where": "all"}, affine=None).array
    np.testing.assert_allclose(scaled.ravel(), np.clip((np.arange(101) - 10) / 80, 0, 1), atol=1e-6)
    nonzero = run(array - (array < 50) * array, {"op": "rescale-percentiles", "low": 0, "high": 100}).array.ravel()
    assert (nonzero[:50] == 0).all()
    np.testing.assert_allclose(nonzero[50:], np.arange(51) / 50, atol=1e-6)
    with pytest.raises(UserError, match="same value"):
        run(array * 0 + 3, {"op": "rescale-percentiles"})


def test_crop_with_margin() -> None:
    array = np.zeros((2, 6, 7, 8))
    array[0, 2, 3, 4] = array[1, 4, 3, 5] = 1
    cropped = run(array, {"op": "crop-foreground", "margin": 2})
    assert cropped.shape == (6, 5, 6)
    np.testing.assert_allclose(cropped.affine[:3, 3], [0, 1, 6])
    with pytest.raises(UserError, match="no foreground"):
        run(array * 0, {"op": "crop-foreground"})


def test_luma_step() -> None:
    colour = RNG.integers(0, 256, (3, 4, 5), np.uint8)
    expected = np.floor(np.tensordot([0.299, 0.587, 0.114], colour, 1) + 0.5)
    np.testing.assert_array_equal(run(colour, {"op": "luma"}, affine=None).array[0], expected)


@pytest.mark.parametrize("mm", [0.5, 0.7, 1.0, 2.0, 4.5])
def test_spacing_keeps_edges_and_linear_ramps(mm: float) -> None:
    shape = (12, 20, 9)
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))
    ramp = np.tensordot([2.0, 1.0, 3.0], grid, 1)[None]  # x + y + z in millimetres
    image = Image(ramp, AFFINE)
    state = apply_steps(image, parse_steps([{"op": "spacing", "mm": mm}]))
    resampled, transform = state.image, state.transform
    # The outer edges, in millimetres, are the same block.
    for far, old in (([-0.5] * 3, [-0.5] * 3), (np.array(resampled.shape) - 0.5, np.array(shape) - 0.5)):
        np.testing.assert_allclose(resampled.affine @ [*far, 1], AFFINE @ [*old, 1], atol=1e-9)
    assert max(abs(s / mm - 1) for s in resampled.spacing) < 0.5 / min(resampled.shape) + 1e-9
    # Away from the border a ramp is reproduced at its true place.
    inner = np.stack(np.meshgrid(*map(np.arange, resampled.shape), indexing="ij")).reshape(3, -1)
    world = (resampled.affine @ np.vstack([inner, np.ones(inner.shape[1])]))[:3]
    source = world / np.diag(AFFINE)[:3, None]
    reach = np.maximum(1.0, 2.5 * np.diag(transform.matrix)[:3, None])
    deep = ((source > reach) & (source < np.array(shape)[:, None] - 1 - reach)).all(axis=0)
    np.testing.assert_allclose(resampled.array[0].reshape(-1)[deep], world.sum(axis=0)[deep], atol=0.02)
    assert deep.any() or mm > 4


def test_shrinking_does_not_alias() -> None:
    stripes = (np.arange(48) % 2)[None, :, None, None] * np.ones((1, 48, 4, 4)) * 100.0
    shrunk = run(stripes, {"op": "spacing", "mm": [3.0, 1.0, 1.0]}, affine=np.eye(4)).array[0, 2:-2]
    assert shrunk.shape[0] == 12
    assert np.ptp(shrunk) < 12
    assert abs(shrunk.mean() - 50) < 3


def test_order_nought_keeps_labels() -> None:
    labels = RNG.integers(0, 9, (1, 6, 6, 6)).astype(np.uint8)
    resampled = run(labels, {"op": "spacing", "mm": 0.7, "order": 0}).array
    assert resampled.dtype == np.uint8
    assert set(np.unique(resampled)) <= set(np.unique(labels))


def test_steps_survive_json_and_are_all_listed() -> None:
    raw = [
        {"op": "orient", "to": "LPS"},
        {"op": "spacing", "mm": [1.0, 1.0, 2.0], "order": 3},
        {"op": "zscore", "where": "all"},
        {"op": "window", "centre": 40, "width": 400},
        {"op": "rescale-percentiles", "low": 1, "high": 99, "where": "nonzero"},
        {"op": "crop-foreground", "margin": 3},
        {"op": "luma"},
    ]
    steps = parse_steps(raw)
    again = parse_steps(json.loads(json.dumps([s.model_dump() for s in steps])))
    assert again == steps
    assert {s.op for s in steps} <= set(registry.names("host-step"))


def test_every_fault_of_a_list_of_steps_is_reported() -> None:
    raw = [
        {"op": "orientate"},
        {"op": "orient", "to": "RRS"},
        {"op": "zscore", "wher": "all"},
        {"op": "window", "centre": 1, "width": 0},
        {"op": "rescale-percentiles", "low": 50, "high": 10},
        {},
    ]
    with pytest.raises(UserError) as caught:
        parse_steps(raw)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(raw)
    for line, words in zip(
        lines,
        ["'orient'", "[1].to", "[2].wher", "[3].width", "low must be below high", "does not name a host step"],
        strict=True,
    ):
        assert words in line
    with pytest.raises(UserError):
        parse_steps([{"op": "crop-foreground", "margin": -1}])


def test_a_real_scan_comes_back_voxel_for_voxel(shared_data: Path) -> None:
    from medzoo.io import read_image

    lesions = read_image(shared_data / "ms-lesions" / "patient07" / "lesions.nii.gz")
    assert nib.aff2axcodes(lesions.affine) == ("L", "A", "S")
    state = apply_steps(lesions, parse_steps([{"op": "orient"}]))
    turned, transform = state.image, state.transform
    assert nib.aff2axcodes(turned.affine) == ("R", "A", "S")
    np.testing.assert_array_equal(transform.mask_to_source(turned.array[0]), lesions.array[0])


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("mm", [0.7, 1.4])
def test_spacing_leaves_an_extracted_brain_its_edge(order: int, mm: float) -> None:
    """Of 100 everywhere inside, 100 is what every voxel inside has after the step, and zeros stay around it."""
    array = np.zeros((1, 24, 26, 22), np.float32)
    array[0, 5:18, 6:20, 4:17] = 100
    out = run(array, {"op": "spacing", "mm": mm, "order": order, "zeros": "outside"}, affine=np.eye(4)).array[0]
    # A cubic spline still sees, a little, where the continuation ends.
    assert np.abs(out[out != 0] - 100).max() < (1 if order == 3 else 0.01)
    assert (out > 0).sum() * mm**3 == pytest.approx((array > 0).sum(), rel=0.12)
    plain = run(array, {"op": "spacing", "mm": mm, "order": 1}, affine=np.eye(4)).array[0]
    assert len(np.unique(np.round(plain, 3))) > 5


def test_extras_pass_through_steps_that_do_not_know_them() -> None:
    image = Image(np.ones((1, 6, 7, 5), np.float32), np.eye(4))
    hint = object()
    for steps in ([], [{"op": "orient", "to": "LPS"}], [{"op": "spacing", "mm": 2.0}, {"op": "crop-foreground"}]):
        state = apply_steps(image, parse_steps(steps), extras={"hint": hint})
        assert state.extras == {"hint": hint}
        assert state.image.meta == {}
    assert apply_steps(image, parse_steps([{"op": "orient"}])).extras == {}
