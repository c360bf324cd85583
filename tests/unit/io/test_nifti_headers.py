"""Headers of volumes that contradict themselves, come in two files or hold several volumes; masks repeat them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.io import read_image, write_mask
from medzoo.io.limits import SERVER, limited
from medzoo.io.nifti_geometry import FIELDS

SHAPE = (4, 5, 6)
VALUES = np.arange(1, 121, dtype=np.int16).reshape(SHAPE)


def straight(*edges: float) -> np.ndarray:
    return np.diag([*edges, 1.0])


def rotated(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([[np.cos(a), -np.sin(a), 0, 3], [np.sin(a), np.cos(a), 0, 4], [0, 0, 1, 5], [0, 0, 0, 1]])


def save(
    path: Path,
    *,
    sform: np.ndarray | None = None,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 1),
    kind: type = nib.Nifti1Image,
    values: np.ndarray = VALUES,
    **fields: Any,
) -> Path:
    """A volume whose header fields are as given; nibabel writes the file, the fields are set in its bytes."""
    image = kind(values, np.eye(4))
    image.header.set_qform(qform if qform is not None else straight(1, 1, 1), codes[1])
    image.header.set_sform(sform if sform is not None else straight(1, 1, 1), codes[0])
    for name, value in fields.items():
        image.header[name] = value
    head = image.header.copy()
    nib.save(kind(values, None, image.header), path)
    raw = bytearray(path.read_bytes())
    written = type(head)(bytes(raw[: head.sizeof_hdr]), check=False)
    for name in FIELDS:
        written[name] = head[name]
    raw[: head.sizeof_hdr] = written.binaryblock
    path.write_bytes(raw)
    return path


def geometry_bytes(path: Path) -> list[bytes]:
    raw = path.read_bytes()
    raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    version2 = struct.unpack("<i", raw[:4])[0] == 540 or struct.unpack(">i", raw[:4])[0] == 540
    kind = nib.Nifti2Header if version2 else nib.Nifti1Header
    header = kind(raw[: kind.sizeof_hdr], check=False)
    native = header.as_byteswapped("<")
    return [native[name].tobytes() for name in FIELDS]


SOURCES: dict[str, dict[str, Any]] = {
    "scaled sform": {"sform": straight(1.05, 1, 1), "codes": (4, 1)},
    "unit sform": {"pixdim": [1, 0.7, 0.7, 0.7, 2.5, 0, 0, 0], "codes": (1, 0)},
    "oblique, qfac 0": {"sform": np.diag([1.5, 2, 3, 1]) @ rotated(0), "pixdim": [0, 1.5, 2, 3, 0, 0, 0, 0]},
    "micrometres": {"sform": straight(700, 800, 900), "qform": straight(700, 800, 900), "xyzt_units": 3},
    "units with seconds": {"xyzt_units": 10, "codes": (3, 2)},
    "qform alone": {"qform": rotated(31), "codes": (0, 2), "srow_x": [9, 8, 7, 6]},
    "neither": {"codes": (0, 0), "pixdim": [-1, 0.9, 0.8, 2, 1, 1, 1, 1]},
    "left-handed qform": {"qform": straight(-1, 1, 2), "sform": straight(-1, 1, 2)},
    "bad quaternion": {"quatern_b": 0.9, "quatern_c": 0.9},
    "float sform": {"sform": np.diag([0.1, 1 / 3, 1 / 7, 1]), "qform": np.diag([0.1, 1 / 3, 1 / 7, 1])},
    "version 2": {"kind": nib.Nifti2Image, "sform": np.diag([0.1, 1 / 3, 1 / 7, 1]), "dim_info": 57},
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_repeats_the_geometry_of_its_source_bit_for_bit(tmp_path: Path, name: str, suffix: str) -> None:
    source = save(tmp_path / "scan.nii", **SOURCES[name])
    image = read_image(source)
    mask = (VALUES % 3).astype(np.uint8)
    path = write_mask(tmp_path / f"m{suffix}", mask, image)
    assert geometry_bytes(path) == geometry_bytes(source)
    written = nib.load(path)
    np.testing.assert_array_equal(np.asarray(written.dataobj), mask)
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(read_image(path).affine, image.affine)


def big_endian(folder: Path) -> Path:
    image = nib.Nifti1Image(VALUES.astype(">i2"), OBLIQUE_STRAIGHT, nib.Nifti1Header(endianness=">"))
    nib.save(image, folder / "scan.nii")
    return folder / "scan.nii"


OBLIQUE_STRAIGHT = rotated(20) @ straight(0.7, 0.8, 2.5)


def singleton(folder: Path) -> Path:
    return save(folder / "scan.nii", values=VALUES[..., None], pixdim=[1, 1, 1, 1, 2.5, 1, 1, 1])


def scaled(folder: Path) -> Path:
    path = save(folder / "scan.nii")
    raw = bytearray(path.read_bytes())
    raw[112:120] = struct.pack("<ff", 0.25, -3)
    path.write_bytes(raw)
    return path


def wide(folder: Path) -> Path:
    image = nib.Nifti1Image(VALUES.astype(np.int64), OBLIQUE_STRAIGHT, dtype=np.int64)
    nib.save(image, folder / "scan.nii")
    return folder / "scan.nii"


def pair(folder: Path) -> Path:
    nib.save(nib.Nifti1Pair(VALUES, OBLIQUE_STRAIGHT), folder / "scan.hdr")
    return folder / "scan.hdr"


@pytest.mark.parametrize("make", [big_endian, singleton, scaled, wide, pair], ids=lambda f: f.__name__)
def test_masks_of_odd_storage_lie_where_the_source_lies(tmp_path: Path, make: Any) -> None:
    source = make(tmp_path)
    image = read_image(source)
    np.testing.assert_allclose(image.array[0], np.asarray(nib.load(source).dataobj).reshape(SHAPE))
    path = write_mask(tmp_path / "m.nii.gz", (VALUES % 3).astype(np.uint8), image)
    assert geometry_bytes(path) == geometry_bytes(source)
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), VALUES % 3)


def test_masks_of_other_formats_lie_on_the_same_grid(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="SimpleITK writes the sources")
    for name in ("a.nrrd", "a.mha", "a.mgz", "a.nii"):
        source = sitk.GetImageFromArray(VALUES.transpose(2, 1, 0))
        source.SetSpacing((0.7, 0.8, 2.5))
        source.SetOrigin((11.5, -7, 3))
        source.SetDirection(rotated(20)[:3, :3].ravel())
        if name == "a.mgz":
            nib.save(nib.MGHImage(VALUES, OBLIQUE_STRAIGHT), tmp_path / name)
        else:
            sitk.WriteImage(source, str(tmp_path / name))
        image = read_image(tmp_path / name)
        mask = sitk.ReadImage(str(write_mask(tmp_path / "m.nii.gz", (VALUES % 3).astype(np.uint8), image)))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), (VALUES % 3).transpose(2, 1, 0))
        lps = np.diag([-1.0, -1, 1]) @ image.affine[:3, :3]
        np.testing.assert_allclose(mask.GetSpacing(), image.spacing, rtol=1e-6)
        np.testing.assert_allclose(np.reshape(mask.GetDirection(), (3, 3)) * image.spacing, lps, atol=1e-5)
        if name != "a.mgz":
            np.testing.assert_allclose(mask.GetOrigin(), source.GetOrigin(), atol=1e-5)
            np.testing.assert_allclose(mask.GetDirection(), source.GetDirection(), atol=1e-5)


def test_a_nibabel_image_keeps_the_fields_of_its_header(tmp_path: Path) -> None:
    source = save(tmp_path / "a.nii", **SOURCES["scaled sform"])
    path = write_mask(tmp_path / "m.nii", VALUES.astype(np.uint8), read_image(nib.load(source)))
    assert geometry_bytes(path) == geometry_bytes(source)
    moved = nib.load(source)
    moved.header["srow_x"] = [1, 0, 0, 99]  # the header alone: nibabel's image is still where it was
    path = write_mask(tmp_path / "n.nii", VALUES.astype(np.uint8), read_image(moved))
    np.testing.assert_allclose(nib.load(path).affine, moved.affine)


NOTED = {
    "scaled sform": (SOURCES["scaled sform"], "pixdim says 1 x 1 x 1 mm a voxel, its sform (code 4) 1.05 x 1 x 1 mm"),
    "unit sform": (SOURCES["unit sform"], "pixdim says 0.7 x 0.7 x 0.7 mm a voxel, its sform (code 1) 1 x 1 x 1 mm"),
    "micrometres": ({"sform": straight(700, 700, 720), "qform": straight(700, 700, 700), "xyzt_units": 3},
                    "pixdim says 0.7 x 0.7 x 0.7 mm a voxel, its sform (code 1) 0.7 x 0.7 x 0.72 mm"),
    "turned": ({"sform": rotated(0), "qform": rotated(30)}, "its qform (code 1) and sform (code 1) place it up to"),
    "shifted": ({"qform": straight(1, 1, 1) + np.eye(4, k=3) * 2}, "place it up to 2 mm apart: the sform was used"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOTED)
def test_a_disagreement_of_header_and_sform_is_reported(tmp_path: Path, name: str) -> None:
    fields, words = NOTED[name]
    (note,) = read_image(save(tmp_path / "a.nii", **fields)).meta["notes"]
    assert words in note
    assert "the sform was used" in note


@pytest.mark.parametrize(
    "fields",
    [{}, {"sform": straight(1.009, 1, 1)}, {"qform": rotated(0), "sform": rotated(0.2)}, {"codes": (1, 0)}],
)
def test_rounding_is_not_reported(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert "notes" not in read_image(save(tmp_path / "a.nii", **fields)).meta


BROKEN_QFORMS: dict[str, dict[str, Any]] = {
    "beyond one": {"quatern_b": 0.7071069, "quatern_c": 0.7071070},
    "NaN": {"quatern_b": np.nan, "quatern_c": np.nan, "quatern_d": np.nan},
    "infinite": {"quatern_d": np.inf},
    "an offset that is none": {"qoffset_y": np.nan},
}


@pytest.mark.parametrize("name", BROKEN_QFORMS)
def test_a_bad_qform_beside_a_good_sform_is_survived(tmp_path: Path, name: str) -> None:
    good = straight(1, 1.5, 2)
    path = save(tmp_path / "a.nii", sform=good, qform=good, **BROKEN_QFORMS[name])
    for image in (read_image(path), read_image(nib.load(path))):
        np.testing.assert_allclose(image.affine, good)
        (note,) = image.meta["notes"]
        assert "the qform's" in note
        assert "the sform was used" in note
    alone = save(tmp_path / "b.nii", codes=(0, 1), **BROKEN_QFORMS[name])
    with pytest.raises(UserError, match=r"b\.nii: the qform's .*sform code is 0 .*repair the header"):
        read_image(alone)
    both = save(tmp_path / "c.nii", **BROKEN_QFORMS[name], srow_z=[np.nan] * 4)
    with pytest.raises(UserError, match=r"c\.nii: the sform in its header holds NaN.* and the qform's"):
        read_image(both)


@pytest.mark.parametrize("row", [[np.nan] * 4, [0, 0, 0, 0], [1, 0, 0, 0]], ids=["NaN", "zeros", "singular"])
def test_a_bad_sform_beside_a_good_qform_is_survived(tmp_path: Path, row: list[float]) -> None:
    path = save(tmp_path / "a.nii", qform=straight(1, 1.5, 2), srow_y=row)
    for image in (read_image(path), read_image(nib.load(path))):
        np.testing.assert_allclose(image.affine, straight(1, 1.5, 2))
        assert "the qform was used" in image.meta["notes"][0]


@pytest.mark.parametrize("flag", [0, -1])
def test_an_mgh_without_orientation_says_what_it_assumed(tmp_path: Path, flag: int) -> None:
    for name in ("a.mgh", "a.mgz"):
        nib.save(nib.MGHImage(VALUES, OBLIQUE_STRAIGHT), tmp_path / name)
        assert "assumed" not in read_image(tmp_path / name).meta
        raw = (tmp_path / name).read_bytes()
        plain = bytearray(gzip.decompress(raw) if name == "a.mgz" else raw)
        plain[28:30] = struct.pack(">h", flag)
        (tmp_path / name).write_bytes(gzip.compress(plain) if name == "a.mgz" else plain)
        for source in (tmp_path / name, nib.load(tmp_path / name)):
            image = read_image(source)
            assert "goodRASFlag is 0" in image.meta["assumed"]
            np.testing.assert_allclose(image.affine[:3, :3], [[-1, 0, 0], [0, 0, -1], [0, 1, 0]])


@pytest.mark.parametrize("name", ["f.nii", "f.nii.gz", "f.mgz"])
def test_one_volume_of_several_is_chosen_by_its_number(tmp_path: Path, name: str) -> None:
    stack = np.stack([VALUES + 1000 * n for n in range(3)], -1).astype(np.int16)
    kind = nib.MGHImage if "mg" in name else nib.Nifti1Image
    nib.save(kind(stack, OBLIQUE_STRAIGHT), tmp_path / name)
    for number in range(3):
        image = read_image(f"{tmp_path / name}#{number}")
        np.testing.assert_array_equal(image.array[0], stack[..., number])
        np.testing.assert_allclose(image.affine, OBLIQUE_STRAIGHT, atol=1e-5)
        assert image.source == f"{tmp_path / name}#{number}"
    with pytest.raises(UserError, match=r"is a 4D volume .4 x 5 x 6 x 3. of 3 volumes .choose one of them.*#0"):
        read_image(tmp_path / name)
    with pytest.raises(UserError, match=r"slicer\[\.\.\., 0\]"):
        read_image(nib.load(tmp_path / name))
    for bad, words in (
        ("3", "has no volume 3 .it holds 3 volumes, 0 to 2"),
        ("-1", "has no volume -1"),
        ("t1", "'t1' is not a volume number"),
        ("", "'' is not a volume number"),
        ("1e2", "is not a volume number"),
    ):
        with pytest.raises(UserError, match=words):
            read_image(f"{tmp_path / name}#{bad}")


def test_a_name_behind_a_file_that_holds_none_is_refused(tmp_path: Path) -> None:
    from PIL import Image as Pillow

    save(tmp_path / "a.nii")
    assert read_image(f"{tmp_path / 'a.nii'}#0").shape == SHAPE
    with pytest.raises(UserError, match=r"has no volume 1 .it holds one, 0"):
        read_image(f"{tmp_path / 'a.nii'}#1")
    Pillow.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match="has no series or volume called '1'"):
        read_image(f"{tmp_path / 'a.png'}#1")
    Pillow.new("L", (8, 8), 7).save(tmp_path / "a.png#1.png")
    assert read_image(tmp_path / "a.png#1.png").array.max() == 7


def test_a_volume_far_inside_a_packed_file(tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(1, 99, (100, 100, 100, 9)).astype(np.uint8)
    nib.save(nib.Nifti1Image(stack, np.eye(4)), tmp_path / "f.nii.gz")
    np.testing.assert_array_equal(read_image(f"{tmp_path / 'f.nii.gz'}#8").array[0], stack[..., 8])


@pytest.mark.parametrize("packed", [False, True])
def test_pairs_are_read_by_either_file(tmp_path: Path, packed: bool) -> None:
    nib.save(nib.Nifti1Pair(VALUES, OBLIQUE_STRAIGHT), tmp_path / "a.hdr")
    if packed:
        for name in ("a.hdr", "a.img"):
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
            (tmp_path / name).unlink()
    names = [p.name for p in sorted(tmp_path.iterdir())]
    for name in names:
        image = read_image(tmp_path / name)
        np.testing.assert_array_equal(image.array[0], VALUES)
        np.testing.assert_allclose(image.affine, OBLIQUE_STRAIGHT, atol=1e-6)
    with limited(SERVER), pytest.raises(UserError, match="keeps its voxels in another file"):
        read_image(tmp_path / names[0])
    (tmp_path / names[1]).unlink()
    with pytest.raises(UserError, match=r"the other file of its pair, a\.img.* is not beside it"):
        read_image(tmp_path / names[0])
    nib.save(nib.AnalyzeImage(VALUES, np.eye(4)), tmp_path / "old.img")
    with pytest.raises(UserError, match="ANALYZE header, which does not say left from right"):
        read_image(tmp_path / "old.img")


def test_compression_is_detected_by_content_not_by_suffix(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.nii").read_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(plain)
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain))
    (tmp_path / "no-suffix").write_bytes(gzip.compress(plain))
    for name in ("plain.nii.gz", "packed.nii", "no-suffix"):
        np.testing.assert_array_equal(read_image(tmp_path / name).array[0], VALUES)


def test_a_start_of_the_voxels_that_is_none_is_refused(tmp_path: Path) -> None:
    for start in (np.nan, np.inf, -352.0):
        path = save(tmp_path / "a.nii")
        raw = bytearray(path.read_bytes())
        raw[108:112] = struct.pack("<f", start)
        path.write_bytes(raw)
        with pytest.raises(UserError, match="the voxels start at byte"):
            read_image(path)


@pytest.mark.parametrize("datatype", [0, 1, 1536])
def test_datatypes_without_a_size_are_named(tmp_path: Path, datatype: int) -> None:
    path = save(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[70:72] = struct.pack("<h", datatype)
    path.write_bytes(raw)
    with pytest.raises(UserError, match=f"NIfTI datatype {datatype}, which is not read"):
        read_image(path)


@pytest.mark.parametrize("slope", [np.inf, -np.inf])
def test_an_infinite_scale_is_no_scale(tmp_path: Path, slope: float) -> None:
    path = save(tmp_path / "a.nii")
    raw = bytearray(path.read_bytes())
    raw[112:116] = struct.pack("<f", slope)
    path.write_bytes(raw)
    with pytest.raises(UserError, match="no valid scale"):
        read_image(path)


def test_a_nibabel_image_without_an_affine_has_its_headers() -> None:
    header = nib.Nifti1Header()
    header.set_sform(straight(2, 3, 4), 1)
    header.set_qform(straight(2, 3, 4), 1)
    np.testing.assert_allclose(read_image(nib.Nifti1Image(VALUES, None, header)).affine, straight(2, 3, 4))
    assert "assumed" in read_image(nib.Nifti1Image(VALUES, None)).meta
