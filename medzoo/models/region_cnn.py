"""`region-cnn`: proposals, regions, a head (Faster R-CNN with a feature pyramid), NMS inside the graph.

Knows the room nn. Every shape past the canvas is fixed but the batch, so the graph exports whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from medzoo.inputs.canvas import fit_canvas
from medzoo.inputs.detection import DetectionInput
from medzoo.metrics.detect import Boxes
from medzoo.nn.backbone import Backbone, FeaturePyramid, detector_state, start_from
from medzoo.nn.detection.border import BorderCurve, border_closeness
from medzoo.nn.detection.boxes import (
    Weights,
    clip,
    decode,
    encode,
    large_enough,
    mirror_boxes,
    mirror_deltas,
    mirror_picture,
)
from medzoo.nn.detection.detector import Detector, Judged, hits_of
from medzoo.nn.detection.heads import POOL, MaskHead, RegionHead, mask_loss, mask_of_class, mask_targets
from medzoo.nn.detection.postprocess import postprocess
from medzoo.nn.detection.proposals import SMOOTH, ProposalNetwork
from medzoo.nn.detection.region_cnn_params import STAGES, RegionCnnParams
from medzoo.nn.detection.rois import pool_regions
from medzoo.nn.detection.sampling import jitter, match, sample
from medzoo.nn.net import Entry, Geometry, Spec
from medzoo.nn.steps import build_steps


class RegionCnn(Detector):
    """Faster R-CNN (Ren et al. 2015) on a feature pyramid (Lin et al. 2017), of fixed shapes.

    With more than one of `stages` it is a Cascade R-CNN (Cai and Vasconcelos 2018): every head judges and moves
    the boxes of the one before it, and learns from regions that overlap an object more; the class is that of
    the heads' mean.

    With `tta` every region of the picture is classified in its mirrored copies too, and moved by the mean.

    With `calibrate` a score is the chance that validation pictures give a box of that score, as close to the border.

    `forward` takes images (B, C, H, W) of stored values and gives boxes in their pixels; see `Net`. The
    images are fitted into the canvas first, then the graph steps run, so that training on pictures that
    were fitted beforehand (`medzoo.inputs.canvas.fit_canvas`) sees what prediction sees.
    """

    def __init__(self, params: RegionCnnParams, spec: Spec) -> None:
        super().__init__()
        self.params, self.classes = params, len(spec.labels)
        self.training_input = DetectionInput(size=params.size, masks=params.mask is not None, part=params.part)
        self.false_positives = params.false_positives
        self.geometry = Geometry(
            dims=2, channels=params.channels, slices=params.slices, axis=params.axis, margin=None, tile=params.tile
        )
        self.steps = build_steps(spec.steps)
        trained = None if params.weights is None else detector_state(params.weights, params.backbone)
        self.backbone = Backbone(
            params.backbone,
            inputs=params.channels * params.slices,
            strides=params.strides,
            weights=None if trained is not None else params.weights,
            norm=params.norm,
            freeze=params.freeze,
        )
        self.pyramid = FeaturePyramid(self.backbone.channels, params.pyramid, light=params.light)
        self.proposals = ProposalNetwork(
            channels=params.pyramid,
            canvases=[params.size, *([] if params.part is None else [params.part])],
            strides=params.strides,
            sizes=params.anchor_sizes,
            ratios=params.anchor_ratios,
            light=params.light,
            batch=params.anchor_batch,
        )
        self.head, *later = (
            RegionHead(params.pyramid, params.hidden, self.classes, params.dropout) for _ in range(params.stages)
        )
        self.later = nn.ModuleList(later)
        self.curve = BorderCurve(self.classes) if params.calibrate else None
        self.mask_head: MaskHead | None = None
        if params.mask is not None:
            self.mask_head = MaskHead(params.mask, inputs=params.pyramid, classes=self.classes)
            self.outputs = (*self.outputs, "masks")
        if trained is not None:
            start_from(self, trained, params.weights)

    def forward(self, image: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Boxes (B, N, 4), scores (B, N), labels (B, N), count (B,); best first, zeros after `count`.

        With a mask head also `masks` (B, N, m, m): probabilities, inside each box, that a point is its object's.
        """
        canvas, valid_size, source = self._canvas(image)
        views = torch.cat([canvas, *(mirror_picture(canvas, valid_size, way) for way in self.params.tta)])
        features = self.pyramid(self.backbone(views))
        logits, deltas = self.proposals([level[: image.shape[0]] for level in features])
        regions, valid = self.proposals.select(
            logits, deltas, valid_size, candidates=self.params.candidates, regions=self.params.regions
        )
        judged = []
        for head, (weights, _) in self._stages():
            scores, shifts = self._classify_mirrored(head, features, regions, valid_size)
            judged.append(scores)
            regions = clip(decode(shifts, regions, weights=weights), valid_size)
        scores = torch.stack(judged).mean(dim=0)
        usable = (valid & large_enough(regions))[..., None]
        scores = torch.where(usable, scores, torch.zeros_like(scores)).transpose(1, 2)
        boxes = regions[:, None].expand(-1, self.classes, -1, -1)
        calibrated = None if self.curve is None else self.curve(scores, border_closeness(regions, valid_size))
        rows = min(self.params.detections, scores.shape[1] * scores.shape[2])
        answer = postprocess(boxes, scores, calibrated, overlap=self.params.overlap, rows=rows)
        if self.mask_head is not None:
            answer["masks"] = self._masks(self.mask_head, features, answer, valid_size)
        scale = source / valid_size
        return {**answer, "boxes": clip(answer["boxes"] * torch.cat([scale, scale]), source)}

    def _masks(
        self, head: MaskHead, features: Sequence[Tensor], answer: Mapping[str, Tensor], valid_size: Tensor
    ) -> Tensor:
        """Probabilities (B, N, m, m) of the answered boxes on the canvas: the mean over all views, 0 after `count`."""
        boxes, ways = answer["boxes"], self.params.tta
        seen = torch.cat([boxes, *(mirror_boxes(boxes, valid_size, way) for way in ways)])
        logits = mask_of_class(
            self._mask_logits(head, features, seen), answer["labels"].flatten().repeat(1 + len(ways))
        )
        first, *others = logits.sigmoid().reshape(1 + len(ways), *boxes.shape[:2], *logits.shape[1:]).unbind()
        turned = [first]
        for there, way in zip(others, ways, strict=True):
            turned.append(there.flip([dim for axis, dim in (("x", 3), ("y", 2)) if axis in way]))
        found = torch.stack(turned).mean(dim=0)
        return found * (answer["scores"] > 0)[..., None, None]

    def _mask_logits(self, head: MaskHead, features: Sequence[Tensor], regions: Tensor) -> Tensor:
        """Logits (B * K, classes, m, m) of regions (B, K, 4)."""
        assert self.params.mask is not None
        side = self.params.mask.size // 2
        logits: Tensor = head(pool_regions(features, regions, strides=self.params.strides, side=side))
        return logits

    def loss(self, image: Tensor, target: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """`objectness`, `proposal_box`, `class`, `box` and, with a mask head, `mask` of images (B, C, H, W).

        `target`: for each image `boxes` (M, 4) in its pixels and `labels` (M,); M may be 0. For a mask head also
        `masks` (L, H, W): object k has the value k + 1 in one of the layers (medzoo.data.instances).
        """
        canvas, valid_size, source = self._canvas(image)
        features = self.pyramid(self.backbone(canvas))
        scale = (valid_size / source).repeat(2)
        objects = [item["boxes"].to(image) * scale for item in target]
        logits, deltas = self.proposals(features)
        losses = self.proposals.loss(logits, deltas, objects)
        with torch.no_grad():
            regions, valid = self.proposals.select(
                logits,
                deltas,
                valid_size,
                candidates=self.params.train_candidates,
                regions=self.params.train_regions,
            )
        labels = [item["labels"].to(image.device) for item in target]
        heads, hits = self._head_loss(features, regions, valid, valid_size, objects, labels)
        if self.mask_head is not None:
            layers = [item["masks"].to(image.device) for item in target]
            heads["mask"] = self._mask_loss(self.mask_head, features, hits, layers, labels, 1 / scale)
        return losses | heads

    def _mask_loss(
        self,
        head: MaskHead,
        features: Sequence[Tensor],
        hits: Sequence[tuple[Tensor, Tensor]],
        layers: Sequence[Tensor],
        labels: Sequence[Tensor],
        scale: Tensor,
    ) -> Tensor:
        """Loss of the mask head on regions with an object; `hits`: regions (P, 4) of each image and their objects
        (P,). `scale` (4,): from pixels of the canvas to those of the layers."""
        assert self.params.mask is not None
        size, most = self.params.mask.size, self.params.mask.regions
        drawn = features[0].new_zeros((len(hits), most, 4))
        rows, kinds, targets = [], [], []
        for row, (regions, owners) in enumerate(hits):
            pick = torch.randperm(len(regions), device=regions.device)[:most]
            drawn[row, : len(pick)] = regions[pick]
            rows.append(torch.arange(len(pick), device=regions.device) + row * most)
            kinds.append(labels[row][owners[pick]])
            targets.append(mask_targets(layers[row], owners[pick], regions[pick] * scale, size=size))
        logits = self._mask_logits(head, features, drawn)[torch.cat(rows)]
        return mask_loss(mask_of_class(logits, torch.cat(kinds)), targets)

    def _head_loss(
        self,
        features: Sequence[Tensor],
        regions: Tensor,
        valid: Tensor,
        valid_size: Tensor,
        objects: Sequence[Tensor],
        labels: Sequence[Tensor],
    ) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
        """Mean loss of the heads: the first on regions drawn from the proposals, the objects and near misses of
        them, each further one on the boxes of the one before it and the objects themselves. And the last head's
        regions with an object, as it moved them (P, 4), with the number of that object (P,), of each image."""
        pools = []
        for row, boxes in enumerate(objects):
            moved = jitter(boxes, valid_size, copies=self.params.jittered_positives)
            pools.append(torch.cat([boxes, moved, regions[row][valid[row]]]))
        totals = {"class": features[0].new_zeros(()), "box": features[0].new_zeros(())}
        for head, (weights, overlap) in self._stages():
            drawn, wanted, coded, owners = self._targets(pools, objects, labels, weights=weights, overlap=overlap)
            logits, shifts = self._classify(head, features, drawn)
            for name, value in _stage_loss(logits, shifts, wanted.flatten(), coded.flatten(0, 1)).items():
                totals[name] = totals[name] + value / self.params.stages
            with torch.no_grad():
                drawn = clip(decode(shifts.reshape(drawn.shape), drawn, weights=weights), valid_size)
            pools = [
                torch.cat([boxes, moved[(mine >= 0) & large_enough(moved)]])
                for boxes, moved, mine in zip(objects, drawn, wanted, strict=True)
            ]
        usable = [(mine >= 0) & large_enough(moved) for mine, moved in zip(owners, drawn, strict=True)]
        return totals, [(moved[one], mine[one]) for moved, mine, one in zip(drawn, owners, usable, strict=True)]

    def _targets(
        self,
        pools: Sequence[Tensor],
        objects: Sequence[Tensor],
        labels: Sequence[Tensor],
        *,
        weights: Weights,
        overlap: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Regions (B, R, 4) drawn from each image's pool, their classes (B, R), -1 of padding, codes (B, R, 4), and
        their objects (B, R), -1 of none."""
        size = self.params.region_batch
        drawn = pools[0].new_zeros((len(pools), size, 4))
        wanted = torch.full((len(pools), size), -1, device=drawn.device)
        coded, owners = torch.zeros_like(drawn), torch.full_like(wanted, -1)
        for row, (pool, boxes) in enumerate(zip(pools, objects, strict=True)):
            matched = match(pool, boxes, positive=overlap, negative=overlap, floor=self.params.background_min_iou)
            pick = sample(matched, size=size, positive_share=self.params.positive_share)
            hit = matched[pick] >= 0
            drawn[row, : len(pick)] = pool[pick]
            wanted[row, : len(pick)] = self.classes
            places = torch.nonzero(hit).squeeze(1)
            owner = matched[pick][hit]
            wanted[row, places] = labels[row][owner]
            owners[row, places] = owner
            coded[row, places] = encode(boxes[owner], pool[pick][hit], weights=weights)
        return drawn, wanted, coded, owners

    def calibrate(self, predictions: Sequence[Judged]) -> None:
        """Calibrate, where that is asked for, then choose the threshold; see Detector.calibrate.

        Validation pictures lie on whole canvases: where their shape is another, what is blank beside them counts as
        theirs, and its edge as their border.
        """
        super().calibrate(predictions if self.curve is None else self._calibrate(self.curve, predictions))

    def _calibrate(self, curve: BorderCurve, predictions: Sequence[Judged]) -> list[Judged]:
        """Fit the curve to the answers of a net whose curve changes nothing, and these as they are answered with it."""
        valid_size = torch.tensor(self.params.size[::-1], dtype=torch.float32)
        near = [border_closeness(torch.from_numpy(found.boxes), valid_size).numpy() for _, found in predictions]
        close, right = np.concatenate(near), np.concatenate([hits_of(*pair, self.classes) for pair in predictions])
        labels = np.concatenate([found.labels for _, found in predictions])
        scores = np.concatenate([found.scores for _, found in predictions])
        fitted = [curve.fit(k, *(row[labels == k] for row in (scores, close, right))) for k in range(self.classes)]
        again: list[Judged] = []
        for (truth, found), mine in zip(predictions, near, strict=True):
            rows = torch.from_numpy(found.scores).expand(1, self.classes, -1)
            every = curve(rows, torch.from_numpy(mine)[None])[0].numpy()
            chances = every[found.labels.astype(np.int64), np.arange(len(found.labels))]
            order = np.argsort(-chances, kind="stable")
            again.append((truth, Boxes(found.boxes[order], found.labels[order], chances[order])))
        self.calibration = {
            "method": "a logistic curve a class, of score and closeness to the border, through the answers to "
            "validation pictures",
            "items": len(predictions),
            "answers": len(scores),
            "classes": sum(fitted),
            **{name: [round(float(value), 4) for value in values] for name, values in curve.named_buffers()},
        }
        return again

    def _canvas(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The backbone's input, and (width, height) of the image on the canvas and of its own."""
        # Parts that training cuts out are canvases of their own; to all else one size is as good as another.
        part = self.params.part if self.training else None
        canvas, sizes = fit_canvas(image, *(part or self.params.size))
        return (self.steps(canvas) - self.params.mean) / self.params.std, sizes[:2], sizes[2:]

    def _stages(self) -> list[tuple[nn.Module, tuple[Weights, float]]]:
        """Each head with its box weights and the overlap from which a region is an object's."""
        return list(zip([self.head, *self.later], STAGES[: self.params.stages], strict=True))

    def _classify(self, head: nn.Module, features: Sequence[Tensor], regions: Tensor) -> tuple[Tensor, Tensor]:
        """A head's logits and deltas of regions (B, K, 4), flattened to (B * K, ...)."""
        logits, deltas = head(pool_regions(features, regions, strides=self.params.strides, side=POOL))
        return logits, deltas

    def _classify_mirrored(
        self, head: nn.Module, features: Sequence[Tensor], regions: Tensor, valid_size: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Probabilities (B, K, classes) and deltas (B, K, 4) of regions (B, K, 4): the mean over all views."""
        ways = self.params.tta
        seen = torch.cat([regions, *(mirror_boxes(regions, valid_size, way) for way in ways)])
        logits, deltas = self._classify(head, features, seen)
        shape = (1 + len(ways), *regions.shape[:2], -1)
        scores, first, *others = logits.softmax(dim=1).reshape(shape), *deltas.reshape(shape).unbind()
        moved = [first, *(mirror_deltas(there, way) for there, way in zip(others, ways, strict=True))]
        return scores.mean(dim=0)[..., :-1], torch.stack(moved).mean(dim=0)


def _stage_loss(logits: Tensor, shifts: Tensor, wanted: Tensor, coded: Tensor) -> dict[str, Tensor]:
    """`class` and `box` of one head's regions: logits (R, K + 1), shifts and codes (R, 4), classes (R,)."""
    used = wanted >= 0
    hits = torch.nonzero(used & (wanted < logits.shape[1] - 1)).squeeze(1)
    total = used.sum().clamp(min=1)
    error = nn.functional.smooth_l1_loss(shifts[hits], coded[hits], beta=SMOOTH, reduction="sum")
    return {
        "class": nn.functional.cross_entropy(logits, wanted, ignore_index=-1, reduction="sum") / total,
        "box": error / total,
    }


def build(params: RegionCnnParams, spec: Spec) -> RegionCnn:
    """A region CNN whose fresh weights follow from `spec.seed`. Raises UserError for a wrong backbone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        return RegionCnn(params, spec)


_TINY: dict[str, Any] = {
    "backbone": "test_efficientnet",
    "channels": 1,
    "size": (64, 64),
    "strides": (8, 16),
    "pyramid": 16,
    "anchor_sizes": ((8.0, 16.0), (24.0, 40.0)),
    "candidates": 40,
    "regions": 16,
    "detections": 16,
    "hidden": 32,
    "stages": 2,
    "train_candidates": 60,
    "train_regions": 40,
    "region_batch": 32,
    "norm": "batch",
}

_VARIANTS: dict[str, dict[str, Any]] = {
    "masks": _TINY | {"mask": {"size": 12, "channels": 16, "convs": 2}, "tta": ("x", "y")},
    "parts": _TINY | {"mask": {"size": 12, "channels": 16, "convs": 1}, "part": (32, 48), "tile": 64},
}

ENTRY = Entry(
    task="detect", params=RegionCnnParams, learns="gradient", build=build, tiny=_TINY, tiny_variants=_VARIANTS
)
