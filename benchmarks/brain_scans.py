"""Both brain models on one real head, on the same head stored in another way, and on ventricles of maps left out.

    MEDZOO_DATA=../shared/data python -m benchmarks.brain_scans

Figures of no ranking: the real head is the average of 152 (MNI152, package nilearn), whose tissue maps are the
truth, beside k-means and Otsu's thresholds on the same voxels. Writes benchmarks/results/brain_scans.json, after
each part anew. `--slices N` cuts the real head to its N middle axial slices.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy.cluster.vq import kmeans2
from scipy.ndimage import affine_transform, binary_dilation
from skimage.filters import threshold_multiotsu

from benchmarks.record import record
from medzoo import load
from medzoo.data.generator.scan import Look, synthesise
from medzoo.data.generator.structures import byte_of
from medzoo.data.layouts.brain_generator import label_map
from medzoo.registry import entry
from medzoo.results import Segmentation
from medzoo.types import Array

TISSUES = ("csf", "grey-matter", "white-matter")
MODELS = ("brain-tissue", "brain-tissue-unet")
LEFT_OUT = ("training_seg_04", "training_seg_05", "training_seg_14")  # the test part of both models
VENTRICLES = (4, 5, 14, 15, 43, 44)
EDGE = 8  # slices at a cut end, which other slices of a turned scan know more about


def answer(model: str, array: Array, affine: Array) -> Array:
    result = load(Path("zoo") / model, device="cpu").predict(nib.Nifti1Image(array, affine))
    assert isinstance(result, Segmentation)
    return result.mask


def dice(one: Array, other: Array) -> dict[str, float]:
    return {
        name: round(2 * ((one == n) & (other == n)).sum() / ((one == n).sum() + (other == n).sum()), 4)
        for n, name in enumerate(TISSUES, start=1)
    }


def head(slices: int) -> tuple[Array, Array, Array]:
    """T1 of the average brain, its labels and its affine; `slices` in the middle, all where 0."""
    mni = entry("data", "mni152")
    image, labels = mni.open(mni.params(), "segment", ("background", *TISSUES)).volume
    array = np.asarray(image.array[0] * (labels > 0), np.float32)
    if slices:
        start = (array.shape[2] - slices) // 2
        array, labels = array[:, :, start : start + slices], labels[:, :, start : start + slices]
    return np.ascontiguousarray(array), labels, np.asarray(image.affine)


def by_grey_value(array: Array) -> Mapping[str, Array]:
    """Three classes inside the brain, by k-means and by Otsu's two thresholds."""
    inside = array > 0
    grey = array[inside].astype(np.float64)
    start = np.percentile(grey, [100 / 6, 50, 500 / 6])
    centres, _ = kmeans2(grey[::20, None], start[:, None], minit="matrix", iter=50)
    middle = np.sort(centres[:, 0])
    edges = {"k-means": (middle[1:] + middle[:-1]) / 2, "Otsu": threshold_multiotsu(grey, classes=3)}
    made = {}
    for name, pair in edges.items():
        made[name] = np.zeros(array.shape, np.uint8)
        made[name][inside] = 1 + np.digitize(grey, pair)
    return made


def turned(degrees: float, shift: float, shape: tuple[int, ...]) -> Array:
    """(4, 4) from voxels of a second scan to those of the first: about the third axis, and `shift` voxels along all."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    middle = (np.array(shape) - 1) / 2
    place = np.eye(4)
    place[:3, :3] = turn
    place[:3, 3] = middle - turn @ middle + shift
    return place


def resliced(array: Array, place: Array, *, order: int, cut: Array | None = None) -> Array:
    made = affine_transform(array, place[:3, :3], place[:3, 3], output_shape=array.shape, order=order)
    if cut is None:
        return made
    # An extraction's edge stays an edge: no values of the cubic spline around it.
    return np.maximum(made, 1e-3) * (affine_transform(cut, place[:3, :3], place[:3, 3], order=1) >= 0.5)


def rescans(model: str, array: Array, affine: Array, first: Array) -> dict[str, Any]:
    """Dice of the answers to the same head twice, on the first scan's grid."""
    found: dict[str, Any] = {}
    for name, degrees, shift in (
        ("half a voxel along each axis", 0.0, 0.5),
        ("5 degrees, a third of a voxel", 5, 1 / 3),
    ):
        place = turned(degrees, shift, array.shape)
        second = resliced(array, place, order=3, cut=(array > 0).astype(np.float32)) * 37.5
        mask = answer(model, second.astype(np.float32), affine @ place)
        # Likeliest label from both sides: nearest neighbours alone would cost as much as is to be measured.
        back, ceiling = (_returned(one, place) for one in (mask, _onto(first, place)))
        inner = (slice(None), slice(None), slice(EDGE, -EDGE))
        found[name] = {
            "dice": dice(back[inner], first[inner]),
            "of the first answer resliced to and fro": dice(ceiling[inner], first[inner]),
        }
    for axes in ("LPS", "IRA"):
        turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axes))
        )
        stored = nib.Nifti1Image(array, affine).as_reoriented(turn)
        mask = answer(model, np.asarray(stored.dataobj), stored.affine)
        back_turn = nib.orientations.ornt_transform(
            nib.orientations.io_orientation(stored.affine), nib.orientations.io_orientation(affine)
        )
        again = np.asarray(nib.Nifti1Image(mask, stored.affine).as_reoriented(back_turn).dataobj)
        found[f"stored as {axes}"] = {"voxels that differ": int((again != first).sum()), "dice": dice(again, first)}
    return found


def _onto(labels: Array, place: Array) -> Array:
    shares = [resliced((labels == n).astype(np.float32), place, order=1) for n in range(4)]
    return np.argmax(shares, axis=0).astype(np.uint8)


def _returned(labels: Array, place: Array) -> Array:
    return _onto(labels, np.linalg.inv(place))


def ventricles() -> dict[str, Any]:
    """Fluid within 3 voxels of the ventricles of maps left out, on T1-like scans of them that are not deformed."""
    found: dict[str, Any] = {model: {} for model in MODELS}
    for name in LEFT_OUT:
        labels, affine = label_map(Path(os.environ["MEDZOO_DATA"]) / "brain-labels" / f"{name}.nii.gz")
        truth = np.isin(labels, [byte_of(n) for n in VENTRICLES])
        hits = np.flatnonzero(truth.any(axis=(0, 1)))
        cut = (slice(None), slice(None), slice(max(0, hits[0] - EDGE), hits[-1] + EDGE))
        # Seed of a scan that is not mirrored.
        seed = next(n for n in range(99) if np.random.default_rng(n).random() >= 0.5)
        scan, _ = synthesise(labels, np.random.default_rng(seed), Look(deformation=0, thick=0))
        truth, scan = truth[cut], np.ascontiguousarray(scan[cut])
        other_fluid = labels[cut] == byte_of(24)
        near = binary_dilation(truth, iterations=3) & ~other_fluid
        for model in MODELS:
            fluid = (answer(model, scan, affine) == 1) & near
            both = (fluid & truth).sum()
            found[model][name] = {
                "dice": round(2 * both / (fluid.sum() + truth.sum()), 4),
                "share found": round(both / truth.sum(), 4),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--slices", type=int, default=0)
    slices = parser.parse_args().slices
    array, truth, affine = head(slices)
    results: dict[str, Any] = {"real head": {"shape": list(array.shape)}, "the same head twice": {}}
    for name, labels in by_grey_value(array).items():
        results["real head"][name] = dice(labels, truth)
    results["ventricles"] = ventricles()
    for model in reversed(MODELS):
        first = answer(model, array, affine)
        results["real head"][model] = dice(first, truth)
        results["the same head twice"][model] = rescans(model, array, affine, first)
        record("brain_scans", **results)


if __name__ == "__main__":
    main()
