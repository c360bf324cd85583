"""Label files that do not belong to their scan, or hold what the recipe does not name: each layout of volumes says so
in one line that names the file. An empty mask is read, told by the audit, and counted as what it is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from medzoo import registry
from medzoo.commands.train import train
from medzoo.data.audit.audit import audit
from medzoo.data.dataset import Dataset, Objects
from medzoo.data.split import make_split
from medzoo.errors import OffGridError, UserError
from medzoo.recipe.split import SplitSection
from medzoo.types import Array

SHAPE = (12, 14, 10)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
TISSUES = ("background", "csf", "grey-matter", "white-matter")
LESION = ("background", "lesion")


@dataclass(frozen=True)
class Layout:
    """A data type: its options, task and labels, and where scan and label of a case lie below its root."""

    kind: str
    image: str
    label: str
    labels: tuple[str, ...] = LESION
    task: str = "segment"
    options: tuple[tuple[str, Any], ...] = ()
    beside: tuple[str, ...] = ()


PATTERNS = (("image", "{case}/scan.nii.gz"), ("label", "{case}/label.nii.gz"))
LAYOUTS = [
    Layout("nifti-pairs", "{}/scan.nii.gz", "{}/label.nii.gz", options=PATTERNS),
    Layout("nifti-pairs", "{}/scan.nii.gz", "{}/label.nii.gz", ("lesion",), "detect",
           (*PATTERNS, ("values", {"lesion": (1,)}))),
    Layout("mask-boxes", "{}/scan.nii.gz", "{}/label.nii.gz", ("lesion",), "detect",
           (PATTERNS[0], ("mask", "{case}/label.nii.gz"), ("values", "label"))),
    Layout("ibsr", "IBSR_0{0}/IBSR_0{0}_ana_strip.nii.gz", "IBSR_0{0}/IBSR_0{0}_segTRI_ana.nii.gz", TISSUES,
           beside=("IBSR_0{0}/IBSR_0{0}_ana_brainmask.nii.gz",)),
    Layout("msd", "imagesTr/c_{}.nii.gz", "labelsTr/c_{}.nii.gz"),
    Layout("nnunet", "imagesTr/c_{}_0000.nii.gz", "labelsTr/c_{}.nii.gz"),
    Layout("bids", "sub-{0}/anat/sub-{0}_T1w.nii.gz", "derivatives/manual/sub-{0}/anat/sub-{0}_dseg.nii.gz",
           options=(("values", {"lesion": (1,)}),)),
]  # fmt: skip
NAMES = [f"{layout.kind}-{layout.task}" for layout in LAYOUTS]


def save(path: Path, array: Array, affine: Array = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def lesion() -> Array:
    mask = np.zeros(SHAPE, np.uint8)
    mask[3:7, 4:9, 2:6] = 1
    return mask


def scan(seed: int) -> Array:
    noise = gaussian_filter(np.random.default_rng(seed).normal(0, 1, SHAPE), 1.5)
    return (200 + 30 * noise / noise.std()).astype(np.float32)


def opened(layout: Layout, root: Path) -> Dataset:
    """The layout with three cases in it."""
    for case in (1, 2, 3):
        save(root / layout.image.format(case), scan(case))
        for name in (layout.label, *layout.beside):
            save(root / name.format(case), lesion())
    named = {"background": 0, "lesion": 1}
    description = {"training": [], "modality": {"0": "T1"}, "channel_names": {"0": "T1"}, "labels": named}
    if layout.kind == "msd":
        pairs = [{"image": layout.image.format(n), "label": layout.label.format(n)} for n in (1, 2, 3)]
        description |= {"training": pairs, "labels": {"0": "background", "1": "lesion"}}
    (root / "dataset.json").write_text(json.dumps(description))
    (root / "dataset_description.json").write_text("{}")
    entry = registry.entry("data", layout.kind)
    data: Dataset = entry.open(entry.params(root=root, **dict(layout.options)), layout.task, layout.labels)
    return data


def moved(path: Path) -> None:
    affine = AFFINE.copy()
    affine[1, 3] += 1.5
    save(path, lesion(), affine)


def mirrored(path: Path) -> None:
    """The same voxels along an axis that runs the other way: of the same shape, and of the other side of the head."""
    save(path, lesion(), np.diag([-1.0, 1, 2, 1]))


def coarser(path: Path) -> None:
    save(path, lesion(), np.diag([1.0, 1.0, 2.5, 1.0]))


def shorter(path: Path) -> None:
    save(path, lesion()[..., :-1])


GRIDS: list[tuple[Callable[[Path], None], str]] = [
    (moved, r"is 1\.50 mm off"), (mirrored, r"is \d+\.\d\d mm off"), (coarser, r"is \d+\.\d\d mm off"),
    (shorter, r"has 12 x 14 x 9 pixels, its image .* 12 x 14 x 10"),
]  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
@pytest.mark.parametrize(("spoil", "words"), GRIDS, ids=[spoil.__name__ for spoil, _ in GRIDS])
def test_a_label_file_on_another_grid(
    tmp_path: Path, layout: Layout, spoil: Callable[[Path], None], words: str
) -> None:
    data = opened(layout, tmp_path)
    spoil(tmp_path / layout.label.format(2))
    items = data.items()
    data.load(items[0])
    with pytest.raises(OffGridError, match=words) as caught:
        data.load(items[1])
    assert str(tmp_path / layout.label.format(2)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
@pytest.mark.parametrize("value", [9, -1, 0.5, np.nan])
def test_labels_outside_the_list(tmp_path: Path, layout: Layout, value: float) -> None:
    data = opened(layout, tmp_path)
    stored = lesion().astype(np.float32 if isinstance(value, float) else np.int16)
    stored[0, 0, 0] = value
    save(tmp_path / layout.label.format(2), stored)
    with pytest.raises(UserError) as caught:
        data.load(data.items()[1])
    said = str(caught.value)
    assert str(tmp_path / layout.label.format(2)) in said
    assert "\n" not in said
    words = {9: "9", -1: "-1", 0.5: "not whole numbers"}.get(value, "NaN")
    assert words in said


@pytest.mark.parametrize("layout", LAYOUTS, ids=NAMES)
def test_an_empty_mask_is_read_and_reported(tmp_path: Path, layout: Layout) -> None:
    data = opened(layout, tmp_path)
    save(tmp_path / layout.label.format(2), lesion() * 0)
    items = data.items()
    target = data.load(items[1]).target
    if isinstance(target, Objects):
        assert target.boxes.shape == (0, 6)
    else:
        assert not np.any(target)
        assert np.any(data.load(items[0]).target)
    found = audit(data, make_split(items, SplitSection(group="none", train=1, val=1, test=1)))
    told = [finding.image for finding in found.findings if finding.kind == "empty-mask"]
    assert told == [str(items[1].files.get("image", items[1].id))]


RECIPE = """
medzoo: 1
name: made
task: segment
labels: [background, lesion]
data:
  type: nifti-pairs
  root: {root}
  image: "{{case}}/scan.nii.gz"
  label: "{{case}}/label.nii.gz"
  allow_leaks: true
  split: {{group: case, train: 1, val: 1, test: 1}}
preprocess: {{host: [{{op: orient, to: RAS}}]}}
model: {{type: patch-cnn, channels: [4, 4], kernel: 3, patch: 5, hidden: 4, foreground: all}}
train: {{epochs: 1, steps_per_epoch: 2, batch: 8}}
metrics: [dice, hd95]
"""


def recipe(root: Path) -> Path:
    opened(LAYOUTS[0], root / "data")
    (root / "made.yaml").write_text(RECIPE.format(root=root / "data"))
    return root / "made.yaml"


@pytest.mark.parametrize("command", ["data", "train"])
def test_the_commands_name_the_file_and_leave_no_model(tmp_path: Path, command: str) -> None:
    path = recipe(tmp_path)
    for case in (1, 2, 3):  # whichever side it is on
        moved(tmp_path / "data" / str(case) / "label.nii.gz")
    out = ["-o", str(tmp_path / "model")] if command == "train" else ["--json"]
    done = subprocess.run([sys.executable, "-m", "medzoo", command, str(path), *out], capture_output=True, text=True)
    if command == "data":
        assert [f["kind"] for f in json.loads(done.stdout)["findings"]] == ["off-grid"] * 3
        return
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "label.nii.gz" in line]
    assert lines
    assert all("is 1.50 mm off the grid of its image" in line for line in lines), done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "model").glob("*.onnx"))


def test_an_empty_test_mask_has_no_dice_and_counts_in_no_metric(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    run = train(path, out=tmp_path / "model")
    (test,) = json.loads((run.folder / "split.json").read_text())["test"]
    save(tmp_path / "data" / Path(test).parent / "label.nii.gz", lesion() * 0)
    again = train(path, out=tmp_path / "again")
    figures = {figure["name"]: figure["value"] for figure in again.manifest["metrics"]["figures"]}
    answer = json.loads((again.folder / "evaluation.json").read_text())
    assert "NaN" not in (again.folder / "evaluation.json").read_text()
    # Nothing marked and nothing found is undefined; nothing marked and something found is wrong altogether.
    assert figures["dice"] in (None, 0.0)
    assert answer


def test_a_label_that_no_training_scan_holds_is_refused(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    for case in (1, 2, 3):
        save(tmp_path / "data" / str(case) / "label.nii.gz", lesion() * 0)
    with pytest.raises(UserError, match=r"made\.yaml: labels: no voxel of lesion is in any of the 1 training scans"):
        train(path, out=tmp_path / "model")
