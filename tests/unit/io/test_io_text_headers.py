"""NRRD and MetaImage headers of every form: the voxels and the place that SimpleITK reads, or a refusal by name."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from pathlib import Path

import numpy as np
import pytest

from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.limits import SERVER, Limits, limited

sitk = pytest.importorskip("SimpleITK", reason="SimpleITK (extra dev) reads the files of these tests")
SIZES = (2, 3, 4)
VALUES = np.arange(1, 25, dtype=np.int16).reshape(SIZES, order="F")
RAW = VALUES.tobytes(order="F")
TEXT = " ".join(map(str, VALUES.ravel(order="F"))).encode() + b"\n"
TURN = "0.8 0.6 0 -0.6 0.8 0 0 0 1"


def same_as_simpleitk(path: Path, values: np.ndarray = VALUES) -> None:
    image = read_image(path)
    other = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(image.array[0], values)
    np.testing.assert_array_equal(image.array[0], sitk.GetArrayFromImage(other).T.reshape(values.shape, order="F"))
    affine = np.eye(4)
    affine[:3, :3] = np.array(other.GetDirection()).reshape(3, 3)[:3, :3] * other.GetSpacing()[:3]
    affine[:3, 3] = other.GetOrigin()[:3]
    np.testing.assert_allclose(image.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-5)


def metaimage(path: Path, *fields: str, data: bytes = RAW, name: str = "LOCAL", kind: str = "MET_SHORT") -> Path:
    """A header with `fields`, the data behind it, or in the file `name` if it is another."""
    lines = ["ObjectType = Image", "NDims = 3", *fields, "DimSize = 2 3 4", f"ElementType = {kind}"]
    head = "".join(f"{line}\n" for line in [*lines, f"ElementDataFile = {name}"]).encode()
    path.write_bytes(head + (data if name == "LOCAL" else b""))
    if name != "LOCAL":
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).write_bytes(data)
    return path


def nrrd(path: Path, *fields: str, data: bytes = RAW, **replaced: str) -> Path:
    """A header with its usual fields, those `replaced`, and further `fields`; the data behind it."""
    usual = {
        "type": "short",
        "dimension": "3",
        "space": "left-posterior-superior",
        "space dimension": "",
        "sizes": "2 3 4",
        "space directions": "(0.8,0.6,0) (-1.2,1.6,0) (0,0,3)",
        "endian": "little",
        "encoding": "raw",
        "space origin": "(5,-6,7)",
    } | {name.replace("_", " "): value for name, value in replaced.items()}
    lines = ["NRRD0005", *(f"{name}: {value}" for name, value in usual.items() if value), *fields]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode() + b"\n" + data)
    return path


PLACE = (f"TransformMatrix = {TURN}", "Offset = 5 -6 7", "ElementSpacing = 0.5 1 3")
BIG = VALUES.astype(">i2").tobytes(order="F")
PACKED = zlib.compress(RAW)


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        (("BinaryData = True",), RAW),
        (("BinaryData = t",), RAW),
        ((), RAW),
        (("BinaryData : True", "# a comment", "Some_values = 3"), RAW),
        (("BinaryData = False",), TEXT),
        (("BinaryData = False",), TEXT.replace(b" ", b"\n")),
        (("BinaryData = False",), TEXT.replace(b" ", b".0 ")),
        (("BinaryData = False",), TEXT.replace(b" ", b", ")),
        (("BinaryData = True", "BinaryDataByteOrderMSB = True"), BIG),
        (("BinaryData = True", "ElementByteOrderMSB = True"), BIG),
        (("BinaryData = True", "ElementByteOrderMSB = True", "BinaryDataByteOrderMSB = True"), BIG),
        (("BinaryData = True", "HeaderSize = -1"), b"something else" + RAW),
        (("BinaryData = True", "HeaderSize = 0"), RAW),
        (("BinaryData = True", "CompressedData = True", f"CompressedDataSize = {len(PACKED)}"), PACKED),
    ],
)
def test_metaimage_as_simpleitk_reads_it(tmp_path: Path, fields: tuple[str, ...], data: bytes) -> None:
    same_as_simpleitk(metaimage(tmp_path / "a.mha", *PLACE, *fields, data=data))
    same_as_simpleitk(metaimage(tmp_path / "b.mhd", *PLACE, *fields, data=data, name="b.raw"))


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        (("BinaryData = True", "HeaderSize = 3"), b"abc" + RAW),
        (("BinaryData = True", "HeaderSize = 2560"), bytes(2560) + RAW),
        (("BinaryData = False", "HeaderSize = 4"), b"abc\n" + TEXT),
        (
            ("BinaryData = True", "CompressedData = True", f"CompressedDataSize = {len(PACKED)}", "HeaderSize = 4"),
            b"abcd" + PACKED,
        ),
    ],
)
def test_metaimage_data_behind_a_header_of_their_own(tmp_path: Path, fields: tuple[str, ...], data: bytes) -> None:
    same_as_simpleitk(metaimage(tmp_path / "b.mhd", *PLACE, *fields, data=data, name="b.raw"))


def test_metaimage_header_size_counts_the_header_of_a_single_file(tmp_path: Path) -> None:
    length = metaimage(tmp_path / "a.mha", "BinaryData = True", "HeaderSize = 999", data=b"").stat().st_size
    same_as_simpleitk(
        metaimage(tmp_path / "a.mha", "BinaryData = True", f"HeaderSize = {length + 4}", data=b"wxyz" + RAW)
    )


@pytest.mark.parametrize("kind", ["CHAR", "UCHAR", "SHORT", "USHORT", "INT", "UINT", "LONG", "ULONG", "LONG_LONG"])
def test_metaimage_whole_numbers(tmp_path: Path, kind: str) -> None:
    dtype = {"CHAR": "i1", "SHORT": "i2", "INT": "i4", "LONG": "i4", "LONG_LONG": "i8"}
    stored = VALUES.astype(np.dtype(dtype.get(kind) or dtype[kind[1:]].replace("i", "u")))
    path = metaimage(tmp_path / "a.mha", "BinaryData = True", kind=f"MET_{kind}", data=stored.tobytes(order="F"))
    assert read_image(path).array.dtype == stored.dtype
    same_as_simpleitk(path)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "uint64"])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd", "a.nrrd", "a.nhdr"])
def test_what_simpleitk_writes(tmp_path: Path, name: str, dtype: str) -> None:
    values = VALUES.astype(dtype) + (2**40 if dtype.endswith("int64") else 0)
    image = sitk.GetImageFromArray(values.T)
    image.SetSpacing((0.5, 2, 3))
    sitk.WriteImage(image, str(tmp_path / name), useCompression=True)
    same_as_simpleitk(tmp_path / name, values)
    assert read_image(tmp_path / name).array.dtype == dtype


@pytest.mark.parametrize(
    ("fields", "data", "words"),
    [
        (("BinaryData = True", "HeaderSize = -2"), RAW, "HeaderSize is -2"),
        (("BinaryData = True", "HeaderSize = 10"), RAW, "HeaderSize is 10, its header has"),
        (("BinaryData = False", "HeaderSize = -1"), TEXT, "HeaderSize is -1"),
        (("BinaryData = True", "headersize = 4"), b"wxyz" + RAW, "spells the field HeaderSize as 'headersize'"),
        (("BinaryData = maybe",), RAW, "BinaryData is 'maybe'"),
        (("BinaryDataByteOrderMSB = True", "ElementByteOrderMSB = False"), RAW, "contradict each other"),
        (("ElementToIntensityFunctionSlope = 2",), RAW, "ElementToIntensityFunctionSlope is 2"),
        (("ElementToIntensityFunctionOffset = -1024",), RAW, "ElementToIntensityFunctionOffset is -1024"),
        (("ElementNBits = 12",), RAW, "ElementNBits is 12"),
        (("ElementNumberOfChannels = 3",), RAW * 3, "'3' channels"),
        (("Offset = 1 2 3", "Offset = 4 5 6"), RAW, "gives its field Offset twice"),
        (("ElementSpacing = 1 -1 1",), RAW, "the voxel spacing"),
        (("BinaryData = False",), TEXT[:-6], "there are 22 of 24|there are 23 of 24"),
        (("BinaryData = False",), TEXT.replace(b" 9 ", b" x "), "ascii values cannot be read"),
        (("BinaryData = False",), TEXT.replace(b" 9 ", b" 99999 "), "they are not valid int16 values"),
        (("BinaryData = False",), TEXT.replace(b" 9 ", b" 9.5 "), "they are not valid int16 values"),
        (("CompressedData = True",), PACKED[:-5], "it ends in the middle"),
        (("CompressedData = True",), PACKED[:-1] + b"x", "incorrect data check"),
        (("CompressedData = True", "BinaryData = False"), PACKED, "both compressed and text"),
        (("DistanceUnits = inch",), RAW, "DistanceUnits is 'inch'"),
    ],
)
def test_metaimage_refused_by_name(tmp_path: Path, fields: tuple[str, ...], data: bytes, words: str) -> None:
    path = metaimage(tmp_path / "a.mha", *fields, data=data)
    with pytest.raises(UserError, match=rf"a\.mha: .*({words})"):
        read_image(path)


def test_a_size_in_micrometres(tmp_path: Path) -> None:
    path = metaimage(tmp_path / "a.mha", *PLACE, "DistanceUnits = um")
    np.testing.assert_allclose(read_image(path).spacing, (0.0005, 0.001, 0.003))
    path = nrrd(tmp_path / "a.nrrd", 'space units: "um" "um" "um"')
    np.testing.assert_allclose(read_image(path).spacing, (0.001, 0.002, 0.003))


@pytest.mark.parametrize(
    ("fields", "replaced", "data"),
    [
        ((), {}, RAW),
        ((), {"endian": "BIG"}, BIG),
        ((), {"encoding": "gzip"}, gzip.compress(RAW, mtime=0)),
        ((), {"encoding": "gz"}, gzip.compress(RAW[:20], mtime=0) + gzip.compress(RAW[20:], mtime=0)),
        ((), {"encoding": "ascii", "endian": ""}, TEXT),
        ((), {"encoding": "text"}, TEXT.replace(b" ", b", ")),
        ((), {"encoding": "txt"}, TEXT),
        ((), {"encoding": "hex"}, RAW.hex().encode()),
        ((), {"encoding": "hex", "endian": "big"}, BIG.hex("\n", 5).encode()),
        (("byte skip: 3",), {}, b"abc" + RAW),
        (("byteskip: -1",), {}, b"abcdef" + RAW),
        (("byte skip: -4",), {}, b"abcdef" + RAW + b"xyz"),
        (("line skip: 2",), {}, b"one\ntwo\n" + RAW),
        (("lineskip: 1", "byte skip: 2"), {}, b"one\nab" + RAW),
        (("line skip: 2",), {"encoding": "gzip"}, b"one\ntwo\n" + gzip.compress(RAW, mtime=0)),
        (("byte skip: 3",), {"encoding": "gzip"}, gzip.compress(b"abc" + RAW, mtime=0)),
        (("byte skip: -1",), {"encoding": "gzip"}, gzip.compress(b"abc" + RAW, mtime=0)),
        (("line skip: 1",), {"encoding": "ascii"}, b"7 8 9\n" + TEXT),
        (("kinds: domain domain domain", "content: a: b", "min: 1", "key:=old: value"), {}, RAW),
        ((), {"space": "RAS"}, RAW),
        ((), {"space": "Right-Anterior-Superior"}, RAW),
        ((), {"space": "LAS"}, RAW),
        ((), {"space": "left-anterior-superior"}, RAW),
        ((), {"space": "LPS"}, RAW),
        ((), {"space": "scanner-xyz"}, RAW),
        ((), {"space": "3D-right-handed"}, RAW),
        ((), {"space": "", "space_dimension": "3"}, RAW),
        ((), {"space": "", "space_directions": "", "space_origin": ""}, RAW),
        (
            ("spacings: 2 3 4", "axis mins: 10 20 30"),
            {"space": "", "space_directions": "", "space_origin": ""},
            RAW,
        ),
        (
            ("spacings: 2 3 4", "axis mins: 10 20 30", "centers: node node node"),
            {"space": "", "space_directions": "", "space_origin": ""},
            RAW,
        ),
        (
            ("kinds: list domain domain domain",),
            {"dimension": "4", "sizes": "1 2 3 4", "space_directions": "none (1,0,0) (0,2,0) (0,0,3)"},
            RAW,
        ),
    ],
)
def test_nrrd_as_simpleitk_reads_it(tmp_path: Path, fields: tuple[str, ...], replaced: dict, data: bytes) -> None:
    same_as_simpleitk(nrrd(tmp_path / "a.nrrd", *fields, data=data, **replaced))
    (tmp_path / "data.bin").write_bytes(data)
    same_as_simpleitk(nrrd(tmp_path / "b.nhdr", *fields, "data file: data.bin", data=b"", **replaced))


NAMES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float,FLOAT",
    "f8": "double,Double",
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in NAMES for name in NAMES[kind].split(",")])
def test_nrrd_names_of_types(tmp_path: Path, kind: str, name: str) -> None:
    path = nrrd(tmp_path / "a.nrrd", type=name, data=VALUES.astype(kind).tobytes(order="F"))
    assert read_image(path).array.dtype == np.dtype(kind)
    same_as_simpleitk(path)


def test_nrrd_of_bzip2(tmp_path: Path) -> None:
    """A header that SimpleITK cannot read."""
    path = nrrd(tmp_path / "a.nrrd", "byte skip: 2", encoding="bzip2", data=bz2.compress(b"ab" + RAW))
    np.testing.assert_array_equal(read_image(path).array[0], VALUES)


@pytest.mark.parametrize(
    ("fields", "replaced", "data", "words"),
    [
        (("voxel skip: 3",), {}, RAW, "the field 'voxel skip', which medzoo does not know"),
        (("bytes skip: 3",), {}, RAW, "the field 'bytes skip'"),
        (("interleave: 2",), {}, RAW, "the field 'interleave'"),
        (("endian: big",), {}, RAW, "gives its field 'endian' twice"),
        (("byte skip: 3", "byteskip: 4"), {}, RAW, "gives its field 'byte skip' twice"),
        ((), {"endian": ""}, RAW, "does not state its byte order"),
        ((), {"type": "block"}, RAW, "has the type 'block'"),
        ((), {"type": "char"}, RAW, "has the type 'char'"),
        ((), {"encoding": "zstd"}, RAW, "has the encoding 'zstd'"),
        ((), {"encoding": ""}, RAW, "has no encoding"),
        ((), {"space": "LPI"}, RAW, "has the space 'LPI'"),
        (("kinds: vector domain domain",), {}, RAW, "2 of them of space"),
        (("kinds: domain domain time",), {}, RAW, "2 of them of space"),
        ((), {"space_directions": "(1,0,0) (0,1,0) none"}, RAW, "2 of them of space"),
        ((), {"space_directions": "(1,0,0) (0,1,0)"}, RAW, "space directions are not 3"),
        ((), {"dimension": "4"}, RAW, "3 sizes for 4 dimensions"),
        ((), {"dimension": "4", "sizes": "2 2 3 4", "space_directions": ""}, RAW * 2, "4 dimensions"),
        (
            ("axis mins: 0 0 0", "axis maxs: 4 9 16"),
            {"space": "", "space_directions": ""},
            RAW,
            "gives the ends of its axes",
        ),
        (("line skip: 3",), {}, b"one\n", "ends before the 3 lines"),
        (("byte skip: -1",), {"encoding": "hex"}, RAW.hex().encode(), "does not tell where its data begin"),
        (("byte skip: 40",), {}, RAW, "is truncated"),
        (("byte skip: -40",), {}, RAW, "is truncated"),
        (("data file: LIST\na.raw\nb.raw",), {}, b"", "stores its data in several files"),
        (("data file: s%03d.raw 1 4 1",), {}, b"", "stores its data in several files"),
        ((), {"encoding": "hex"}, RAW.hex().replace("0", "z").encode(), "hex values cannot be read"),
        ((), {"encoding": "gzip"}, gzip.compress(RAW, mtime=0)[:-6], "it ends in the middle"),
        ((), {"encoding": "gzip"}, gzip.compress(RAW, mtime=0)[:-8] + bytes(8), "incorrect data check"),
        ((), {"encoding": "ascii"}, b"1" * 5000 + TEXT, "they are not numbers"),
    ],
)
def test_nrrd_refused_by_name(tmp_path: Path, fields: tuple[str, ...], replaced: dict, data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=rf"a\.nrrd: .*{words}"):
        read_image(nrrd(tmp_path / "a.nrrd", *fields, data=data, **replaced))


def headers(folder: Path, name: str) -> list[Path]:
    """One header of each format whose data lie in `name`."""
    paths = [nrrd(folder / "a.nhdr", f"data file: {name}", data=b"")]
    lines = ["NDims = 3", "DimSize = 2 3 4", "ElementType = MET_SHORT", f"ElementDataFile = {name}"]
    (folder / "a.mhd").write_text("".join(f"{line}\n" for line in lines))
    return [*paths, folder / "a.mhd"]


def test_data_below_the_header_are_read(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("c.raw", "./c.raw", "below/c.raw", str(tmp_path / "c.raw"), "my data ü.raw"):
        (tmp_path / name).write_bytes(RAW)
        for path in headers(tmp_path, name):
            np.testing.assert_array_equal(read_image(path).array[0], VALUES)


def test_data_elsewhere_are_not_read(tmp_path: Path) -> None:
    """The same words whether the file is there or not."""
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(RAW)
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    (folder / "up").symlink_to(tmp_path)
    names = ("../secret.raw", "../none.raw", str(tmp_path / "secret.raw"), "/etc/passwd", "link.raw", "up/secret.raw")
    for name in names:
        for path in headers(folder, name):
            with pytest.raises(UserError, match=r"a\.(nhdr|mhd): stores its data in .*, outside its own folder"):
                read_image(path)


def test_data_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("fifo", "none.raw", ".", "loop", "no\0thing"):
        for path in headers(tmp_path, name):
            with pytest.raises(UserError, match=r"a\.(nhdr|mhd): its data file .* (is not beside it|cannot be found)"):
                read_image(path)


def test_a_server_reads_no_data_file(tmp_path: Path) -> None:
    (tmp_path / "c.raw").write_bytes(RAW)
    for path in headers(tmp_path, "c.raw"):
        read_image(path)
        with limited(SERVER), pytest.raises(UserError, match=r"stores its data in another file, 'c\.raw'"):
            read_image(path)


def test_limits_of_a_volume(tmp_path: Path) -> None:
    for path in (nrrd(tmp_path / "a.nrrd"), metaimage(tmp_path / "a.mha")):
        with limited(Limits(voxels=23)), pytest.raises(UserError, match="at most 23 are read here"):
            read_image(path)
        with limited(Limits(decoded_bytes=47)), pytest.raises(UserError, match="at most 47 bytes are read here"):
            read_image(path)
        with limited(Limits(voxels=24, decoded_bytes=48)):
            read_image(path)


def series(folder: Path, kind: str) -> Path:
    """Three volumes in one file: those values, doubled and tripled."""
    volumes = np.stack([VALUES, VALUES * 2, VALUES * 3], axis=0 if kind == "list first" else -1)
    data = volumes.tobytes(order="F")
    if kind == "metaimage":
        lines = ["NDims = 4", "DimSize = 2 3 4 3", "ElementType = MET_SHORT", "ElementDataFile = LOCAL"]
        path = folder / "a.mha"
        path.write_bytes("".join(f"{line}\n" for line in lines).encode() + data)
        return path
    directions = "(1,0,0) (0,1,0) (0,0,2)"
    axes = {
        "list first": {"sizes": "3 2 3 4", "space_directions": f"none {directions}"},
        "list last": {"sizes": "2 3 4 3", "space_directions": f"{directions} none"},
        "no directions": {"sizes": "2 3 4 3", "space_directions": "", "space": "", "space_origin": ""},
    }[kind]
    kinds = "list domain domain domain" if kind == "list first" else "domain domain domain time"
    return nrrd(folder / "a.nrrd", f"kinds: {kinds}", data=data, dimension="4", **axes)


@pytest.mark.parametrize("kind", ["metaimage", "list first", "list last", "no directions"])
def test_one_volume_of_several_is_chosen_by_its_number(tmp_path: Path, kind: str) -> None:
    path = series(tmp_path, kind)
    for number in range(3):
        np.testing.assert_array_equal(read_image(f"{path}#{number}").array[0], VALUES * (number + 1))
    for name, words in (("", "of 3 volumes .*choose one of them"), ("#3", "has no volume 3"), ("#x", "not a volume")):
        with pytest.raises(UserError, match=words):
            read_image(f"{path}{name}")


def test_a_single_volume_is_number_0(tmp_path: Path) -> None:
    for path in (metaimage(tmp_path / "a.mha"), nrrd(tmp_path / "a.nrrd")):
        np.testing.assert_array_equal(read_image(f"{path}#0").array[0], VALUES)
        with pytest.raises(UserError, match="has no volume 1"):
            read_image(f"{path}#1")
