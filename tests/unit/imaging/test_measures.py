"""Measurements of masks, boxes and components, held to exactly known shapes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from medzoo.errors import UserError
from medzoo.imaging.measures import components, measure_box, measure_mask
from medzoo.results import Segmentation
from medzoo.types import Array, Image


def picture(mask: Array, **meta: object) -> Image:
    return Image(np.full((1, *mask.shape), 7, np.uint8), None, meta=meta)


def test_a_single_pixel_is_measured_from_corner_to_corner() -> None:
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    found = measure_mask(mask, picture(mask))
    assert found is not None
    document = found.to_dict()
    assert document["long_px"] == document["short_px"] == 1.414
    assert (document["area_px"], document["centre_px"], document["cut_by_border"]) == (1.0, [3.5, 2.5], False)
    assert (document["mean"], document["sd"], document["percentiles"]["95"]) == (7.0, 0.0, 7.0)
    # The callipers are diagonals of the pixel.
    assert sorted(map(tuple, found.callipers[0])) in ([(3, 2), (4, 3)], [(3, 3), (4, 2)])
    assert measure_mask(np.zeros((5, 6)), picture(mask)) is None


def test_lengths_of_a_picture_with_a_stated_spacing_are_in_millimetres() -> None:
    mask = np.zeros((40, 60), bool)
    mask[10:20, 5:45] = True
    found = measure_mask(mask, picture(mask, spacing_mm=(0.5, 0.25)))
    assert found is not None
    document = found.to_dict()
    assert document["area_mm2"] == 50.0
    assert document["long_mm"] == pytest.approx(np.hypot(5, 10), abs=1e-3)
    assert "long_px" not in document


@pytest.mark.parametrize("edge", [(0, 5), (35, 5), (5, 0), (5, 55)])
def test_an_object_at_the_border_says_so(edge: tuple[int, int]) -> None:
    mask = np.zeros((40, 60), bool)
    mask[edge[0] : edge[0] + 5, edge[1] : edge[1] + 5] = True
    found = measure_mask(mask, picture(mask))
    assert found is not None
    assert found.cut_by_border
    inner = measure_mask(np.ones((3, 3)), picture(mask), corner=(1, 1))
    assert inner is not None
    assert not inner.cut_by_border


def test_a_mask_that_does_not_fit_the_image_is_refused() -> None:
    image = picture(np.zeros((5, 6)))
    for mask, corner in ((np.ones((6, 6)), (0, 0)), (np.ones((3, 3)), (3, 0)), (np.ones((2, 2, 2)), (0, 0, 0))):
        with pytest.raises(UserError, match="does not lie in an image"):
            measure_mask(mask, image, corner=corner)


def test_diameters_are_those_of_all_pairs_of_corners() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = rng.random((9, 12)) < rng.uniform(0.05, 0.6)
        mask[4, 5] = True
        spacing = tuple(rng.uniform(0.3, 2, 2))
        corners = (np.argwhere(mask)[:, None] + [[0, 0], [0, 1], [1, 0], [1, 1]]).reshape(-1, 2) * spacing
        found = measure_mask(mask, picture(mask, spacing_mm=spacing))
        assert found is not None
        assert found.long == pytest.approx(pdist(corners).max(), abs=1e-9)
        ends = found.callipers[..., ::-1] * spacing
        assert np.linalg.norm(ends[0, 0] - ends[0, 1]) == pytest.approx(found.long)
        assert np.linalg.norm(ends[1, 0] - ends[1, 1]) == pytest.approx(found.short)
        assert (ends[0, 1] - ends[0, 0]) @ (ends[1, 1] - ends[1, 0]) == pytest.approx(0, abs=1e-9)
        across = corners @ (np.array([[0, 1], [-1, 0]]) @ (ends[0, 1] - ends[0, 0])) / found.long
        assert found.short == pytest.approx(np.ptp(across))


def test_ellipsoids_of_any_affine() -> None:
    """100 ellipsoids on turned, flipped, permuted and anisotropic grids: to 0.5 mm and 1 %."""
    rng = np.random.default_rng(0)
    for number in range(100):
        spacing = rng.uniform(0.3, 0.6, 3)
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))  # of either handedness
        if number % 2:
            turn = np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3)
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = turn * spacing, rng.uniform(-100, 100, 3)
        axes = rng.uniform(3, 9, 3)
        shape = tuple(int(n) for n in 2 * np.ceil(axes / spacing) + 5)
        middle = np.array(shape) / 2 + rng.uniform(-0.5, 0.5, 3)
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        mask = (((grid - middle) * spacing / axes) ** 2).sum(axis=-1) <= 1
        found = measure_mask(mask, Image(mask[None].astype(np.int16) * 40, affine))
        assert found is not None
        across = int(np.flatnonzero(spacing * 1.01 >= spacing.max())[-1])
        short, long = np.sort(np.delete(axes, across)) * 2
        for value, true in ((found.long, long), (found.short, short), (found.extent, 2 * axes.max())):
            assert abs(value - true) <= 0.5 + 0.01 * true, (number, value, true)
        assert found.size == pytest.approx(4 / 3 * np.pi * axes.prod(), rel=0.01)
        assert np.allclose(found.centre, affine[:3, :3] @ middle + affine[:3, 3], atol=0.1)
        assert (found.mean, found.cut_by_border, found.unit) == (40.0, False, "mm")


def test_voxels_of_a_millimetre_and_more_leave_no_bias() -> None:
    """60 ellipses at 0.8 to 1.2 mm in the plane and slices of 1.5 to 3 mm, whose corners alone are a pixel too far."""
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(60):
        spacing = np.array([*rng.uniform(0.8, 1.2, 2), rng.uniform(1.5, 3)])
        axes, angle = rng.uniform(5, 15, 3), rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        shape = tuple(int(n) for n in 2 * np.ceil(axes.max() / spacing) + 5)
        middle = np.array(shape) / 2 + rng.uniform(-0.5, 0.5, 3)
        grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
        mask = ((((grid - middle) * spacing) @ turn / axes) ** 2).sum(axis=-1) <= 1
        found = measure_mask(mask, Image(mask[None].astype(np.int16), np.diag([*spacing, 1])))
        assert found is not None
        short, long = np.sort(axes[:2]) * 2
        errors.append([found.long - long, found.short - short])
        assert np.abs(errors[-1]).max() <= 1.0
    assert np.abs(np.mean(errors, axis=0)).max() <= 0.4
    assert np.abs(errors).mean() <= 0.35


def test_shapes_with_corners_are_measured_to_their_corners() -> None:
    mask = np.zeros((60, 60), bool)
    mask[5:35, 10:50] = True
    found = measure_mask(mask, picture(mask))
    assert found is not None
    assert found.long == pytest.approx(50)
    block = np.zeros((20, 20, 20), bool)
    block[4:12, 4:10, 4:14] = True
    solid = measure_mask(block, Image(block[None].astype(np.uint8), np.eye(4)))
    assert solid is not None
    assert solid.extent == pytest.approx(np.sqrt(8**2 + 6**2 + 10**2))


def test_a_dicom_series_is_measured_in_its_slices() -> None:
    mask = np.zeros((12, 12, 12), bool)
    mask[5, 2:10, 3:5] = True
    affine = np.diag([3.0, 1, 1, 1])
    values = np.zeros((1, *mask.shape))
    dicom = measure_mask(mask, Image(values, affine, meta={"format": "dicom"}))
    other = measure_mask(mask, Image(values, affine))
    assert dicom is not None
    assert other is not None
    assert dicom.long == pytest.approx(np.hypot(3, 8))
    assert other.long == pytest.approx(np.hypot(8, 2))
    assert dicom.extent == other.extent == pytest.approx(np.sqrt(9 + 64 + 4))


def test_boxes_are_measured_by_their_sides() -> None:
    image = Image(np.zeros((1, 40, 60), np.uint8), None)
    document = measure_box(np.array([10, 5, 30.5, 12]), image).to_dict()
    assert (document["of"], document["long_px"], document["short_px"], document["area_px"]) == ("box", 20.5, 7, 143.5)
    assert document["centre_px"] == [20.25, 8.5]
    assert not document["cut_by_border"]
    assert measure_box(np.array([0.2, 5, 30, 12]), image).cut_by_border
    assert measure_box(np.array([10, 5, 59.8, 12]), image).cut_by_border
    volume = Image(np.zeros((1, 9, 9, 9)), np.diag([1.0, 2, 5, 1]))
    found = measure_box(np.array([1, 1, 1, 4, 4, 2]), volume)
    assert (found.long, found.short, found.size) == pytest.approx((6, 3, 90))


def test_components_of_a_segmentation_come_by_label() -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[2:4, 2:4], mask[10:20, 10:15], mask[0, 29] = 1, 1, 2
    image = Image(np.arange(900, dtype=np.float32).reshape(1, 30, 30), None)
    found = list(components(mask, image))
    assert [(one.value, one.measures.size, one.box.tolist()) for one in found] == [
        (1, 50, [10, 10, 15, 20]),
        (1, 4, [2, 2, 4, 4]),
        (2, 1, [29, 0, 30, 1]),
    ]
    result = Segmentation(input="a", model="m", image=image, mask=mask, labels=("background", "a", "b"))
    assert "components" not in result.to_dict()
    document = result.to_dict(components=True)
    assert [one["label"] for one in document["components"]] == ["a", "a", "b"]
    assert document["components"][2]["measures"]["cut_by_border"]
    json.dumps(document)


def test_values_that_are_not_finite_do_not_count() -> None:
    values = np.array([[[1.0, np.nan], [np.inf, 3.0]]])
    found = measure_mask(np.ones((2, 2)), Image(values, None))
    assert found is not None
    assert (found.mean, found.sd) == (2.0, 1.0)
    none = measure_mask(np.ones((2, 2)), Image(np.full((1, 2, 2), np.nan), None))
    assert none is not None
    assert none.to_dict()["mean"] is None
