"""Choices for volumes: orientation, spacing, values by modality, slices or patches, network and augmentations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medzoo.plan.draft import Draft
from medzoo.plan.fingerprint import Fingerprint
from medzoo.plan.pictures import cluster_ratios, cluster_sizes, names_a_side

_AXES = ("left to right", "back to front", "foot to head")
_THIN = 3.0  # ratio of spacings, or of sides, from which slices are learnt one by one (nnU-Net's rule)
_FEW_SLICES = 16
_VOXELS = 90_000  # of a patch that two cores take in about a second a step
_SAME = 1.1  # ratio of spacings that needs no resampling


def plan_volumes(draft: Draft, task: str, labels: Sequence[str], seen: Fingerprint, modality: str | None) -> None:
    """Set preprocess, model and train for volumes."""
    voxel, size = seen.voxel, seen.size
    spread = [max(s) / min(s) for s in zip(*seen.spacing, strict=True)]
    thin = max(voxel) / min(voxel) >= _THIN or (min(size) <= _FEW_SLICES and max(size) > 4 * min(size))
    axis = int(np.argmax(voxel)) if max(voxel) / min(voxel) >= _THIN else int(np.argmin(size))
    steps: list[dict[str, Any]] = [{"op": "orient", "to": "RAS"}]
    reasons = ["one orientation, whatever the files have"]
    target = voxel
    if max(spread) > _SAME and not (thin and task == "segment"):
        target = tuple(round(v, 3) for v in voxel)
        steps.append({"op": "spacing", "mm": list(target), "order": 3 if not thin else 1})
        words = ", ".join(
            f"{_AXES[k]} {min(s):.3g} to {max(s):.3g}" for k, s in enumerate(zip(*seen.spacing, strict=True))
        )
        reasons.append(f"spacing differs between scans ({words} mm): resampled to the median")
        size = tuple(round(n * s / t) for n, s, t in zip(size, voxel, target, strict=True))
    values, why = _values(seen, modality)
    steps.append(values)
    reasons.append(why)
    draft.set("preprocess.host", steps)
    for number, reason in enumerate(reasons):
        draft.reasons[f"preprocess.host[{number}]"] = reason
    if task == "detect":
        _detect(draft, labels, seen, axis if thin else 2)
        return
    mirrored = _mirrored(labels, seen)
    if thin:
        _slices(draft, seen, size, axis, mirrored)
    else:
        _patches(draft, size, target, seen, mirrored)


def _values(seen: Fingerprint, modality: str | None) -> tuple[dict[str, Any], str]:
    """The host step that scales values, by what they mean."""
    words = f"{modality or ''} {seen.modality}".lower()
    low = seen.percentiles("values", 0.5)[0]
    mr = any(word in words.replace(",", " ").split() for word in ("mr", "mri", "t1", "t2", "flair", "t1w", "t2w"))
    if "ct" in words.replace(",", " ").split() or (not mr and "pet" not in words and low < -500):
        low, high = seen.percentiles("inside", 0.5, 99.5)
        centre, whole = round((low + high) / 2), max(1, round(high - low))
        return (
            {"op": "window", "centre": centre, "width": whole},
            f"CT: Hounsfield units mean the same everywhere; a window about what is labelled ({low:.0f} to {high:.0f})",
        )
    if "pet" in words or seen.modality == "PT":
        if seen.modality == "PT":
            return {"op": "suv"}, "PET: activity by body weight and dose"
        high = seen.percentiles("values", 99.9)[0]
        width = float(f"{max(high, 1e-6):.3g}")
        return (
            {"op": "window", "centre": width / 2, "width": width},
            "PET: values mean the same everywhere, from 0 to the 99.9th percentile",
        )
    empty = float(np.median(seen.zeros))
    where = "nonzero" if empty > 0.15 else "all"
    why = (
        f"{100 * empty:.0f} % of the voxels are exactly 0 and count as outside"
        if where == "nonzero"
        else "no blank border"
    )
    return {"op": "zscore", "where": where}, f"no fixed unit: each scan by its own mean and deviation ({why})"


def _mirrored(labels: Sequence[str], seen: Fingerprint) -> tuple[list[int], str]:
    """Axes whose mirroring keeps what labels mean, of the prepared volume; and why."""
    named = names_a_side(labels)
    if named is not None:
        return [], f"no axis is mirrored: {named!r} has a side"
    directed, why = seen.has_direction(0)
    if directed:
        return [], f"no axis is mirrored, left to right: {why}"
    return [0], f"mirrored from left to right: {why}"


def _slices(draft: Draft, seen: Fingerprint, size: Sequence[int], axis: int, mirrored: tuple[list[int], str]) -> None:
    plane = ("sagittal", "coronal", "axial")[axis]
    draft.set("model.type", "unet")
    draft.set(
        "model.dims", 2, f"{size[axis]} slices {_AXES[axis]} are too few or too far apart for a network of volumes"
    )
    draft.set("model.plane", plane)
    draft.set("model.inputs", seen.channels)
    draft.set("model.channels", [16, 32, 64, 128, 128])
    rest = [n for k, n in enumerate(size) if k != axis]
    crop = int(np.clip(min(rest) // 16 * 16, 32, 160))
    draft.set("model.crop", crop, f"slices are {' x '.join(map(str, rest))}")
    draft.set("model.components", "validation", "rules on connected parts are kept where they raise Dice on validation")
    _train(draft, batch=8, lr=2e-3, weight_decay=1e-4)
    # Axes of a slice: the first one is left to right unless the slices are sagittal.
    axes = [0] if mirrored[0] and axis != 0 else []
    _augment(draft, axes, mirrored[1])


def _patches(
    draft: Draft,
    size: Sequence[int],
    spacing: Sequence[float],
    seen: Fingerprint,
    mirrored: tuple[list[int], str],
) -> None:
    patch = plan_patch(size, spacing)
    levels = 1
    while levels < 5 and all(side % 2**levels == 0 and side // 2**levels >= 4 for side in patch):
        levels += 1
    widths = [16, 32, 64, 128, 160][:levels]
    draft.set("model.type", "residual-unet")
    why = f"scans are {' x '.join(map(str, size))} in the middle; {_VOXELS:,} voxels are what two cores take"
    draft.set("model.patch", patch, why)
    draft.set("model.spacing", [round(float(s), 3) for s in spacing], "coarse axes are pooled later")
    draft.set("model.inputs", seen.channels)
    draft.set("model.channels", widths)
    if mirrored[0]:
        draft.set("model.mirror", mirrored[0])
    draft.set("model.components", "validation", "rules on connected parts are kept where they raise Dice on validation")
    _train(draft, batch=2, lr=2e-3, weight_decay=1e-3, schedule="poly")
    _augment(draft, mirrored[0], mirrored[1], volume=True)


def plan_patch(size: Sequence[int], spacing: Sequence[float]) -> list[int]:
    """Sides of a patch: those of the scan, the longest in millimetres shortened until it is small enough (as nnU-Net
    does), then whole multiples of 8."""
    patch = [max(16, -(-n // 8) * 8) for n in size]
    while np.prod(patch) > _VOXELS:
        lengths = [n * s if n > 16 else 0.0 for n, s in zip(patch, spacing, strict=True)]
        place = int(np.argmax(lengths))
        if lengths[place] == 0:
            break
        patch[place] -= 8
    return patch


def _detect(draft: Draft, labels: Sequence[str], seen: Fingerprint, axis: int) -> None:
    from medzoo.plan.pictures import _backbone

    draft.set("model.type", "region-cnn")
    _backbone(draft, deep=False)
    draft.set("model.channels", seen.channels)
    draft.set("model.slices", 3, "a slice is seen with its two neighbours")
    draft.set("model.axis", axis)
    windowed = any(step["op"] == "window" for step in draft.fields["preprocess.host"])
    draft.set("model.mean", 0.5 if windowed else 0)
    draft.set("model.std", 0.5 if windowed else 2)
    height, width = (n for k, n in enumerate(seen.size) if k != axis)
    longer = int(np.clip(-(-max(height, width) // 32) * 32, 128, 320))
    scale = longer / max(height, width)
    draft.set("model.size", [max(32, round(side * scale / 32) * 32) for side in (height, width)])
    others = [k for k in range(3) if k != axis]
    boxes = np.concatenate(seen.boxes) if seen.boxes else np.zeros((0, 6))
    first, second = (np.maximum(boxes[:, k + 3] - boxes[:, k], 1e-3) for k in others)
    sides = np.sqrt(first * second) * scale * 0.8  # slices beside the middle one show less of an object
    draft.set("model.strides", [4, 8, 16])
    draft.set(
        "model.anchor_sizes", cluster_sizes(sides, levels=3, each=2), f"clusters of {len(boxes)} boxes, in slices"
    )
    draft.set("model.anchor_ratios", cluster_ratios(second / first))
    for name, value in {"pyramid": 64, "hidden": 128, "train_candidates": 200, "train_regions": 100}.items():
        draft.set(f"model.{name}", value)
    draft.set("model.candidates", 60)
    draft.set("model.regions", 60)
    draft.set("model.detections", 40)
    _train(draft, batch=8, lr=1e-3, weight_decay=0.03)
    mirrored = _mirrored(labels, seen)
    draft.set(
        "train.augment", [{"op": "affine", "rotate": 0, "translate": 0.1, "scale": 0.2, "stretch": 0.1}], mirrored[1]
    )


def _augment(draft: Draft, axes: Sequence[int], why: str, *, volume: bool = False) -> None:
    steps: list[dict[str, Any]] = [
        {"op": "affine", "rotate": 15, "scale": 0.2, "translate": 0.0, "stretch": 0.1, "share": 0.5},
        {"op": "intensity", "contrast": 0.25, "brightness": 0.1, "share": 0.3},
        {"op": "blur", "sigma": 1.0, "share": 0.15},
        {"op": "noise", "sigma": 0.1, "share": 0.15},
        {"op": "gamma", "strength": 0.4, "share": 0.3},
    ]
    if volume:
        steps.insert(2, {"op": "low-resolution", "share": 0.15})
    if axes:
        steps.append({"op": "mirror", "axes": list(axes)})
    draft.set("train.augment", steps, why)


def _train(draft: Draft, *, batch: int, lr: float, weight_decay: float, schedule: str = "cosine") -> None:
    draft.set("train.steps_per_epoch", 50, "an epoch of drawn crops has no natural end")
    draft.set("train.batch", batch)
    draft.set("train.lr", lr)
    draft.set("train.weight_decay", weight_decay)
    if schedule != "cosine":
        draft.set("train.schedule", schedule)
    draft.set("train.warmup", 50)
    draft.set("train.clip", 12.0 if schedule == "poly" else 5.0)
