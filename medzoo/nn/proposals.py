"""The proposal network: where on the pyramid something lies, whatever it is (Ren et al. 2015, section 3).

Knows boxes, anchors, nms and sampling.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from medzoo.nn.anchors import pyramid_anchors
from medzoo.nn.boxes import clip, decode, encode, large_enough
from medzoo.nn.layers import conv3x3, start_small
from medzoo.nn.nms import nms
from medzoo.nn.sampling import draw, match

# Smooth L1 turns linear here, on coded differences (the reference implementation's value).
SMOOTH = 1.0 / 9.0


class ProposalNetwork(nn.Module):
    """Objectness and box deltas for every anchor of a pyramid, and the regions that follow from them."""

    def __init__(
        self,
        *,
        channels: int,
        canvas: tuple[int, int],
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
            start_small(layer, std=0.01)
        levels = pyramid_anchors(canvas, strides=strides, sizes=sizes, ratios=ratios)
        self.counts = [len(level) for level in levels]
        self.anchors: Tensor
        self.register_buffer("anchors", torch.cat(levels), persistent=False)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits (B, N) and deltas (B, N, 4) in the order of `anchors` (N, 4), finest level first."""
        logits, deltas = [], []
        for level in features:
            hidden = nn.functional.relu(self.conv(level))
            logits.append(self.objectness(hidden).permute(0, 2, 3, 1).flatten(1))
            deltas.append(self.deltas(hidden).permute(0, 2, 3, 1).reshape(hidden.shape[0], -1, 4))
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)

    def select(
        self, logits: Tensor, deltas: Tensor, extent: Tensor, *, candidates: int, regions: int
    ) -> tuple[Tensor, Tensor]:
        """The best regions (B, K, 4), clipped to the image's `extent` on the canvas, and which count (B, K).

        Each level sends its `candidates` best into one suppression; K is `regions`, or fewer where the whole
        pyramid has fewer candidates. Regions that do not count are padding.
        """
        picks, begin = [], 0
        for count in self.counts:
            top = logits[:, begin : begin + count].topk(min(candidates, count), dim=1)
            picks.append(top.indices + begin)
            begin += count
        pick = torch.cat(picks, dim=1)
        scores = logits.gather(1, pick).sigmoid()
        chosen = deltas.gather(1, pick[..., None].expand(-1, -1, 4))
        boxes = clip(decode(chosen, self.anchors[pick]), extent)
        scores = torch.where(large_enough(boxes), scores, torch.zeros_like(scores))
        keep = nms(boxes, scores, self.overlap, 0.0)
        best = torch.where(keep, scores, torch.zeros_like(scores)).topk(min(regions, scores.shape[1]), dim=1)
        return boxes.gather(1, best.indices[..., None].expand(-1, -1, 4)), best.values > 0

    def loss(self, logits: Tensor, deltas: Tensor, objects: Sequence[Tensor]) -> dict[str, Tensor]:
        """`objectness` and `proposal_box` of a batch; objects: one (M, 4) in canvas pixels an image."""
        drawn_logits, drawn_labels, errors = [], [], []
        for row, boxes in enumerate(objects):
            matched = match(self.anchors, boxes, positive=0.7, negative=0.3, best=True)
            drawn = draw(matched, size=self.batch, positive_share=0.5)
            drawn_logits.append(logits[row, drawn])
            drawn_labels.append((matched[drawn] >= 0).to(logits.dtype))
            hits = drawn[matched[drawn] >= 0]
            target = encode(boxes[matched[hits]], self.anchors[hits])
            errors.append(nn.functional.smooth_l1_loss(deltas[row, hits], target, beta=SMOOTH, reduction="sum"))
        labels = torch.cat(drawn_labels)
        return {
            "objectness": nn.functional.binary_cross_entropy_with_logits(torch.cat(drawn_logits), labels),
            "proposal_box": torch.stack(errors).sum() / max(len(labels), 1),
        }
