"""Everything wrong with a recipe at once, in order, in plain words, with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medzoo.errors import UserError
from medzoo.recipe import load_recipe, read_recipe_text

BROKEN = """\
medzoo: 1
name: Brain Tissue
task: segmnt
labels: [a, a]
data:
  type: ibsr
  rooot: x
  split: {train: 0, fold: 3, gruop: x}
preprocess:
  host: [{op: orientt}, {to: RAS}, {op: orient, to: XYZ}]
model: {type: patchcnn, channels: [64, 256, 768]}
train:
  epochs: abc
  lr: 0
  devices: some
  deterministic: no
  checkpoint: 3
  schedule: cosin
  augment: [{op: flip, axis: 3}]
metric: [dice]
"""


def faults_of(text: str, overrides: Any = (), **options: Any) -> list[str]:
    with pytest.raises(UserError) as caught:
        read_recipe_text(text, "r.yaml", overrides, **options)
    return [str(fault) for fault in caught.value.faults]


def test_every_fault_at_once(catalog: object) -> None:
    assert faults_of(BROKEN, ["train.batch=0"], catalog=catalog) == [
        "r.yaml:2:7: name: must be lowercase letters, digits and hyphens, not 'Brain Tissue'",
        "r.yaml:3:7: task: must be one of classify, detect, segment, not 'segmnt' (did you mean 'segment'?)",
        "r.yaml:4:9: labels: names 'a' twice",
        "r.yaml:6:3: data.root: is missing",
        "r.yaml:7:3: data.rooot: unknown key (did you mean 'root'?)",
        "r.yaml:8:10: data.split.group: is missing",
        "r.yaml:8:18: data.split.train: must be at least 1 or greater than 0, not 0",
        "r.yaml:8:30: data.split.gruop: unknown key (did you mean 'group'?)",
        "r.yaml:10:15: preprocess.host.0.op: there is no host step 'orientt' (did you mean 'orient'?)",
        "r.yaml:10:25: preprocess.host.1.op: is missing",
        "r.yaml:10:53: preprocess.host.2.to: must be text that matches ^[RLAPSI]{3}$, not 'XYZ'",
        "r.yaml:11:15: model.type: there is no model type 'patchcnn' (did you mean 'patch-cnn'?)",
        "r.yaml:13:11: train.epochs: must be a whole number, not 'abc'",
        "r.yaml:14:7: train.lr: must be greater than 0, not 0",
        "r.yaml:15:12: train.devices: must be auto or a whole number, not 'some'",
        "r.yaml:16:18: train.deterministic: must be true or false, not 'no'",
        "r.yaml:17:15: train.checkpoint: must be a mapping, not 3",
        "r.yaml:18:13: train.schedule: must be one of constant, cosine, poly, step, not 'cosin' "
        "(did you mean 'cosine'?)",
        "r.yaml:19:30: train.augment.0.axis: must be at most 2, not 3",
        "r.yaml:20:1: metric: unknown key (did you mean 'metrics'?)",
        "override 'train.batch=0': train.batch: must be at least 1, not 0",
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("medzoo: 1", "medzoo: 2", "1:9: medzoo: must be 1, not 2"),
        ("medzoo: 1\n", "", "1:1: medzoo: is missing"),
        ("task: segment", "task: null", "3:7: task: must be one of classify, detect, segment, not null"),
        ("[background, csf, grey-matter]", "[a]", "4:9: labels: must have at least 2 items for this task"),
        ("[background, csf, grey-matter]", "[]", "4:9: labels: must have at least 1 item"),
        ("[background, csf, grey-matter]", "[a, '']", "4:13: labels.1: must be text without spaces at"),
        ("[background, csf, grey-matter]", "[a, 1]", "4:13: labels.1: must be text, not 1"),
        ("train: 12, val: 2", "train: 0.9, val: 0.3", "data.split: the fractions add up to 1.2, more than 1"),
        ("train: 12, val: 2, test: 4", "train: 0.9", "data.split: the fractions add up to 1.2, more than 1"),
        ("test: 4", "folds: 3, fold: 3", "data.split: fold is 3, but folds is 3; fold counts from 0"),
        ("test: 4", "given: true, folds: 3", "data.split: folds cannot be combined with given"),
        ("type: ibsr\n", "type: busi\n", "6:9: data.type: there is no data type 'busi' (known: ibsr)"),
        ("type: patch-cnn", "tipe: x", "12:8: model.type: is missing"),
        ("type: patch-cnn", "type: needs-more", "12:15: model.type: the package 'more' is not installed"),
        ("[64, 256, 768]", "[64, 256]", "12:36: model.channels.2: is missing"),
        ("[64, 256, 768]", "[64, 2.5, 1]", "12:41: model.channels.1: must be a whole number, not 2.5"),
        ("[64, 256, 768]", "[64, 2, 1], balanced: 'true'", "model.balanced: must be true or false"),
        ("[64, 256, 768]", "[64, 2, 1], head: {hiden: 3}", "12:55: model.head.hiden: unknown key (did"),
        ("[64, 256, 768]", "[64, 2, 1], splt: 3", "model.splt: unknown key"),
        ("metrics: [dice, hd95]", "metrics: [dise]", "14:11: metrics.0: there is no metric 'dise'"),
        ("[fp32, fp16]", "[fp32, fp64]", "15:28: export.precision.1: must be one of fp32, fp16, int8"),
        ("[fp32, fp16]", "[]", "export.precision: must have at least 1 item"),
        ("train: {epochs: 20", "train: {focal: 2, label_smoothing: 0.1", "train: focal and label_smo"),
        ("lr: 1e-3", "lr: 1e-3, lr: 3", "train.lr: the key is written twice (first in line 13)"),
        ("to: RAS", "to: RAS, op: orient", "preprocess.host.0.op: the key is written twice"),
        ("type: patch-cnn", "type: svm, features: shape", "model.features: must be one of shape15, glcm"),
    ],
)  # fmt: skip
def test_words_and_places(text: str, catalog: object, old: str, new: str, fault: str) -> None:
    assert old in text
    assert fault in "\n".join(faults_of(text.replace(old, new), catalog=catalog))


def test_cross_checks_come_with_unknown_keys(text: str, catalog: object) -> None:
    svm = text.replace("type: patch-cnn, channels: [64, 256, 768]", "type: svm, features: glcm, kernle: x")
    assert faults_of(svm.replace("export:", "exprot:"), catalog=catalog) == [
        "r.yaml:12:15: model.type: svm answers classify, not segment",
        "r.yaml:12:36: model.kernle: unknown key",
        "r.yaml:13:17: train.epochs: an svm takes no epochs (leave it out)",
        "r.yaml:15:1: exprot: unknown key (did you mean 'export'?)",
    ]


def test_an_unknown_key_hides_no_fault_of_the_whole_section(text: str) -> None:
    wrong = faults_of(text, ["train.focal=2", "train.label_smoothing=0.1", "train.foo=1"])
    assert len(wrong) == 2
    assert "focal and label_smoothing exclude each other" in wrong[0]


def test_without_catalog_only_the_fixed_part_is_checked(text: str) -> None:
    recipe = read_recipe_text(text, overrides=["model.type=whatever", "model.x=1", "metrics=[any]"])
    assert recipe.model.params == {"x": 1}


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b", "x" * 5000])
def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        load_recipe(name)
    assert len(caught.value.faults) == 1
    assert caught.value.faults[0].where == name


def test_a_device_and_an_endless_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a regular file"):
        load_recipe("/dev/zero")
    big = tmp_path / "big.yaml"
    big.write_bytes(b"# \n" * 400_000)
    with pytest.raises(UserError, match="longer than 200,000 characters"):
        load_recipe(big)
