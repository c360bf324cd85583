"""Several networks of one type whose answers are averaged: a k-fold ensemble as one net, so as one graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from medzoo.nn.classifier import Classifier, ClassifierParams
from medzoo.nn.net import Net, Spec
from medzoo.nn.segmenter import Segmenter, SegmenterParams


class Ensemble(Classifier):
    """`members` see the same prepared picture; each learns from all folds but its own (medzoo.training.fit)."""

    calibrated_on = "items that the answering networks did not learn from (out of fold)"

    def __init__(self, members: list[Classifier], params: ClassifierParams, spec: Spec) -> None:
        super().__init__(params, spec)
        self.members = nn.ModuleList(members)

    def network(self, x: Tensor) -> Tensor:
        """The mean of the members' logits (B, K)."""
        logits: list[Tensor] = [member.network(x) for member in self.parts]
        return torch.stack(logits).mean(dim=0)

    @property
    def parts(self) -> list[Classifier]:
        """See Net.parts."""
        return [member for member in self.members if isinstance(member, Classifier)]


class SegmenterEnsemble(Segmenter):
    """The mean of the probabilities of `members`, each with its own graph steps, on the geometry that all share."""

    def __init__(self, members: list[Segmenter], params: SegmenterParams, spec: Spec) -> None:
        super().__init__(params, spec)
        self.geometry, self.training_input = members[0].geometry, members[0].training_input
        self.members = nn.ModuleList(members)

    @property
    def parts(self) -> Sequence[Net]:
        """See Net.parts."""
        return [member for member in self.members if isinstance(member, Segmenter)]

    def probabilities(self, image: Tensor) -> Tensor:
        """See Segmenter.probabilities."""
        return torch.stack([member.probabilities(image) for member in self.members]).mean(dim=0)  # type: ignore[operator]


def ensembled_segmenter(kind: Callable[[Any, Spec], Segmenter]) -> Callable[[Any, Spec], Segmenter]:
    """As `ensembled`, for a segmenter."""

    def build(params: SegmenterParams, spec: Spec) -> Segmenter:
        if params.members == 1:
            return kind(params, spec)
        return SegmenterEnsemble([kind(params, spec) for _ in range(params.members)], params, spec)

    return build


def ensembled(kind: Callable[[Any, Spec], Classifier]) -> Callable[[Any, Spec], Classifier]:
    """A model type's build that gives one net, or an ensemble where the parameters ask for several members."""

    def build(params: ClassifierParams, spec: Spec) -> Classifier:
        if params.members == 1:
            return kind(params, spec)
        return Ensemble([kind(params, spec) for _ in range(params.members)], params, spec)

    return build
