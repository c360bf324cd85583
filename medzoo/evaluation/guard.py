"""Fit a model's guard: the reference from its training part, the scale and the levels from its validation groups.

Altered copies of training images (upside down, inverted, in noise, ...) teach one linear discriminant each (Fisher,
with a shrunk covariance), as their distances alone let many of them pass. Half of the altered images are held out: a
discriminant that does not tell them from validation images, as up from down in a blood smear, is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medzoo.data.dataset import Item
from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.guard.record import NEAREST, REST, Guard, Head, Packed, head_scores, standardised
from medzoo.runtime.familiarity import embed, geometry_of
from medzoo.runtime.predictor import Predictor
from medzoo.types import Array, Image

COMPONENTS = 48
"""Principal components of the embeddings; more did not tell other pictures better from own ones."""
UNSURE = 0.05
"""The p from which on downwards an input is "unsure": the share of own images that are."""
REFUSE = 3.7
"""Standard deviations of validation images above their mean from which on an input is refused. Of breast ultrasound
from four other scanners a tenth lies beyond it, of photographs and other examinations 99 %."""
_REFERENCE = 400  # training images that are looked at, at most
_VALIDATION = 300
_ALTERED = 120  # training images that are altered, at most
_SLOW = 4  # of volumes, outlines and proposed regions so many times fewer
_FEWEST = 12  # items from which a scale can be told
_SHRINK = 0.1  # of a covariance towards a multiple of the identity
_TELLING = 0.5  # the share of held-out altered images that a discriminant must flag
_FALSE = 0.05  # at this share of validation images

Watch = Callable[[Iterable[Any]], Iterable[Any]]


def fit_guard(
    predictor: Predictor,
    data: OpenData,
    *,
    taps: Sequence[str] = (),
    values: tuple[float, float] = (0.0, 255.0),
    seed: int = 0,
    watch: Watch = iter,
) -> Guard:
    """The guard of `predictor`, whose graph gives an embedding.

    `values`: lowest and highest stored value of its images. Without enough validation items the scale comes from
    training items, each compared with the others. Raises UserError for too few items.
    """
    seen = Collector(predictor, data)
    slow = seen.slow(data.part("train"))
    train = _some(data.part("train"), _REFERENCE // slow, seed)
    val = _some(data.part("val"), _VALIDATION // slow, seed)
    own = seen.embeddings(train, watch=watch)
    held = seen.embeddings(val, watch=watch).reshape(-1, own.shape[-1] if own.size else 0)  # a fold may have no val
    if len(own) < _FEWEST:
        raise UserError(f"a guard needs {_FEWEST} training images or more, there are {len(own)}", "data.split.train")
    altered: dict[str, Array] = {}
    if seen.pictures:
        chosen = _some(train, _ALTERED // slow, seed + 1)
        for name, alter in alterations(values, seed=seed).items():
            altered[name] = seen.embeddings(chosen, watch=watch, alter=alter)
    return fit_embeddings(own, held, altered, taps=taps, size=seen.sizes, spacing=seen.spacings)


def fit_embeddings(
    own: Array,
    held: Array,
    altered: Mapping[str, Array],
    *,
    taps: Sequence[str] = (),
    size: Sequence[int] = (),
    spacing: Sequence[float] = (),
) -> Guard:
    """The guard of training embeddings (N, D), validation ones (M, D), and altered training ones by name."""
    center, scale = own.mean(0), own.std(0)
    scale = np.maximum(scale + 0.1 * np.median(scale), 1e-6)
    center, scale = Packed.of(center), Packed.of(scale)
    standard = standardised(own, center.array, scale.array)
    components = min(COMPONENTS, len(own) // 2, own.shape[1])
    _, lengths, axes = np.linalg.svd(standard, full_matrices=False)
    spread = np.maximum(lengths[:components] / np.sqrt(len(own)), 1e-3)
    basis = Packed.of(axes[:components].T / spread)
    reference = Packed.of(standard @ basis.array)
    space = (center.array, scale.array, basis.array, reference.array)
    few = len(held) < 2 * _FEWEST
    # Too few validation items tell no scale; training items, each compared with the others, are the next best.
    judged = np.concatenate([own, held]) if few else held
    scores = head_scores(judged, *space)
    if few:
        scores[NEAREST][: len(own)] = head_scores(own, *space, own=True)[NEAREST]
    heads = [_head(name, scores[name]) for name in (NEAREST, REST)]
    flagged: dict[str, float] = {}
    for name, moved in altered.items():
        half = len(moved) // 2
        if half < 5:
            continue
        learnt = standardised(moved[:half], center.array, scale.array)
        weights = _discriminant(standard, learnt)
        there = standardised(judged, center.array, scale.array) @ weights.array
        limit = np.quantile(there, 1 - _FALSE)
        caught = float((standardised(moved[half:], center.array, scale.array) @ weights.array > limit).mean())
        if caught >= _TELLING:
            heads.append(_head(name, there, weights))
            flagged[name] = caught
    guard = Guard(
        taps=tuple(taps),
        center=center,
        scale=scale,
        basis=basis,
        reference=reference,
        heads=tuple(heads),
        levels=Packed.of(np.zeros(0)),
        unsure=UNSURE,
        refuse=REFUSE,
        size=(int(min(size)), int(max(size))) if size else None,
        spacing=(float(min(spacing)), float(max(spacing))) if spacing else None,
        items=len(own),
    )
    return with_levels(guard, judged, altered={name: altered[name][len(altered[name]) // 2 :] for name in flagged})


def with_levels(guard: Guard, held: Array, *, altered: Mapping[str, Array]) -> Guard:
    """The guard with the nonconformity of validation embeddings (M, D), and the rates that follow from it."""
    odd = [max(guard.oddness(one).values()) for one in held]
    guard = guard.model_copy(update={"levels": Packed.of(np.sort(odd))})
    verdicts = [guard.judge(one).verdict for one in held]
    rates = {f"own-{verdict}": verdicts.count(verdict) / max(1, len(verdicts)) for verdict in ("yes", "unsure", "no")}
    for name, moved in altered.items():
        rates[f"{name}-flagged"] = float(np.mean([guard.judge(one).verdict != "yes" for one in moved]))
    return guard.model_copy(update={"rates": {name: round(value, 4) for name, value in rates.items()}})


class Collector:
    """Embeddings of items, and the sizes and spacings of their images."""

    def __init__(self, predictor: Predictor, data: OpenData) -> None:
        self.predictor, self.data = predictor, data
        self.sizes: list[int] = []
        self.spacings: list[float] = []
        self.pictures = True

    def embeddings(
        self, items: Sequence[Item], *, watch: Watch = iter, alter: Callable[[Image], Image] | None = None
    ) -> Array:
        """(N, D) float32, without the items that cannot be prepared."""
        found = []
        for item in watch(items):
            image = self.data.data.load(item).image
            self.pictures = self.pictures and image.affine is None
            if alter is None:
                where = geometry_of(image)
                self.sizes += where["size"]
                self.spacings += where["spacing"]
            else:
                image = alter(image)
            try:
                found.append(self.embedding(image))
            except UserError:  # an altered image in which there is no mass to outline, say
                if alter is None:
                    raise
        width = len(found[0]) if found else 0
        return np.stack(found) if found else np.zeros((0, width), np.float32)

    def slow(self, items: Sequence[Item]) -> int:
        """By how much fewer items are looked at: more than one where reading or preparing them takes long."""
        volumes = bool(items) and self.data.data.load(items[0]).image.affine is not None
        return _SLOW if volumes or self.predictor.metadata.inputs != ("image",) or self.predictor.steps else 1

    def embedding(self, image: Image) -> Array:
        """(D,) of one image. Raises UserError if there is nothing in it to see."""
        found = embed(self.predictor.backend, self.predictor.prepare(image))
        if found is None:
            raise UserError("gives no embedding: there is nothing in it to see", image.source)
        return found


def alterations(values: tuple[float, float], *, seed: int = 0) -> dict[str, Callable[[Image], Image]]:
    """Changes of a picture that its model should not take for its own, by name; `values`: lowest and highest."""
    low, high = values
    rng = np.random.default_rng(seed)

    def changed(image: Image, array: Array) -> Image:
        clipped = np.clip(array, low, high)
        stored = np.rint(clipped) if image.array.dtype.kind in "ui" else clipped
        return image.replace(array=stored.astype(image.array.dtype))

    def noise(image: Image) -> Image:
        sd = rng.uniform(0.1, 0.2) * (high - low)
        return changed(image, image.array + rng.normal(0, sd, image.array.shape))

    def contrast(image: Image) -> Image:
        array = image.array.astype(np.float64)
        level = array.mean() if rng.random() < 0.5 else low
        return changed(image, level + (array - level) * rng.uniform(0.2, 0.35))

    def blur(image: Image) -> Image:
        from scipy.ndimage import gaussian_filter

        sigma = float(rng.uniform(0.01, 0.02) * max(image.shape))
        return changed(image, np.stack([gaussian_filter(channel.astype(np.float64), sigma) for channel in image.array]))

    return {
        "upside-down": lambda image: image.replace(array=np.ascontiguousarray(image.array[:, ::-1])),
        "turned": lambda image: image.replace(array=np.ascontiguousarray(np.rot90(image.array, axes=(1, 2)))),
        "inverted": lambda image: changed(image, low + high - image.array.astype(np.float64)),
        "noise": noise,
        "contrast": contrast,
        "blur": blur,
    }


def _head(name: str, scores: Array, weights: Packed | None = None) -> Head:
    spread = max(float(scores.std()), 1e-6)
    return Head(name=name, mean=float(scores.mean()), spread=spread, weights=weights)


def _discriminant(own: Array, moved: Array) -> Packed:
    """Weights (D,) of Fisher's discriminant of standardised embeddings, in the space that these span."""
    both = np.concatenate([own, moved])
    rank = min(150, len(both) // 2, both.shape[1])
    _, _, axes = np.linalg.svd(own, full_matrices=False)
    axes = axes[:rank]
    mine, theirs = own @ axes.T, moved @ axes.T
    within = np.concatenate([mine - mine.mean(0), theirs - theirs.mean(0)])
    covariance = within.T @ within / len(within)
    covariance += _SHRINK * np.trace(covariance) / len(axes) * np.eye(len(axes))
    weights = np.linalg.solve(covariance, theirs.mean(0) - mine.mean(0)) @ axes
    return Packed.of(weights / max(float(np.linalg.norm(weights)), 1e-12))


def _some(items: Sequence[Item], most: int, seed: int) -> list[Item]:
    """At most so many items, drawn from all over the list."""
    if len(items) <= most:
        return list(items)
    picked = np.sort(np.random.default_rng(seed).permutation(len(items))[:most])
    return [items[int(n)] for n in picked]
