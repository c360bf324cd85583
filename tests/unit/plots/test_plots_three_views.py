"""Three views: everything at its place in the patient, in either convention, from any stored orientation."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.plots.colours import colour_of
from medzoo.plots.three_views import VIEWS, plot_three_views, three_views, view_plane
from medzoo.types import Array, Image

WORLD = (60.0, 80.0, 100.0)  # extent in millimetres, centred on the origin
SPACING = np.array([1.0, 2.0, 2.5])  # voxel edges along R, A, S
MARKER = np.array([20.0, 30.0, 35.0])  # right, anterior, superior


def stored(axes: tuple[int, ...], signs: tuple[int, ...]) -> tuple[Image, Array]:
    """A volume over WORLD, stored axis a along world axis axes[a], and a mask: the marker's block."""
    shape = np.array(WORLD)[list(axes)] / SPACING[list(axes)]
    affine = np.eye(4)
    affine[:3, :3] = 0
    for a, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, a] = sign * SPACING[axis]
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    index = np.stack(np.meshgrid(*[np.arange(int(n)) for n in shape], indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    mask = (np.abs(world - MARKER) < 5).all(axis=-1).astype(np.uint8)
    return Image(np.full((1, *mask.shape), 100.0), affine), mask


ORIENTATIONS = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_a_marker_in_the_right_anterior_superior_octant(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    image, mask = stored(axes, signs)
    # Screen place of the marker in millimetres from the left and top edge; width and height of each view.
    right = {"radiological": 30 - 20, "neurological": 30 + 20}
    front = {"radiological": 40 - 30, "neurological": 40 + 30}
    for convention in ("radiological", "neurological"):
        expected = {
            "axial": ((right[convention], 40 - 30), (60, 80)),
            "coronal": ((right[convention], 50 - 35), (60, 100)),
            "sagittal": ((front[convention], 50 - 35), (80, 100)),
        }
        for name in VIEWS:
            view = view_plane(image, name, MARKER, convention=convention, scale=2.0)
            shown = view.sample(mask, order=0)
            (x, y), (width, height) = expected[name]
            assert shown.shape == (2 * height, 2 * width)
            rows, columns = np.nonzero(shown)
            assert abs((columns.mean() + 0.5) / 2 - x) <= 1.3
            assert abs((rows.mean() + 0.5) / 2 - y) <= 1.3
            assert abs((np.ptp(columns) + 1) / 2 - 10) <= 2.5


def test_letters_stand_where_the_patient_lies() -> None:
    image, _ = stored((0, 1, 2), (1, 1, 1))
    letters = {
        (convention, name): "".join(view_plane(image, name, MARKER, convention=convention, scale=1).letters)
        for convention in ("radiological", "neurological")
        for name in VIEWS
    }
    assert letters == {
        ("radiological", "axial"): "RLAP",
        ("radiological", "coronal"): "RLSI",
        ("radiological", "sagittal"): "APSI",
        ("neurological", "axial"): "LRAP",
        ("neurological", "coronal"): "LRSI",
        ("neurological", "sagittal"): "PASI",
    }


def centres(figure: Array) -> list[tuple[float, float]]:
    """Centre of the marker's colour in each of the three panels of the whole figure, left to right."""
    rows, columns = np.nonzero((figure == colour_of(0)).all(axis=-1))
    keep = rows < figure.shape[0] - 60  # not the legend
    rows, columns = rows[keep], columns[keep]
    order = np.argsort(columns)
    gaps = np.flatnonzero(np.diff(columns[order]) > 30)
    return [(float(columns[g].mean()), float(rows[g].mean())) for g in np.split(order, gaps + 1)]


def test_the_whole_figure_is_the_same_from_every_orientation_and_mirrored_by_convention() -> None:
    options = {"labels": ["background", "marker"], "width": 900}
    found = []
    for axes, signs in ORIENTATIONS[::7]:
        image, mask = stored(axes, signs)
        for convention in ("radiological", "neurological"):
            figure = np.asarray(three_views(image, mask=mask, at=MARKER, convention=convention, **options))
            found.append(centres(figure))
            assert len(found[-1]) == 3
    np.testing.assert_allclose(found[0::2], [found[0]] * len(found[0::2]), atol=4)
    np.testing.assert_allclose(found[1::2], [found[1]] * len(found[1::2]), atol=4)
    for radiological, neurological in zip(found[0], found[1], strict=True):
        assert radiological[0] < neurological[0] - 50
        assert abs(radiological[1] - neurological[1]) < 4


def test_an_oblique_volume_is_shown_upright() -> None:
    image, mask = stored((1, 2, 0), (-1, 1, -1))
    angle = np.radians(25)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    place = turn[:3, :3] @ MARKER
    view = view_plane(image.replace(affine=turn @ image.affine), "axial", place, convention="neurological", scale=2)
    rows, columns = np.nonzero(view.sample(mask, order=0))
    half = np.array(view.index.shape[1::-1]) / 2
    np.testing.assert_allclose((columns.mean() - half[0]) / 2, place[0], atol=1.5)
    np.testing.assert_allclose((half[1] - rows.mean()) / 2, place[1], atol=1.5)


def test_the_planes_cross_the_largest_region_or_the_best_box_by_default() -> None:
    image, mask = stored((0, 1, 2), (1, 1, 1))
    mask[2, 2, 2] = 1
    low = np.argwhere(mask)[1:].min(axis=0)
    options = {"width": 900}
    by_mask = three_views(image, mask=mask, labels=["b", "marker"], **options)
    assert len(centres(np.asarray(by_mask))) == 3
    boxes = np.array([[0, 0, 0, 2, 2, 2], [*low, *(low + 4)]], float)
    by_box = three_views(
        image, boxes=boxes, scores=np.array([0.2, 0.9]), classes=np.array([0, 0]), labels=["m"], **options
    )
    assert len(centres(np.asarray(by_box))) == 3


def test_the_scale_bar_has_the_length_it_names(tmp_path: Path) -> None:
    image, _ = stored((0, 1, 2), (1, 1, 1))
    figure = np.asarray(three_views(image, width=1600))
    # 200 mm of panels in 1556 pixels: 7.78 pixels a millimetre; the longest bar below 1600 / 6 is 20 mm.
    scale = min((1600 - 44) / 200, 0.75 * 1600 / 100)
    ink = (figure[-40:, 12:] == 235).all(axis=-1)
    bar = max(int(np.argmin(row)) for row in ink)
    assert abs(bar - 20 * scale) <= 2
    path = plot_three_views(tmp_path / "a.png", image)
    assert path.read_bytes()[:4] == b"\x89PNG"


def test_mistakes() -> None:
    with pytest.raises(UserError, match="need a volume"):
        three_views(Image(np.ones((1, 5, 5))))
    with pytest.raises(UserError, match="unknown convention 'radio'"):
        three_views(stored((0, 1, 2), (1, 1, 1))[0], convention="radio")  # type: ignore[arg-type]
