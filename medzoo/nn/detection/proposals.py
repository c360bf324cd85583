"""The proposal network: where on the pyramid something lies, whatever it is (Ren et al. 2015, section 3).

Knows boxes, anchors, nms and sampling.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medzoo.nn.detection.boxes import clip, decode, encode, large_enough, pyramid_anchors
from medzoo.nn.detection.nms import nms, stable_top_k
from medzoo.nn.detection.sampling import match, sample
from medzoo.nn.layers import conv3x3, init_normal

# Share of the drawn anchors that hold an object, about; the objectness starts there (Lin et al. 2017, focal loss,
# section 4.1). From a half, every weight of the last layer first learns to say no, and what is left of an object
# is the absence of evidence: no anchor rises above the bias, and many tie below it.
PRIOR = 0.2
# Below every logit of an anchor that counts.
NEVER = -1e4
# Smooth L1 turns linear here, on coded differences (the reference implementation's value).
SMOOTH = 1.0 / 9.0


class ProposalNetwork(nn.Module):
    """Objectness and box deltas for every anchor of a pyramid, and the regions that follow from them.

    `canvases`: heights and widths of the pictures that it is given, each with anchors of its own.
    """

    def __init__(
        self,
        *,
        channels: int,
        canvases: Sequence[tuple[int, int]],
        strides: Sequence[int],
        sizes: Sequence[Sequence[float]],
        ratios: Sequence[float],
        light: bool,
        batch: int = 256,
        overlap: float = 0.7,
    ) -> None:
        super().__init__()
        per_place = {len(level) for level in sizes}
        assert len(per_place) == 1, "every level has as many sizes"
        count = per_place.pop() * len(ratios)
        self.batch, self.overlap = batch, overlap
        self.conv = conv3x3(channels, channels, light=light)
        self.objectness = nn.Conv2d(channels, count, 1)
        self.deltas = nn.Conv2d(channels, 4 * count, 1)
        for layer in (self.objectness, self.deltas):
            init_normal(layer, std=0.01)
        nn.init.constant_(self.objectness.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]
        self.counts: dict[int, list[int]] = {}
        for canvas in canvases:
            levels = pyramid_anchors(canvas, strides=strides, sizes=sizes, ratios=ratios)
            counts = [len(level) for level in levels]
            self.counts[sum(counts)] = counts
            self.register_buffer(f"anchors_{sum(counts)}", torch.cat(levels), persistent=False)

    def anchors_of(self, logits: Tensor) -> Tensor:
        """Anchors (N, 4) of the canvas that gave logits (B, N)."""
        anchors: Tensor = getattr(self, f"anchors_{int(logits.shape[1])}")
        return anchors

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, N) and deltas (B, N, 4) in the order of the anchors, finest level first."""
        logits, deltas = [], []
        for level in features:
            hidden = nn.functional.relu(self.conv(level))
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.deltas(hidden).permute(0, 2, 3, 1).reshape(hidden.shape[0], -1, 4))
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)

    def select(
        self, logits: Tensor, deltas: Tensor, valid_size: Tensor, *, candidates: int, regions: int
    ) -> tuple[Tensor, Tensor]:
        """The best regions (B, K, 4), clipped to the image's `valid_size` on the canvas, and which count (B, K).

        Each level sends its `candidates` best inside the image into one suppression; K is `regions`, or fewer
        where the whole pyramid has fewer candidates. Regions that do not count are padding.
        """
        # An anchor whose middle lies beside the image says nothing; a flat border would fill the list with ties.
        anchors = self.anchors_of(logits)
        middle = (anchors[:, :2] + anchors[:, 2:]) / 2
        logits = torch.where((middle < valid_size).all(dim=1), logits, torch.full_like(logits, NEVER))
        picks, begin = [], 0
        for count in self.counts[len(anchors)]:
            picks.append(stable_top_k(logits[:, begin : begin + count], min(candidates, count))[1] + begin)
            begin += count
        pick = torch.cat(picks, dim=1)
        # Ranked by logits: their sigmoids tie where they are large, and ties fall otherwise in ONNX Runtime.
        ranks = logits.gather(1, pick)
        shifts = deltas.gather(1, pick[..., None].expand(-1, -1, 4))
        boxes = clip(decode(shifts, anchors[pick]), valid_size)
        ranks = torch.where(large_enough(boxes), ranks, torch.full_like(ranks, NEVER))
        keep = nms(boxes, ranks, self.overlap, NEVER)
        values, chosen = stable_top_k(
            torch.where(keep, ranks, torch.full_like(ranks, NEVER)), min(regions, ranks.shape[1])
        )
        return boxes.gather(1, chosen[..., None].expand(-1, -1, 4)), values > NEVER

    def loss(self, logits: Tensor, deltas: Tensor, objects: Sequence[Tensor]) -> dict[str, Tensor]:
        """`objectness` and `proposal_box` of a batch; objects: one (M, 4) in canvas pixels an image."""
        drawn_logits, drawn_labels, errors, anchors = [], [], [], self.anchors_of(logits)
        for row, boxes in enumerate(objects):
            matched = match(anchors, boxes, positive=0.7, negative=0.3, best=True)
            drawn = sample(matched, size=self.batch, positive_share=0.5)
            drawn_logits.append(logits[row, drawn])
            drawn_labels.append((matched[drawn] >= 0).to(logits.dtype))
            hits = drawn[matched[drawn] >= 0]
            target = encode(boxes[matched[hits]], anchors[hits])
            errors.append(nn.functional.smooth_l1_loss(deltas[row, hits], target, beta=SMOOTH, reduction="sum"))
        labels = torch.cat(drawn_labels)
        return {
            "objectness": nn.functional.binary_cross_entropy_with_logits(torch.cat(drawn_logits), labels),
            "proposal_box": torch.stack(errors).sum() / max(len(labels), 1),
        }
