"""Surfaces: area and volume of known bodies, outside turned out, and GLB files that read back the same."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.errors import UserError
from medzoo.plots.surface import Mesh, scan_surface, surface, surface_picture, surfaces, write_glb
from medzoo.results import Segmentation
from medzoo.types import Array, Image

CENTRE = np.array([11.3, -7.2, 30.1])
RADIUS = 20.0


def ball(affine: Array, shape: tuple[int, int, int]) -> Array:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    return np.asarray(np.linalg.norm(world - CENTRE, axis=-1) <= RADIUS)


def around(linear: Array, shape: tuple[int, int, int]) -> Array:
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = CENTRE - linear @ ((np.array(shape) - 1) / 2)
    return affine


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1), (-1, -1, -1)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 2.0), (1.0, 1.0, 3.0), (0.8, 0.8, 2.5)])
def test_a_sphere_of_20_mm(signs: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    shape = tuple(int(50 / s) for s in spacing)
    angle = np.radians(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = around(turn @ np.diag(np.multiply(signs, spacing)), shape)
    mesh = surface(ball(affine, shape), affine)
    assert mesh.area_mm2 == pytest.approx(4 * np.pi * RADIUS**2, rel=0.01)
    assert mesh.volume_ml == pytest.approx(4 / 3 * np.pi * RADIUS**3 / 1000, rel=0.01)
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), CENTRE, atol=0.3)
    outward = mesh.vertices - CENTRE
    assert np.einsum("ij,ij->i", mesh.normals, outward).min() > 0
    assert (np.einsum("ij,ij->i", mesh.crosses, mesh.corners.mean(axis=1) - CENTRE) > 0).all()


def test_a_region_at_the_border_is_closed() -> None:
    mesh = surface(np.ones((20, 20, 20), bool), np.eye(4), smooth_mm=0.5)
    edges = np.sort(mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()
    assert mesh.volume_ml == pytest.approx(8.0, rel=0.02)
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), 9.5, atol=0.05)


def test_one_voxel_has_a_surface_and_none_has_not() -> None:
    one = np.zeros((5, 5, 5), bool)
    one[0, 2, 4] = True
    mesh = surface(one, np.eye(4))
    assert mesh.volume_ml > 0
    np.testing.assert_allclose(mesh.vertices.mean(axis=0), [0, 2, 4], atol=0.05)
    with pytest.raises(UserError, match="empty"):
        surface(one & False, np.eye(4))
    assert list(surfaces(one.astype(np.uint8), np.eye(4), {1: "a", 2: "b"})) == ["a"]


def read_glb(path: Path) -> tuple[dict, bytes]:
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    assert size % 4 == 0
    document = json.loads(data[20 : 20 + size])
    binary_size, kind = struct.unpack_from("<I4s", data, 20 + size)
    assert kind == b"BIN\0"
    assert binary_size % 4 == 0
    assert 28 + size + binary_size == len(data)
    return document, data[28 + size :]


def read_array(document: dict, binary: bytes, n: int) -> Array:
    entry = document["accessors"][n]
    view = document["bufferViews"][entry["bufferView"]]
    dtype, width = {5126: ("<f4", 3), 5125: ("<u4", 1)}[entry["componentType"]]
    assert view["byteLength"] == entry["count"] * width * 4
    assert view["byteOffset"] % 4 == 0
    return np.frombuffer(binary, dtype, entry["count"] * width, view["byteOffset"]).reshape(-1, width)


def test_glb_is_in_metres_with_y_up(tmp_path: Path) -> None:
    affine = around(np.diag([-1.5, 1.5, 1.5]), (34, 34, 34))
    mesh = surface(ball(affine, (34, 34, 34)), affine)
    moved = Mesh(mesh.vertices + np.array([50, 0, 0]), mesh.faces)
    document, binary = read_glb(write_glb(tmp_path / "a.glb", {"left": mesh, "right": moved}))
    assert document["asset"]["version"] == "2.0"
    assert document["buffers"][0]["byteLength"] <= len(binary)
    assert [n["name"] for n in document["nodes"]] == ["left", "right"]
    for original, entry in zip((mesh, moved), document["meshes"], strict=True):
        primitive = entry["primitives"][0]
        points = read_array(document, binary, primitive["attributes"]["POSITION"])
        faces = read_array(document, binary, primitive["indices"]).reshape(-1, 3)
        # Right is -X, superior +Y, anterior +Z.
        np.testing.assert_allclose(points[:, 0], -original.vertices[:, 0] / 1000, atol=1e-6)
        np.testing.assert_allclose(points[:, 1], original.vertices[:, 2] / 1000, atol=1e-6)
        np.testing.assert_allclose(points[:, 2], original.vertices[:, 1] / 1000, atol=1e-6)
        bounds = document["accessors"][primitive["attributes"]["POSITION"]]
        np.testing.assert_allclose(bounds["min"], points.min(axis=0))
        np.testing.assert_allclose(bounds["max"], points.max(axis=0))
        # A proper rotation: still turned outside out, of the same size in cubic metres.
        again = Mesh(points.astype(float), faces.astype(int))
        assert again.volume_ml * 1e9 == pytest.approx(original.volume_ml, rel=1e-4)
        normals = read_array(document, binary, primitive["attributes"]["NORMAL"])
        np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
        assert np.einsum("ij,ij->i", normals, points - points.mean(axis=0)).min() > 0


@pytest.mark.parametrize(
    ("side", "x", "y"), [("anterior", -1, 0), ("left", 0, 0), ("superior", 1, 0), ("posterior", 1, 0)]
)
def test_each_side_shows_the_near_and_places_the_rest(side: str, x: int, y: int) -> None:
    """Two balls, one 40 mm to the right of the other: beside each other, or one behind the other."""
    affine = around(np.diag([2.0, 2, 2]), (25, 25, 25))
    mesh = surface(ball(affine, (25, 25, 25)), affine)
    meshes = {"here": mesh, "right": Mesh(mesh.vertices + np.array([40, 0, 0]), mesh.faces)}
    colours = {"here": (255, 0, 0), "right": (0, 0, 255)}
    figure = surface_picture(meshes, colours=colours, side=side, size=200)  # type: ignore[arg-type]
    picture = np.asarray(figure).astype(int)[:125]  # without the legend
    red = np.argwhere((picture[..., 0] > 60) & (picture[..., 2] == 0))
    blue = np.argwhere((picture[..., 2] > 60) & (picture[..., 0] == 0))
    if x == 0:
        assert len(red) > 1000
        assert len(blue) < 100
    else:
        assert np.sign(blue[:, 1].mean() - red[:, 1].mean()) == x
        assert abs(blue[:, 0].mean() - red[:, 0].mean()) < 2


def test_a_segmentation_writes_the_surfaces_of_the_scan_and_of_its_tissues(tmp_path: Path) -> None:
    affine = around(np.diag([-1.0, 1.0, 1.0]), (50, 50, 50))
    body = ball(affine, (50, 50, 50))
    core = body & np.roll(body, 12, axis=2)
    scan = np.where(body, 80, 4).astype(np.int16)
    result = Segmentation(
        input="scan.nii",
        model="m",
        mask=core.astype(np.uint8) * 2,
        labels=("background", "csf", "white-matter"),
        image=Image(scan[None], affine, "scan.nii"),
    )
    glb, picture = result.save_surfaces(tmp_path / "scan_surfaces.glb")
    raw = glb.read_bytes()
    document = json.loads(raw[20 : 20 + struct.unpack("<I", raw[12:16])[0]])
    assert [mesh["name"] for mesh in document["meshes"]] == ["scan", "white-matter"]
    assert Pillow.open(picture).size == (2 * 480, 480)
    outside = scan_surface(scan, affine)
    assert outside.volume_ml == pytest.approx(body.sum() / 1000, rel=0.12)


def test_a_scan_that_is_the_same_everywhere_and_a_picture_have_no_surface(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the scan is constant"):
        scan_surface(np.zeros((5, 5, 5)), np.eye(4))
    flat = Segmentation(
        input="a.png",
        model="m",
        mask=np.zeros((4, 4), np.uint8),
        labels=("background", "b"),
        image=Image(np.zeros((1, 4, 4), np.uint8), None, "a.png"),
    )
    with pytest.raises(UserError, match="picture"):
        flat.save_surfaces(tmp_path / "a.glb")
