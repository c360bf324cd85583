"""Surfaces of labelled regions: marching cubes in millimetres, written as GLB, and drawn without a GPU."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from medzoo.boxes import bounding_box
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.plots.canvas import TEXT, blank_figure, draw_text, legend, save_png, shorten
from medzoo.plots.colours import Colour, colour_of
from medzoo.types import Array

# RAS millimetres to glTF metres: +Y up, +Z forward, so the patient's right is -X (glTF 2.0, section 3.4).
RAS_TO_GLTF = np.array([[-1, 0, 0], [0, 0, 1], [0, 1, 0]]) / 1000.0
# Share of its volume by which a surface may miss the region's voxels.
VOLUME_SHARE = 0.002
Side = Literal["anterior", "posterior", "left", "right", "superior", "inferior", "oblique"]
# Where the eye stands, in RAS, and what is up on the screen.
EYES: dict[Side, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "anterior": ((0, 1, 0), (0, 0, 1)),
    "posterior": ((0, -1, 0), (0, 0, 1)),
    "left": ((-1, 0, 0), (0, 0, 1)),
    "right": ((1, 0, 0), (0, 0, 1)),
    "superior": ((0, 0, 1), (0, 1, 0)),
    "inferior": ((0, 0, -1), (0, 1, 0)),
    "oblique": ((-0.75, 1, 0.55), (0, 0, 1)),
}


@dataclass(frozen=True, eq=False)
class Mesh:
    """A closed surface: `vertices` (N, 3) RAS millimetres, `faces` (M, 3) counter-clockwise from outside."""

    vertices: Array
    faces: Array

    @property
    def corners(self) -> Array:
        """(M, 3, 3) the points of each face."""
        return np.asarray(self.vertices[self.faces])

    @property
    def crosses(self) -> Array:
        """(M, 3) outward normals, twice as long as their faces are large."""
        a, b, c = np.moveaxis(self.corners, 1, 0)
        return np.cross(b - a, c - a)

    @property
    def area_mm2(self) -> float:
        """Surface area in square millimetres."""
        return float(np.linalg.norm(self.crosses, axis=1).sum() / 2)

    @property
    def volume_ml(self) -> float:
        """Enclosed volume in millilitres (divergence theorem); negative if the winding were inside out."""
        a, b, c = np.moveaxis(self.corners - self.vertices.mean(axis=0), 1, 0)
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000)

    @property
    def normals(self) -> Array:
        """(N, 3) unit normals at the vertices, faces weighted by their area."""
        total = np.zeros_like(self.vertices)
        for k in range(3):
            np.add.at(total, self.faces[:, k], self.crosses)
        length = np.linalg.norm(total, axis=1, keepdims=True)
        return np.asarray(np.divide(total, length, out=np.zeros_like(total), where=length > 0))


def surface(mask: Array, affine: Array, *, smooth_mm: float | None = None) -> Mesh:
    """The surface of a region (I, J, K) bool, as a mesh in RAS millimetres.

    Marching cubes (Lorensen & Cline 1987, as in scikit-image) on the signed distance to the region, smoothed
    by a Gaussian of `smooth_mm` (by default the longest edge of a voxel), at the level that encloses as much
    as the region's voxels do. Raises UserError for an empty region.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter
    from skimage.measure import marching_cubes

    inside = np.asarray(mask, bool)
    block = bounding_box(inside)
    if block is None:
        raise UserError("the region is empty, so it has no surface")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sd = np.asarray((smooth_mm if smooth_mm is not None else float(spacing.max())) / spacing)
    margin = np.ceil(4 * sd).astype(int) + 2
    inside = np.pad(inside[block], [(m, m) for m in margin])
    outer = distance_transform_edt(~inside, sampling=spacing)
    inner = distance_transform_edt(inside, sampling=spacing)
    edge = float(np.cbrt(spacing.prod()))
    # Distances run from centre to centre; the boundary lies half a voxel before the other side.
    distance = np.where(inside, edge / 2 - inner, outer - edge / 2).astype(np.float32)
    field = gaussian_filter(distance, sd)
    count = int(inside.sum())
    level = float(np.partition(field.ravel(), (count - 1, count))[count - 1 : count + 1].mean())

    def at(level: float) -> Mesh:
        vertices, faces, _, _ = marching_cubes(field, level, gradient_direction="ascent", allow_degenerate=False)
        vertices = vertices + [s.start for s in block] - margin
        # scikit-image winds clockwise seen from outside in index space; a mirroring affine turns that round.
        if np.linalg.det(affine[:3, :3]) > 0:
            faces = faces[:, ::-1]
        return Mesh(vertices @ affine[:3, :3].T + affine[:3, 3], np.ascontiguousarray(faces))

    # The flat faces of a mesh cut the curves and smoothing moves them: secant steps bring the volume back.
    target, lowest = count * float(spacing.prod()), float(field.min())
    mesh = at(level)
    slope = mesh.area_mm2
    for _ in range(3):
        lacking = target - 1000 * mesh.volume_ml
        if abs(lacking) < VOLUME_SHARE * target:
            break
        last, before = level, mesh.volume_ml
        level = max((lowest + level) / 2, level + lacking / slope)
        mesh = at(level)
        slope = max(1000 * (mesh.volume_ml - before) / (level - last), mesh.area_mm2)
    return mesh


def surfaces(mask: Array, affine: Array, labels: Mapping[int, str], **options: Any) -> dict[str, Mesh]:
    """The surface of every label (value -> name) that occurs in `mask` (I, J, K)."""
    return {name: surface(mask == value, affine, **options) for value, name in labels.items() if (mask == value).any()}


def scan_surface(scan: Array, affine: Array, **options: Any) -> Mesh:
    """The outer surface of a scan (I, J, K), such as a head or an extracted brain.

    The largest connected part above half of Otsu's threshold of the smoothed scan, its cavities filled.
    Raises UserError where nothing lies above it.
    """
    from scipy.ndimage import binary_fill_holes, gaussian_filter, label
    from skimage.filters import threshold_otsu

    smooth = gaussian_filter(np.asarray(scan, np.float32), 1.0)
    if smooth.min() == smooth.max():
        raise UserError("the scan is constant, so it has no surface")
    parts, count = label(smooth > smooth.min() + 0.5 * (threshold_otsu(smooth) - smooth.min()))
    if not count:
        raise UserError("nothing stands out from the background, so there is no surface")
    largest = np.bincount(parts.ravel())[1:].argmax() + 1
    return surface(binary_fill_holes(parts == largest), affine, **options)


def write_glb(path: str | Path, meshes: Mapping[str, Mesh], colours: Mapping[str, Colour] | None = None) -> Path:
    """Write meshes by name as a binary glTF 2.0 file, in metres, Y up; returns its path. Raises UserError."""
    views: list[dict[str, int]] = []
    accessors: list[dict[str, Any]] = []
    data = bytearray()

    def accessor(array: Array, kind: str, component: int, target: int) -> int:
        views.append({"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes, "target": target})
        data.extend(array.tobytes())
        entry: dict[str, Any] = {
            "bufferView": len(views) - 1,
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
        if kind == "VEC3":
            entry |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        accessors.append(entry)
        return len(accessors) - 1

    materials, gltf_meshes = [], []
    for n, (name, mesh) in enumerate(meshes.items()):
        colour = (colours or {}).get(name, colour_of(n))
        linear = [round((c / 255) ** 2.2, 5) for c in colour]
        materials.append(
            {
                "name": name,
                "pbrMetallicRoughness": {
                    "baseColorFactor": [*linear, 1.0],
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.7,
                },
            }
        )
        points = (mesh.vertices @ RAS_TO_GLTF.T).astype("<f4")
        normals = (mesh.normals @ (1000 * RAS_TO_GLTF).T).astype("<f4")
        attributes = {
            "POSITION": accessor(points, "VEC3", 5126, 34962),
            "NORMAL": accessor(normals, "VEC3", 5126, 34962),
        }
        indices = accessor(mesh.faces.astype("<u4").ravel(), "SCALAR", 5125, 34963)
        gltf_meshes.append(
            {
                "name": name,
                "primitives": [{"attributes": attributes, "indices": indices, "material": n}],
            }
        )
    document = {
        "asset": {"version": "2.0", "generator": "medzoo"},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(meshes)))}],
        "nodes": [{"name": name, "mesh": n} for n, name in enumerate(meshes)],
        "meshes": gltf_meshes,
        "materials": materials,
        "buffers": [{"byteLength": len(data)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 12 + 8 + len(text) + 8 + len(data))
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return atomic_write(path, lambda handle: handle.write(head + chunks))


def surface_picture(
    meshes: Mapping[str, Mesh],
    *,
    colours: Mapping[str, Colour] | None = None,
    side: Side = "oblique",
    title: str | None = None,
    size: int = 800,
) -> Pillow.Image:
    """Meshes by name, lit from the eye and from above, faces drawn from far to near (painter's algorithm)."""
    eye, up = (np.asarray(v, float) for v in EYES[side])
    eye /= np.linalg.norm(eye)
    right = np.cross(up, eye)
    right /= np.linalg.norm(right)
    screen = np.stack([right, np.cross(eye, right), eye])  # rows: right, up, towards the eye
    light = np.array([-0.4, 0.6, 1.0])
    light /= np.linalg.norm(light)
    names = [(name, (colours or {}).get(name, colour_of(n))) for n, name in enumerate(meshes)]

    points, shades = [], []
    for (_, colour), mesh in zip(names, meshes.values(), strict=True):
        normals = mesh.normals[mesh.faces].mean(axis=1) @ screen.T
        seen = mesh.crosses @ eye > 0
        lit = 0.25 + 0.75 * np.clip(normals[seen] @ light, 0, 1)
        points.append((mesh.corners @ screen.T)[seen])
        shades.append(np.clip(lit[:, None] * colour, 0, 255).astype(int))
    triangles, shade = np.concatenate(points), np.concatenate(shades)
    order = np.argsort(triangles[:, :, 2].mean(axis=1))
    low, high = triangles[..., :2].min(axis=(0, 1)), triangles[..., :2].max(axis=(0, 1))
    fine = 2 * size  # drawn at twice the size, so that edges are smooth when it is reduced
    scale = 0.92 * fine / (high - low).max()
    flat = (triangles[..., :2] - (low + high) / 2) * [scale, -scale] + fine / 2
    canvas = blank_figure(fine, fine)
    draw = ImageDraw.Draw(canvas)
    for corners, colour in zip(flat[order].reshape(-1, 6).tolist(), shade[order].tolist(), strict=True):
        # The outline in the same colour closes the hairlines between neighbours.
        draw.polygon(corners, fill=tuple(colour), outline=tuple(colour))
    figure = canvas.resize((size, size), Pillow.Resampling.LANCZOS)
    if title:
        draw_text(figure, (TEXT, TEXT), shorten(title, size - 2 * TEXT))
    key = legend(names, size - 2 * TEXT)
    figure.paste(key, (TEXT, size - TEXT - key.height))
    return figure


def plot_gallery(
    path: str | Path, meshes: Mapping[str, Mesh], colours: Mapping[str, Colour], *, side: Side = "oblique"
) -> Path:
    """Write one picture of each mesh by name, side by side from the same side, as PNG; returns the path."""
    size = 480
    sheet = blank_figure(size * len(meshes), size)
    for n, (name, mesh) in enumerate(meshes.items()):
        sheet.paste(surface_picture({name: mesh}, colours=colours, side=side, size=size), (n * size, 0))
    return save_png(path, sheet)
