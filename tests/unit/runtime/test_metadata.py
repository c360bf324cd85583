"""Metadata of an ONNX file that no export writes are refused in one line that names the file and the field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from medzoo.errors import UserError
from medzoo.recipe import schema
from medzoo.runtime import metadata
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import KEY, Metadata
from tests.unit.serve.graphs import write_graph

SOUND: dict[str, Any] = json.loads(
    Metadata(name="toy", task="classify", labels=("benign", "malignant"), outputs=("probabilities",)).model_dump_json()
)
REF = {"reference": [1.0, "2"]}


def refused(document: Any) -> str:
    raw = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(UserError, match="metadata") as caught:
        Metadata.read({KEY: raw}, where="model.onnx")
    words = str(caught.value)
    assert words.startswith("model.onnx: ")
    assert words.isprintable()
    return words


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "../../etc/x"),
        ("name", "<img src=x onerror=alert(1)>"),
        ("name", "\x1b[31mred"),
        ("name", ""),
        ("name", "a" * 65),
        ("name", 7),
        ("task", "os.system"),
        ("labels", []),
        ("labels", ["a", "a"]),
        ("labels", ["\x1b[31mred\x07", "b"]),
        ("labels", ["a\nb", "c"]),
        ("labels", ["\u202ecilam", "b"]),
        ("labels", ["x" * 201, "b"]),
        ("labels", "benign"),
        ("inputs", []),
        ("inputs", ["image", "image"]),
        ("inputs", ["../image"]),
        ("outputs", [f"o{n}" for n in range(17)]),
        ("format", 2),
        ("bits", 12),
        ("precision", "fp128"),
        ("recipe_digest", "0" * 63),
        ("medzoo", "v" * 65),
        ("extra", 1),
    ],
)
def test_a_field_that_no_export_writes_is_named(field: str, value: Any) -> None:
    assert repr(field) in refused(SOUND | {field: value}) or f"'{field}." in refused(SOUND | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tile", 10**9),
        ("tile", 0),
        ("multiple", 10**12),
        ("slices", 10**9),
        ("slices", -1),
        ("channels", 10**9),
        ("channels", True),
        ("axis", 3),
        ("margin", 10**9),
        ("dims", 4),
        ("dims", "2"),
    ],
)
def test_a_geometry_beyond_any_image_is_refused(field: str, value: Any) -> None:
    assert f"'geometry.{field}" in refused(SOUND | {"geometry": SOUND["geometry"] | {field: value}})


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"op": "os.system", "x": "id"}, "host[0]: "),
        ({"type": "selective-search"}, "host[0]: "),
        ({"op": "clahe", "tiles": 10**9}, "host[0].tiles"),
        ({"op": "spacing", "mm": 1e-9}, "host[0].mm"),
        ({"op": "crop-foreground", "margin": 10**9}, "host[0].margin"),
        ({"op": "n4", "iterations": 10**9}, "host[0].iterations"),
        ({"op": "knn-smooth", "size": 10**9}, "host[0].size"),
        ({"op": "selective-search", "count": 100_000, "size": [1000, 1000]}, "host[0]"),
        ({"op": "zscore", "by": "magic"}, "host[0].by"),
        ({"op": "clahe", "tiles": 8, "more": 1}, "host[0].more"),
    ],
)
def test_a_host_step_that_does_not_exist_or_never_ends_is_refused(step: dict[str, Any], said: str) -> None:
    assert said in refused(SOUND | {"host": [step]})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("operating_point", {"threshold": 50, "rule": "r"}),
        ("operating_point", {"threshold": True, "rule": "r"}),
        ("operating_point", {"threshold": 0.5, "rule": "\x1b]0;title\x07"}),
        ("calibration", {"conformal": {"threshold": 9, "coverage": 0.9}}),
        ("calibration", REF),
        ("calibration", {"method": "\x1b[31m"}),
        ("calibration", {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": 1}}}}}}}}}),
    ],
)
def test_a_threshold_or_calibration_that_is_none_is_refused(field: str, value: Any) -> None:
    assert field in refused(SOUND | {field: value})


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 100_000 + "]" * 100_000,
        '{"name": NaN}',
        json.dumps(SOUND | {"medzoo": "x" * 2_000_000}),
        json.dumps(SOUND)[:-1] + ', "bits": ' + "9" * 6000 + "}",
    ],
)
def test_text_that_is_no_metadata_is_refused(raw: str) -> None:
    refused(raw)


def test_what_is_sound_is_read() -> None:
    assert Metadata.read({KEY: json.dumps(SOUND)}, where="m").name == "toy"
    labels = ["T1/T2 < 3 mm", "Läsion", "病変"]
    assert Metadata.read({KEY: json.dumps(SOUND | {"labels": labels})}, where="m").labels == tuple(labels)


def test_names_and_labels_are_those_of_recipes() -> None:
    assert (metadata.NAME, metadata.LABEL) == (schema.NAME, schema.LABEL)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": ["picture"]}, "the graph has the inputs image, but its metadata list picture"),
        ({"inputs": ["image", "boxes"]}, "the graph has the inputs image, but its metadata list image, boxes"),
        ({"outputs": ["labels"]}, "the graph has the outputs probabilities, but its metadata list labels"),
        ({"labels": ["a", "b", "c"]}, "outputs 2 probabilities, but its metadata list 3 labels"),
        ({"labels": ["a"]}, "outputs 2 probabilities, but its metadata list 1 labels"),
    ],
)
def test_metadata_of_another_graph_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "graph.onnx", "classify")
    model = onnx.load(path)
    model.metadata_props[0].value = json.dumps(json.loads(model.metadata_props[0].value) | change)
    onnx.save(model, path)
    with pytest.raises(UserError, match=said):
        OnnxBackend(path, device="cpu")
