from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medzoo import registry
from medzoo.data.generator.contrast import draw_contrast
from medzoo.data.generator.scan import Look, synthesise
from medzoo.data.generator.structures import TISSUE_NUMBERS, compact, tissues, within_brain
from medzoo.data.generator.tissue import paint
from medzoo.data.generator.warp import deform, smooth_field
from medzoo.data.layouts import brain_generator
from medzoo.data.layouts.brain_generator import BrainGenerator, label_map
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.inputs.volumes import Volume, at_epoch, load_volumes
from medzoo.nn.net import Geometry
from medzoo.recipe.split import SplitSection

LABELS = ["background", "csf", "grey-matter", "white-matter"]
PLAIN = Look(deformation=0, bias=0, gamma=0, noise=0, blur=(0.01, 0.02), thick=0, bites=0)


def head(shape: tuple[int, int, int] = (40, 44, 36)) -> np.ndarray:
    """Shells in FreeSurfer's numbers: white, cortex, fluid, bone, skin; a ventricle and a thalamus inside."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    labels = np.zeros(shape, np.int32)
    for outer, number in ((0.95, 511), (0.85, 515), (0.75, 24), (0.65, 3), (0.5, 2), (0.25, 10), (0.12, 4)):
        labels[radius < outer] = number
    right = grid[0] > 0
    for left, other in ((3, 42), (2, 41), (10, 49), (4, 43)):
        labels[right & (labels == left)] = other
    return labels


def test_every_number_of_the_table_goes_to_its_tissue_and_all_others_to_the_background() -> None:
    table = tissues()
    named = {number: tissue for tissue, numbers in TISSUE_NUMBERS.items() for number in numbers}
    for number in [*range(256), *range(500, 531)]:
        byte = int(compact(np.array([number]))[0])
        assert table[byte] == named.get(number, 0), number
        assert within_brain()[byte] == (0 < number < 500 and not 100 <= number <= 134), number
    with pytest.raises(ValueError, match="label numbers"):
        compact(np.array([300]))


def test_the_numbers_of_the_real_label_maps_are_told_apart(shared_data: Path) -> None:
    path = shared_data / "brain-labels" / "training_seg_02.nii.gz"
    counts = np.bincount(np.asarray(nib.load(path).dataobj).astype(np.int16).ravel(), minlength=600)
    labels, affine = label_map(path)
    assert np.allclose(affine[:3, :3], np.eye(3))
    held = np.bincount(tissues()[labels].ravel())
    assert held[2] == counts[list(TISSUE_NUMBERS[2])].sum()
    assert held[3] == counts[list(TISSUE_NUMBERS[3])].sum()


@pytest.mark.parametrize("seed", range(20))
def test_t1_like_contrast_keeps_the_order_of_the_tissues(seed: int) -> None:
    means, spread = draw_contrast(np.random.default_rng(seed), "t1-like")
    cortex, white = means[[3, 42]], means[[2, 41]]
    assert means[[4, 43, 24]].max() < cortex.min() - 0.1
    assert cortex.max() < white.min() - 0.1
    assert (means >= 0).all()
    assert (spread > 0).all()


def test_random_contrast_has_every_order() -> None:
    orders = set()
    for seed in range(60):
        means, _ = draw_contrast(np.random.default_rng(seed), "random")
        assert means[3] == means[42]
        orders.add(tuple(np.argsort(means[[24, 3, 2]])))
    assert len(orders) == 6


def test_a_scan_is_a_function_of_its_seed() -> None:
    labels = compact(head())
    one, again, other = (synthesise(labels, np.random.default_rng(s), Look()) for s in (1, 1, 2))
    assert np.array_equal(one[0], again[0])
    assert np.array_equal(one[1], again[1])
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("seed", range(6))
def test_without_artefacts_the_tissues_have_the_sampled_means(seed: int) -> None:
    labels = compact(head())
    scan, target = synthesise(labels, np.random.default_rng(seed), PLAIN)
    fluid, grey, white = (scan[target == tissue].mean() for tissue in (1, 2, 3))
    assert fluid < grey < white
    assert white == pytest.approx(100, abs=8)
    assert scan.dtype == np.float32
    assert target.dtype == np.uint8


def test_extraction_takes_the_head_away_and_leaves_the_tissue_whole() -> None:
    labels = compact(head())
    tissue = tissues()[labels]
    for seed in range(8):
        scan, target = synthesise(labels, np.random.default_rng(seed), PLAIN)
        flipped = target if np.array_equal(target > 1, tissue > 1) else target[::-1]
        assert np.array_equal(flipped > 1, tissue > 1)
        assert (scan[target > 0] > 0).all()
        assert (scan == 0).mean() > 0.6
        bitten, _ = synthesise(labels, np.random.default_rng(seed), replace(PLAIN, bites=1.0))
        lost = (bitten == 0) & (scan > 0)
        assert lost.sum() < 0.25 * (scan > 0).sum()
        whole, complete = synthesise(labels, np.random.default_rng(seed), Look(whole_head=1.0))
        assert (whole > 0).all()
        assert (complete == 1).sum() >= (target == 1).sum() * 0.5


def test_deformation_bends_but_keeps_the_structures() -> None:
    labels = compact(head((60, 64, 56)))
    bent = deform(labels, np.random.default_rng(3), amount=1.0)
    assert set(np.unique(bent)) <= set(np.unique(labels))
    assert (bent != labels).mean() > 0.02
    for byte in np.unique(labels):
        assert 0.5 < (bent == byte).sum() / (labels == byte).sum() < 2
    assert deform(labels, np.random.default_rng(3), amount=0) is labels


def test_smooth_fields_are_smooth_and_of_the_given_strength() -> None:
    fields = np.stack([smooth_field(np.random.default_rng(s), (48, 40, 44), spacing=12) for s in range(12)])
    assert np.abs(np.diff(fields, axis=1)).max() < 0.6
    assert 0.4 < fields.std() < 1.1
    assert abs(fields.mean()) < 0.15


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    for n in range(5):
        labels = np.roll(head(), n, axis=1)[:, ::-1].astype(np.int32)  # stored to the posterior: LPS-like
        nib.save(nib.Nifti1Image(labels, np.diag([1.0, -1.0, 1.0, 1.0])), tmp_path / f"seg_{n}.nii.gz")
    return tmp_path


def opened(root: Path, **options: object) -> BrainGenerator:
    entry = registry.entry("data", "brain-generator")
    data: BrainGenerator = entry.open(entry.params(root=root, **options), "segment", LABELS)
    return data


def test_items_are_maps_times_variants_and_maps_are_never_divided(maps: Path) -> None:
    items = opened(maps, variants=3).items()
    assert len(items) == len({item.id for item in items}) == 15
    split = make_split(items, SplitSection(group="subject", train=3, val=1, test=1))
    subject = {item.id: item.groups["subject"] for item in items}
    sides = [{subject[name] for name in part} for part in (split.train, split.val, split.test)]
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]


def test_an_item_is_the_same_scan_every_time_and_in_ras(maps: Path) -> None:
    one, two = opened(maps), opened(maps)
    item = one.items()[1]
    first, again = one.load(item), two.load(item)
    assert np.array_equal(first.image.array, again.image.array)
    assert first.image.affine is not None
    assert np.allclose(first.image.affine[:3, :3], np.eye(3))
    assert first.image.array.shape[1:] == first.target.shape
    other = opened(maps, seed=1).load(item)
    assert not np.array_equal(first.image.array, other.image.array)


def test_what_every_run_begins_with_is_kept_and_is_what_was_made(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"geometry": Geometry(foreground="nonzero"), "labels": 4, "seed": 0}

    def begun() -> list[Volume]:
        data = opened(maps, renew=2)
        return list(load_volumes(data, data.items()[:3], (), **options))  # type: ignore[arg-type]

    monkeypatch.setenv("MEDZOO_CACHE", "")
    made = begun()
    monkeypatch.setenv("MEDZOO_CACHE", str(tmp_path / "cache"))
    first = begun()
    assert list((tmp_path / "cache").glob("*/*.npy"))
    monkeypatch.setattr(brain_generator, "synthesise", lambda *_: pytest.fail("made again"))
    for volumes in (first, begun()):
        for one, other in zip(made, volumes, strict=True):
            assert one.array.tobytes() == other.array.tobytes()
            assert one.target.tobytes() == other.target.tobytes()
            assert all(np.array_equal(a, b) for a, b in zip(one.places, other.places, strict=True))


def test_some_scans_are_new_in_each_epoch_and_a_resumed_run_has_the_same(maps: Path) -> None:
    data = opened(maps, renew=2)
    items = data.items()[:5]
    assert [i.facts for i in data.items_at_epoch(items, 0)] == [i.facts for i in items]
    fresh = [
        sum(
            a.facts != b.facts
            for a, b in zip(data.items_at_epoch(items, e), data.items_at_epoch(items, e + 1), strict=True)
        )
        for e in range(10)
    ]
    assert fresh == [2] * 10
    geometry = Geometry(foreground="nonzero")
    options = {"geometry": geometry, "labels": 4, "seed": 0}
    steady = load_volumes(data, items, (), **options)  # type: ignore[arg-type]
    before = [volume.array for volume in steady]
    for epoch in range(1, 4):
        at_epoch(steady, epoch)
    late = at_epoch(load_volumes(data, items, (), **options), 3)  # type: ignore[arg-type]
    assert all(np.array_equal(a.array, b.array) for a, b in zip(steady, late, strict=True))
    assert sum(np.array_equal(a, b.array) for a, b in zip(before, steady, strict=True)) == 0


def test_folders_and_files_that_hold_no_label_maps(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no label map"):
        opened(tmp_path).items()
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 7777, np.int32), np.eye(4)), tmp_path / "a.nii.gz")
    data = opened(tmp_path)
    with pytest.raises(UserError, match=r"a\.nii\.gz.*label numbers"):
        data.load(data.items()[0])
    nib.save(nib.Nifti1Image(np.full((4, 4, 4), 24, np.int32), np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="neither grey nor white"):
        label_map(tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match="labels"):
        BrainGenerator(data.params, "segment", LABELS[:2])


def test_what_has_no_tissue_inside_the_brain_is_not_scored_and_not_taught_as_background(tmp_path: Path) -> None:
    labels = head()
    labels[18:22, 20:24, 16:20] = 25
    nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / "seg.nii.gz")
    data = opened(tmp_path, deformation=0)
    sample = data.load(data.items()[0])
    assert (sample.target == 255).sum() == 64
    volumes = load_volumes(data, data.items()[:1], (), geometry=Geometry(foreground="nonzero"), labels=4, seed=0)
    places = np.concatenate(volumes[0].places)
    assert not (volumes[0].target.ravel()[places] == 255).any()


def test_no_voxel_within_an_extracted_brain_is_zero() -> None:
    labels = compact(head())
    noisy = replace(Look(), noise=0.5)
    for seed in range(4):
        scan, target = synthesise(labels, np.random.default_rng(seed), noisy)
        assert (scan[target > 0] > 0).all()


def test_grey_and_white_matter_pass_into_each_other_and_fluid_keeps_its_own_intensity() -> None:
    labels = compact(head((60, 64, 56)))
    target = tissues()[labels]
    means, none = draw_contrast(np.random.default_rng(0), "t1-like")[0], np.zeros(256, np.float32)
    narrowed = []
    for seed in range(6):
        scan = paint(labels, target, means, none, np.random.default_rng(seed))
        assert np.array_equal(scan[target == 1], means[labels][target == 1])
        narrowed.append(scan[labels == 2].mean() - scan[labels == 3].mean())
    assert 0.5 * (means[2] - means[3]) < np.mean(narrowed) < means[2] - means[3]
