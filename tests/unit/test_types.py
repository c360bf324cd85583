"""Grid transforms and boxes: whatever the host steps did to the grid, results return to where they belong."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.types import Array, GridTransform, Image, boxes_to_mm

SHAPE = (5, 7, 9)
ORIENTATIONS = [
    (axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)
]


def rotation(degrees: float, axis: tuple[float, float, float]) -> Array:
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


def placed(axes: tuple[int, ...], signs: tuple[int, ...], oblique: float) -> Image:
    """A volume of all different values whose stored axis a runs along world axis axes[a] with signs[a]."""
    affine = np.eye(4)
    linear = np.zeros((3, 3))
    linear[list(axes), range(3)] = signs
    affine[:3, :3] = rotation(oblique, (1, 2, 3)) @ linear * [0.9, 1.7, 3.1]
    affine[:3, 3] = -12, 34, 5
    return Image(np.arange(np.prod(SHAPE)).reshape(1, *SHAPE), affine)


def world_corners(boxes: Array, affine: Array) -> Array:
    """(N, 8, 3) corners in millimetres, in a fixed order, computed box by box."""
    found = []
    for box in boxes:
        ends = np.array(list(itertools.product(*zip(box[:3], box[3:], strict=True))))
        found.append(np.array(sorted(map(tuple, np.round((ends - 0.5) @ affine[:3, :3].T + affine[:3, 3], 6)))))
    return np.array(found)


def random_boxes(shape: tuple[int, ...], n: int = 20) -> Array:
    rng = np.random.default_rng(3)
    ends = np.sort(rng.random((n, 2, len(shape))) * shape, axis=1)
    return ends.reshape(n, -1)


@pytest.mark.parametrize("oblique", [0.0, 20.0])
@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_orient_and_back_in_all_48_orientations(axes: tuple[int, ...], signs: tuple[int, ...], oblique: float) -> None:
    image = placed(axes, signs, oblique)
    state = apply_steps(image, parse_steps([{"op": "orient", "to": "RAS"}]))
    turned, transform = state.image, state.transform

    # Towards right, anterior, superior, and every voxel still at its place in millimetres.
    cosines = turned.affine[:3, :3] / np.linalg.norm(turned.affine[:3, :3], axis=0)
    assert (np.diag(cosines) > 0.8).all()
    for value in (0, 17, 314):
        old = np.append(np.argwhere(image.array[0] == value)[0], 1)
        new = np.append(np.argwhere(turned.array[0] == value)[0], 1)
        np.testing.assert_allclose(turned.affine @ new, image.affine @ old, atol=1e-9)

    # Masks come back exactly, both ways.
    np.testing.assert_array_equal(transform.mask_to_source(turned.array[0]), image.array[0])
    np.testing.assert_array_equal(transform.mask_from_source(image.array[0]), turned.array[0])

    # Boxes come back, and cover the same block of the patient on the way.
    boxes = random_boxes(SHAPE)
    there = transform.boxes_from_source(boxes)
    assert (there[:, 3:] > there[:, :3]).all()
    np.testing.assert_allclose(world_corners(there, turned.affine), world_corners(boxes, image.affine), atol=1e-5)
    np.testing.assert_allclose(transform.boxes_to_source(there), boxes, atol=1e-9)
    np.testing.assert_allclose(boxes_to_mm(there, turned.affine), boxes_to_mm(boxes, image.affine), atol=1e-9)


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS[::5])
@pytest.mark.parametrize("mm", [1.0, [2.0, 0.5, 1.3]])
def test_orient_then_spacing_then_crop_keep_millimetres(
    axes: tuple[int, ...], signs: tuple[int, ...], mm: object
) -> None:
    image = placed(axes, signs, 15.0)
    steps = [
        {"op": "orient", "to": "RAS"},
        {"op": "spacing", "mm": mm},
        {"op": "crop-foreground", "margin": 1},
    ]
    block = np.zeros((1, *SHAPE))
    block[0, 1:4, 2:5, 3:8] = 1
    state = apply_steps(image.replace(array=block), parse_steps(steps))
    prepared, transform = state.image, state.transform
    np.testing.assert_allclose(image.affine @ transform.matrix, prepared.affine, atol=1e-9)
    boxes = np.array([[1, 2, 3, 4, 5, 8], [0.25, 1, 2, 4.5, 6.75, 9]], float)
    there = transform.boxes_from_source(boxes)
    np.testing.assert_allclose(world_corners(there, prepared.affine), world_corners(boxes, image.affine), atol=1e-3)
    np.testing.assert_allclose(transform.boxes_to_source(there), boxes, atol=1e-9)


@pytest.mark.parametrize("factor", [2, 3])
def test_a_mask_survives_finer_spacing(factor: int) -> None:
    image = placed((1, 0, 2), (-1, 1, -1), 10.0)
    finer = [s / factor for s in image.spacing]
    transform = apply_steps(image, parse_steps([{"op": "spacing", "mm": finer}])).transform
    mask = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
    there = transform.mask_from_source(mask)
    assert there.shape == tuple(n * factor for n in SHAPE)
    np.testing.assert_array_equal(there, np.kron(mask, np.ones((factor,) * 3, np.uint8)))
    np.testing.assert_array_equal(transform.mask_to_source(there), mask)


def test_a_crop_at_every_border_comes_back() -> None:
    for start, stop in itertools.product(range(4), (4, 5)):
        image = Image(np.zeros((1, 5, 6)))
        image.array[0, start:stop, 2:5] = 1
        state = apply_steps(image, parse_steps([{"op": "crop-foreground"}]))
        cropped, transform = state.image, state.transform
        assert cropped.shape == (stop - start, 3)
        np.testing.assert_array_equal(transform.mask_to_source(cropped.array[0]), image.array[0])
        whole = np.array([[0.0, 0, 3, stop - start]])
        np.testing.assert_allclose(transform.boxes_to_source(whole), [[2, start, 5, stop]])


def test_boxes_of_pictures_are_x_y_and_those_of_volumes_i_j_k() -> None:
    transform = GridTransform.identity(Image(np.zeros((1, 10, 20))))
    half = transform.compose(np.array([[0.5, 0, -0.25], [0, 2, 0.5], [0, 0, 1]]), shape=(20, 10))
    # Rows were doubled and columns halved: x shrinks, y grows.
    np.testing.assert_allclose(half.boxes_from_source(np.array([[4, 1, 8, 3]])), [[2, 2, 4, 6]])
    np.testing.assert_allclose(half.boxes_to_source(np.array([[2.0, 2, 4, 6]])), [[4, 1, 8, 3]])
    # Clipped to 20 columns and 10 rows, not the other way about.
    np.testing.assert_allclose(transform.boxes_to_source(np.array([[-3.0, -4, 30, 40]])), [[0, 0, 20, 10]])
    volume = GridTransform.identity(Image(np.zeros((1, 4, 5, 6)), np.eye(4)))
    np.testing.assert_allclose(volume.boxes_to_source(np.array([[-1.0, 0, 0, 9, 9, 9]])), [[0, 0, 0, 4, 5, 6]])
    assert volume.boxes_to_source(np.zeros((0, 6))).shape == (0, 6)


def test_a_box_in_millimetres_counts_edges() -> None:
    affine = np.diag([-2.0, 3, 4, 1])
    affine[:3, 3] = 10, 20, 30
    mm = boxes_to_mm(np.array([[0, 0, 0, 1, 1, 1], [1, 0, 0, 3, 2, 1]], float), affine)
    np.testing.assert_allclose(mm[0], [[9, 18.5, 28], [11, 21.5, 32]])
    np.testing.assert_allclose(mm[1], [[5, 18.5, 28], [9, 24.5, 32]])


def test_spacing_of_an_oblique_affine() -> None:
    np.testing.assert_allclose(placed((2, 0, 1), (1, -1, 1), 33.0).spacing, (0.9, 1.7, 3.1))
    assert Image(np.zeros((3, 4, 5))).spacing == (1.0, 1.0)
