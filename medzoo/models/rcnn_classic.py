"""`rcnn-classic`: R-CNN as it was in 2014: proposed regions, features of a CNN, an SVM a class, ridge boxes, NMS.

Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation", CVPR 2014.
The host step `selective-search` proposes and warps; what follows is the graph. The defaults are the paper's numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from medzoo.inputs.region_input import RegionInput
from medzoo.metrics.detect import Boxes
from medzoo.nn.detection.boxes import decode, encode, iou, large_enough
from medzoo.nn.detection.detector import Detector, Judged, hits_of
from medzoo.nn.detection.postprocess import SCORE_FLOOR, postprocess
from medzoo.nn.detection.region_solver import Linear, feature_scale, fit_region_svm, fit_ridge
from medzoo.nn.layers import init_normal
from medzoo.nn.net import Entry, Geometry, Params, Spec
from medzoo.nn.network import create_network, layers_under
from medzoo.nn.steps import build_steps
from medzoo.nn.svm.solver import platt_scaling
from medzoo.runtime.backends import BOXES_OUTPUT
from medzoo.types import Array

_CHUNK = 64  # regions whose features are computed at once
# A worthless SVM must not turn its own order round.
_LEAST_SLOPE = 0.05


class RcnnClassicParams(Params):
    """Parameters of `rcnn-classic`; sides and numbers of regions are those of the host step `selective-search`."""

    backbone: str = Field("efficientnet_lite0", description="a timm model; its pooled features judge regions")
    weights: str | None = Field(None, description="package:efficientnet-lite0, a safetensors file or folder")
    channels: int = Field(3, ge=1, description="1: grey (colour by its luma), 3: colour")
    mean: float = Field(127.0, description="stored value, after the graph steps, that the network sees as 0")
    std: float = Field(128.0, gt=0, description="stored difference that the network sees as 1")
    finetune: bool = Field(True, description="train the network on the classes of regions first (train.* says how)")
    norm: Literal["frozen", "batch"] = Field("frozen", description="batch norm of the network while training")
    freeze: tuple[str, ...] = Field(
        (), description="layers that stay as loaded, by the beginning of their timm names: conv_stem, bn1, blocks.0"
    )
    positive: float = Field(0.5, gt=0, le=1, description="overlap from which a window is an object's in fine-tuning")
    positive_share: float = Field(0.25, gt=0, lt=1, description="share of windows with an object in a batch")
    negative: float = Field(0.3, gt=0, le=1, description="overlap below which a region is background for an SVM")
    cost: float = Field(1e-3, gt=0, description="C of the SVMs, on features of mean norm 20")
    positive_weight: float = Field(2.0, gt=0, description="how much more an object counts in the SVMs")
    first_negatives: int = Field(5000, ge=1, description="background regions that an SVM is first solved with")
    hard_margin: float = Field(
        -1.0, description="background above this margin is hard: the SVM is solved again with it"
    )
    background: int = Field(2000, ge=1, description="background regions kept of each training picture, drawn at random")
    box_overlap: float = Field(0.6, gt=0, le=1, description="overlap from which a region teaches its box")
    ridge: float = Field(1000.0, gt=0, description="penalty of the box regression, on features of mean norm 20")
    overlap: float = Field(0.3, gt=0, lt=1, description="IoU above which the weaker of two answers goes")
    detections: int = Field(100, ge=1, description="rows of the answer")
    false_positives: float = Field(
        0.25, gt=0, description="false positives an image on validation data at the operating threshold"
    )


class RcnnClassic(Detector):
    """regions (B, R, C, h, w) and their boxes (B, R, 4) -> found_boxes, scores, labels, count; see `Net`.

    Boxes are answered on the grid of the given ones, inside their common hull. A given box without area counts
    for nothing, so pictures with fewer regions are filled up with zeros. Scores are the SVMs' margins through a
    logistic curve each, which validation pictures calibrate: about the share of such answers that are right.
    """

    inputs = ("regions", "boxes")
    outputs = (BOXES_OUTPUT, "scores", "labels", "count")
    metrics: tuple[str, ...] = ()
    fit_after_gradient = True
    svm_weight: Tensor
    svm_bias: Tensor
    box_weight: Tensor
    box_bias: Tensor
    slope: Tensor
    offset: Tensor

    def __init__(self, params: RcnnClassicParams, spec: Spec) -> None:
        super().__init__()
        self.params, self.seed, self.labels = params, spec.seed, tuple(spec.labels)
        self.training_input = RegionInput(positive=params.positive, positive_share=params.positive_share)
        self.false_positives = params.false_positives
        self.geometry = Geometry(dims=2, channels=params.channels, margin=None)
        self.steps = build_steps(spec.steps)
        self.network = create_network(
            params.backbone, channels=params.channels, classes=0, weights=params.weights, field="model.backbone"
        )
        self._frozen = layers_under(self.network, params.freeze, name=params.backbone)
        if params.norm == "frozen":
            self._frozen += [m for m in self.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for module in self._frozen:
            module.requires_grad_(False)
        with torch.no_grad():
            width = int(self.network.eval()(torch.zeros(1, params.channels, 64, 64)).shape[1])
        classes = len(self.labels)
        self.classes = nn.Linear(width, classes + 1)
        init_normal(self.classes, std=0.01)
        for name, shape in (
            ("svm_weight", (classes, width)),
            ("svm_bias", (classes,)),
            ("box_weight", (4 * classes, width)),
            ("box_bias", (4 * classes,)),
            ("slope", (classes,)),
            ("offset", (classes,)),
        ):
            self.register_buffer(name, torch.ones(shape) if name == "slope" else torch.zeros(shape))
        if not params.finetune:
            self.requires_grad_(False)
        self._seen: list[_Collected] = []

    def train(self, mode: bool = True) -> RcnnClassic:
        """As in torch, but what is frozen works by its stored statistics."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def features(self, windows: Tensor) -> Tensor:
        """(N, F) features of windows (N, C, h, w) of stored values."""
        seen: Tensor = self.network((self.steps(windows) - self.params.mean) / self.params.std)
        return seen

    def forward(self, regions: Tensor, boxes: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """`found_boxes` (B, N, 4), scores (B, N), labels (B, N), count (B,); best first, zeros after `count`."""
        features = self.features(regions.flatten(0, 1)).reshape(*boxes.shape[:2], -1)
        margins = nn.functional.linear(features, self.svm_weight, self.svm_bias)
        deltas = nn.functional.linear(features, self.box_weight, self.box_bias).reshape(*boxes.shape[:2], -1, 4)
        moved = decode(deltas, boxes[:, :, None]).transpose(1, 2)
        hull = boxes[..., 2:].amax(dim=1)[:, None, None]
        moved = torch.minimum(moved.clamp(min=0), torch.cat([hull, hull], dim=-1))
        usable = large_enough(boxes)[:, None] & large_enough(moved)
        scores = torch.sigmoid(self.slope * margins + self.offset).transpose(1, 2)
        scores = torch.where(usable, scores, torch.zeros_like(scores))
        rows = postprocess(moved, scores, overlap=self.params.overlap, rows=self.params.detections)
        return {BOXES_OUTPUT: rows.pop("boxes"), **rows}

    def loss(self, image: Tensor, target: Tensor) -> dict[str, Tensor]:
        """`class` of windows (N, C, h, w) and their classes (N,): fine-tuning on the classes and background."""
        return {"class": nn.functional.cross_entropy(self.classes(self.features(image)), target)}

    def partial_fit(self, batch: tuple[Tensor, Tensor], target: Sequence[Mapping[str, Tensor]]) -> None:
        """Take in pictures ((regions, boxes), [{boxes, labels, windows}]), see `Regions`."""
        self.eval()
        for regions, boxes, objects in zip(*batch, target, strict=True):
            labels = objects["labels"]
            matched = iou(boxes, objects["boxes"])
            overlap = torch.stack([_highest(matched[:, labels == k]) for k in range(len(self.labels))], dim=1)
            rng = np.random.default_rng([self.seed, len(self._seen)])
            kept = _kept(_highest(matched), large_enough(boxes), self.params, rng)
            places = torch.nonzero(_highest(matched[kept]) > self.params.box_overlap).squeeze(1)
            owners = matched[kept][places].argmax(dim=1) if len(places) else places
            self._seen.append(
                _Collected(
                    self._in_chunks(torch.cat([objects["windows"], regions[kept]])),
                    labels.numpy(),
                    overlap[kept].numpy(),
                    (len(labels) + places).numpy(),
                    labels[owners].numpy(),
                    encode(objects["boxes"][owners], boxes[kept][places]).numpy(),
                    (matched.amax(dim=0) >= 0.5).numpy(),
                )
            )

    def fit(self, names: Sequence[str] = ()) -> None:
        """An SVM and a box regression for each class. Raises UserError for a class without objects."""
        seen, self._seen = self._seen, []
        features = np.concatenate([one.features for one in seen])
        objects = np.concatenate([one.features[: len(one.labels)] for one in seen])
        regions = np.concatenate([one.features[len(one.labels) :] for one in seen])
        taught = np.concatenate([one.features[one.teaches] for one in seen])
        labels, overlap, kinds, deltas, reached = (
            np.concatenate([getattr(one, name) for one in seen])
            for name in ("labels", "overlap", "kinds", "deltas", "reached")
        )
        scale = feature_scale(features)
        found: dict[str, Any] = {}
        for label, name in enumerate(self.labels):
            line, counts = fit_region_svm(
                objects[labels == label],
                regions[overlap[:, label] < self.params.negative],
                scale=scale,
                cost=self.params.cost,
                weight=self.params.positive_weight,
                margin=self.params.hard_margin,
                first=self.params.first_negatives,
                seed=self.seed,
            )
            self._store("svm", slice(label, label + 1), line)
            mine = kinds == label
            line = fit_ridge(taught[mine], deltas[mine], scale=scale, penalty=self.params.ridge)
            self._store("box", slice(4 * label, 4 * label + 4), line)
            share = float(reached[labels == label].mean())
            found[name] = {**counts, "boxes": int(mine.sum()), "reached": round(share, 4)}
        self.fit_report = found

    def calibrate(self, predictions: Sequence[Judged]) -> None:
        """Calibrate the margins on validation pictures, then choose the threshold; see Detector.calibrate."""
        margins = [_logit(found.scores) for _, found in predictions]
        hits = [hits_of(truth, found, len(self.labels)) for truth, found in predictions]
        counted, predicted, right = (
            np.concatenate(rows) for rows in ([found.labels for _, found in predictions], margins, hits)
        )
        for label in range(len(self.labels)):
            mine = (counted == label) & (right >= 0)
            if 0 < right[mine].sum() < mine.sum():
                slope, offset = platt_scaling(predicted[mine], right[mine])
                self.slope[label], self.offset[label] = max(slope, _LEAST_SLOPE), offset
        curve = [one.double().numpy() for one in (self.slope, self.offset)]
        again: list[Judged] = []
        for (truth, found), values in zip(predictions, margins, strict=True):
            kinds = found.labels.astype(np.int64)
            scores = 1 / (1 + np.exp(-(curve[0][kinds] * values + curve[1][kinds])))
            kept = scores > SCORE_FLOOR
            again.append((truth, Boxes(found.boxes[kept], found.labels[kept], scores[kept])))
        self.calibration = {
            "method": "Platt scaling of SVM margins, on the answers to validation pictures",
            "items": len(predictions),
            "answers": len(predicted),
        }
        super().calibrate(again)

    def _store(self, kind: str, rows: slice, line: Linear) -> None:
        getattr(self, f"{kind}_weight")[rows] = torch.from_numpy(line.weight).float()
        getattr(self, f"{kind}_bias")[rows] = torch.from_numpy(line.bias).float()

    def _in_chunks(self, windows: Tensor) -> Array:
        """(N, F) float16."""
        with torch.inference_mode():
            parts = [self.features(windows[k : k + _CHUNK]).half() for k in range(0, len(windows), _CHUNK)]
        found: Array = torch.cat(parts).numpy()
        return found


@dataclass(frozen=True, eq=False)
class _Collected:
    """The features that are kept of one training image.

    `features` (M + R, F) float16 of its M objects and R of its regions; `labels` (M,); `overlap` (R, K) of the
    regions with the objects of each class; `teaches` (T,): rows of `features` that teach boxes, with the classes
    `kinds` (T,) and the `deltas` (T, 4) that they teach; `reached` (M,): whether a region overlaps the object by half.
    """

    features: Array
    labels: Array
    overlap: Array
    teaches: Array
    kinds: Array
    deltas: Array
    reached: Array


def _highest(overlap: Tensor) -> Tensor:
    """(R,) largest of overlaps (R, M); 0 where there is nothing to overlap."""
    return overlap.amax(dim=1) if overlap.shape[1] else overlap.new_zeros(len(overlap))


def _kept(highest: Tensor, usable: Tensor, params: RcnnClassicParams, rng: np.random.Generator) -> Tensor:
    """Indices, rising, of the regions of a picture that are kept: all that touch an object, and some background."""
    touching = np.flatnonzero(usable & (highest >= params.negative))
    background = rng.permutation(np.flatnonzero(usable & (highest < params.negative)))[: params.background]
    return torch.from_numpy(np.sort(np.concatenate([touching, background])))


def _logit(scores: Array) -> Array:
    p = np.clip(scores.astype(np.float64), 1e-7, 1 - 1e-7)
    value: Array = np.log(p / (1 - p))
    return value


def build(params: RcnnClassicParams, spec: Spec) -> RcnnClassic:
    """An R-CNN that knows nothing yet. Raises UserError for a wrong backbone, layer or weights."""
    return RcnnClassic(params, spec)


ENTRY = Entry(
    task="detect",
    params=RcnnClassicParams,
    learns="both",
    build=build,
    tiny={"backbone": "test_efficientnet", "channels": 1, "norm": "batch", "detections": 16},
)
