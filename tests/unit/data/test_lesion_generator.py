"""FLAIR-like scans with lesions: where lesions lie, what they look like, and what a detector is handed of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydantic import ValidationError
from scipy.ndimage import distance_transform_edt, label

from medzoo import registry
from medzoo.data.dataset import Dataset, Objects
from medzoo.data.generator.artefacts import add_smooth_noise
from medzoo.data.generator.contrast import draw_contrast
from medzoo.data.generator.lesions import PERIVENTRICULAR, draw_lesions
from medzoo.data.generator.mimics import add_mimics
from medzoo.data.generator.scan import Look, synthesise
from medzoo.data.generator.structures import LESION, compact, tissues
from medzoo.data.objects import component_boxes
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.inputs.slice_scenes import SliceScenes
from medzoo.nn.net import Geometry
from medzoo.recipe.split import SplitSection

FLAIR = Look(contrast="flair-like", lesions=(20, 60), resampled=0.7)
PLAIN = replace(FLAIR, deformation=0, bias=0, gamma=0, noise=0, blur=(0.01, 0.02), thick=0, bites=0)


def head(shape: tuple[int, int, int] = (80, 88, 72)) -> np.ndarray:
    """Shells in FreeSurfer's numbers, with two lateral ventricles beside the middle and a brain stem below."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    labels = np.zeros(shape, np.int32)
    for outer, number in ((0.98, 511), (0.93, 515), (0.88, 24), (0.82, 3), (0.72, 2)):
        labels[radius < outer] = number
    labels[(radius < 0.72) & (grid[2] < -0.5)] = 16
    for side, number in ((-0.12, 4), (0.12, 43)):
        labels[((grid[0] - side) / 0.09) ** 2 + (grid[1] / 0.4) ** 2 + (grid[2] / 0.2) ** 2 < 1] = number
    right = grid[0] > 0
    for left, other in ((3, 42), (2, 41)):
        labels[right & (labels == left)] = other
    return labels


@pytest.mark.parametrize("seed", range(20))
def test_flair_like_contrast_keeps_the_order_of_the_tissues(seed: int) -> None:
    means, spread = draw_contrast(np.random.default_rng(seed), "flair-like")
    cortex, white = means[[3, 42]], means[[2, 41]]
    assert means[[4, 43, 24]].max() < white.min() - 0.3
    assert white.max() < cortex.min() - 0.05
    assert means[25] == pytest.approx(white.mean(), abs=0.06)  # lesions of the label maps are none of ours
    assert (spread > 0).all()


@pytest.mark.parametrize("seed", range(6))
def test_lesions_lie_in_solid_tissue_and_shine_where_their_mask_says(seed: int) -> None:
    labels = compact(head())
    glow, mask = draw_lesions(labels, np.random.default_rng(seed), count=(40, 40))
    assert set(np.unique(labels[mask])) <= {2, 41, 16, 3, 42}
    assert np.isin(labels[mask], [2, 41, 16]).mean() > 0.7
    assert glow[mask].min() > 0.03
    assert not glow[np.isin(labels, [0, 4, 43, 24])].any()
    assert glow[mask].mean() > 5 * glow[~mask].mean()


def test_there_are_as_many_as_requested_and_most_are_small() -> None:
    labels = compact(head((112, 120, 104)))
    few = [
        label(draw_lesions(labels, np.random.default_rng(s), count=(5, 5))[1], np.ones((3, 3, 3))) for s in range(12)
    ]
    many = label(draw_lesions(labels, np.random.default_rng(0), count=(60, 60))[1], np.ones((3, 3, 3)))
    assert 3 <= np.median([count for _, count in few]) <= 8
    assert many[1] > 25  # some run together
    sizes = np.concatenate([np.bincount(numbers.ravel())[1:] for numbers, _ in few])
    assert np.median(sizes) < 150
    assert sizes.max() > 4 * np.median(sizes)


def test_the_number_is_sampled_between_its_bounds() -> None:
    labels = compact(head((64, 64, 64)))
    covered = [draw_lesions(labels, np.random.default_rng(s), count=(1, 80))[1].mean() for s in range(16)]
    assert max(covered) > 8 * min(covered)


def test_every_kind_of_place_has_lesions_and_the_ventricles_have_most() -> None:
    labels = compact(head((112, 120, 104)))
    distance = distance_transform_edt(~np.isin(labels, [4, 43]))
    white = np.isin(labels, [2, 41])
    cortex = distance_transform_edt(~np.isin(labels, [3, 42]))
    held = np.zeros(3)
    room = np.array([(white & (distance < PERIVENTRICULAR)).sum(), (white & (cortex < 3)).sum(), (labels == 16).sum()])
    for seed in range(8):
        _, mask = draw_lesions(labels, np.random.default_rng(seed), count=(40, 40))
        held += [
            (mask & white & (distance < PERIVENTRICULAR)).sum(),
            (mask & (cortex < 3)).sum(),
            mask[labels == 16].sum(),
        ]
    assert (held > 0).all()
    assert held[0] / room[0] > 3 * held[1] / room[1]


def test_lesions_without_white_matter_are_none() -> None:
    labels = np.where(np.isin(head((32, 32, 32)), [2, 41, 16]), 10, head((32, 32, 32)))
    glow, mask = draw_lesions(compact(labels), np.random.default_rng(0), count=(10, 10))
    assert not glow.any()
    assert not mask.any()


def test_a_scan_with_lesions_is_a_function_of_its_seed_and_shows_them_bright() -> None:
    labels = compact(head())
    one, again, other = (synthesise(labels, np.random.default_rng(s), FLAIR) for s in (1, 1, 2))
    assert np.array_equal(one[0], again[0])
    assert np.array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])
    for seed in range(4):
        scan, target = synthesise(labels, np.random.default_rng(seed), PLAIN)
        fluid, grey, white, lesion = (scan[target == tissue].mean() for tissue in (1, 2, 3, LESION))
        assert fluid < white < grey
        assert lesion > white + 10
        assert (scan[target == LESION] > 0).all()


def test_a_scan_without_lesions_has_none() -> None:
    _, target = synthesise(compact(head((40, 44, 36))), np.random.default_rng(0), replace(FLAIR, lesions=None))
    assert not (target == LESION).any()


def test_mimics_brighten_walls_and_septum_and_leave_what_is_outside() -> None:
    labels = head()
    labels[np.abs(np.arange(labels.shape[0]) - 39.5) < 1] = np.where(
        labels[39:41] == 4, 2, np.where(labels[39:41] == 43, 41, labels[39:41])
    )
    labels = compact(labels)
    distance = distance_transform_edt(~np.isin(labels, [4, 43]))
    white = np.isin(labels, [2, 41])
    walls = []
    for seed in range(8):
        scan = np.ones(labels.shape, np.float32)
        add_mimics(scan, labels, tissues()[labels], np.random.default_rng(seed))
        assert (scan[np.isin(labels, [0, 111, 115])] == 1).all()
        walls.append(scan[white & (distance <= 1)].mean() - scan[white & (distance > 12)].mean())
    assert min(walls) > -0.01
    assert 0.02 < np.mean(walls) < 0.4


def test_smooth_noise_has_the_given_deviation_and_neighbours_share_it() -> None:
    image = np.full((48, 48, 48), 1.0, np.float32)
    for seed in range(4):
        noise = add_smooth_noise(image, np.random.default_rng(seed), noise=0.05) - 1
        assert noise.std() == pytest.approx(0.05, rel=0.12)
        assert np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1] > 0.1


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    for n in range(2):
        nib.save(nib.Nifti1Image(np.roll(head(), n, axis=1), np.eye(4)), tmp_path / f"seg_{n}.nii.gz")
    return tmp_path


def opened(root: Path, *, task: str = "detect", labels: tuple[str, ...] = ("lesion",), **options: object) -> Dataset:
    entry = registry.entry("data", "brain-generator")
    chosen = {"contrast": "flair-like", "lesions": (20, 40), **options}
    data: Dataset = entry.open(entry.params(root=root, **chosen), task, labels)
    return data


def test_a_detector_is_handed_the_boxes_of_connected_lesions(maps: Path) -> None:
    data = opened(maps)
    sample = data.load(data.items()[0])
    assert isinstance(sample.target, Objects)
    assert sample.mask is not None
    assert np.array_equal(sample.target.boxes, component_boxes(sample.mask))
    assert len(sample.target.boxes) > 5
    assert not sample.target.labels.any()
    assert (sample.image.array[0][sample.mask > 0] > 0).all()
    large = opened(maps, smallest_mm3=30)
    boxes = large.load(large.items()[0]).target.boxes  # type: ignore[union-attr]
    assert 0 < len(boxes) < len(sample.target.boxes)


def test_a_segmentation_has_lesions_as_one_more_label(maps: Path) -> None:
    names = ("background", "csf", "grey-matter", "white-matter", "lesion")
    data, found = opened(maps, task="segment", labels=names), opened(maps)
    target = data.load(data.items()[0]).target
    mask = found.load(found.items()[0]).mask
    assert mask is not None
    assert np.array_equal(target == LESION, mask > 0)
    with pytest.raises(UserError, match="labels"):
        opened(maps, task="segment", labels=names[:4])


def test_variants_of_one_label_map_are_learned_from_as_scans_of_their_own(maps: Path) -> None:
    data = opened(maps, variants=2)
    items = [item for item in data.items() if item.groups["subject"] == "seg_0"]
    geometry = Geometry(dims=2, slices=3, axis=2, foreground="nonzero")
    scenes = SliceScenes(data, items, (), geometry=geometry, labels=1, size=(64, 64))
    for item in items:
        sample = data.load(item)
        index = [scene.id for scene in scenes.items].index(f"{item.id}#40")
        assert np.array_equal(scenes.stored(index).array[1], sample.image.array[0, :, :, 40])


def test_real_scans_are_the_test_part_and_are_read_as_they_are(maps: Path, tmp_path: Path) -> None:
    folder = tmp_path / "real" / "patient07"
    folder.mkdir(parents=True)
    scan = np.random.default_rng(0).uniform(1, 2, (20, 22, 18)).astype(np.float32)
    lesions = np.zeros(scan.shape, np.uint8)
    lesions[4:7, 5:9, 6:8], lesions[12, 12, 12] = 1, 1
    nib.save(nib.Nifti1Image(scan, np.eye(4)), folder / "flair.nii.gz")
    nib.save(nib.Nifti1Image(lesions, np.eye(4)), folder / "lesions.nii.gz")
    real = {"root": folder.parent, "image": "{patient}/flair.nii.gz", "label": "{patient}/lesions.nii.gz"}
    data = opened(maps, real=real, smallest_mm3=2)
    split = make_split(data.items(), SplitSection(group="subject", given=True, val=1))
    assert split.test == ("patient07/flair.nii.gz",)
    assert len(split.train) == len(split.val) == 2
    item = next(item for item in data.items() if item.id in split.test)
    sample = data.load(item)
    assert np.allclose(sample.image.array[0], scan)
    assert sample.target.boxes.tolist() == [[4, 5, 6, 7, 9, 8]]  # type: ignore[union-attr]


def test_slabs_of_real_scans_are_learned_from_beside_synthetic_ones_and_the_named_ones_tested(
    maps: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "real" / "patient07"
    folder.mkdir(parents=True)
    scan = np.random.default_rng(0).uniform(1, 2, (20, 22, 18)).astype(np.float32)
    for name, array in {"flair": scan, "lesions": (scan > 1.9).astype(np.uint8)}.items():
        nib.save(nib.Nifti1Image(array, np.eye(4)), folder / f"{name}.nii.gz")
    real = {"root": folder.parent, "image": "{patient}/flair.nii.gz", "label": "{patient}/lesions.nii.gz"}
    data = opened(maps, real={**real, "slabs": 3, "gap": 1, "test": [1], "repeat": 4})
    found = [item for item in data.items() if item.id.startswith("patient07")]
    assert [item.id for item in found if item.part == "test"] == ["patient07/flair.nii.gz#1"]
    learned = [item for item in found if item.part == "train"]
    assert len({item.id for item in learned}) == 8  # two slabs, four times each
    # Every copy is the same slab, and belongs with the others.
    assert {item.groups["subject"] for item in learned} == {"patient07/flair.nii.gz#0", "patient07/flair.nii.gz#2"}
    for item in learned[:4]:
        assert np.array_equal(data.load(item).image.array[0], scan[..., :5])


@pytest.mark.parametrize("chosen", [{"test": [0]}, {"slabs": 3, "test": [3]}, {"slabs": 3, "test": [-1]}])
def test_slabs_to_test_that_are_not_there(maps: Path, chosen: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="test must name"):
        opened(maps, real={"root": maps, "image": "{a}.nii.gz", "label": "{a}.nii.gz", **chosen})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"lesions": None}, "nothing to detect"),
        ({"renew": 2}, r"data\.renew"),
        ({"labels": ("tumour",)}, "must be lesion"),
    ],
)
def test_what_a_detector_cannot_learn_from_is_refused(maps: Path, options: dict[str, object], text: str) -> None:
    with pytest.raises(UserError, match=text):
        opened(maps, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"contrast": "t1-like"}, {"lesions": (9, 3)}, {"lesions": (0, 3)}, {"blur": (1.0, 0.5)}]
)
def test_settings_that_cannot_be(maps: Path, options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        opened(maps, **options)  # type: ignore[arg-type]
