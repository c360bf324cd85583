"""The feed that a net asks for, opened on a recipe's data; and golden inputs cut from the same data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from rich.console import Console
from rich.progress import track

from medzoo.commands.data import OpenData
from medzoo.data.dataset import Part
from medzoo.errors import UserError
from medzoo.io.cache import code_digest
from medzoo.nn.net import Crops, Images, Net, Patches, Regions, Scenes, Vectors
from medzoo.recipe import Recipe
from medzoo.runtime.parity import Golden
from medzoo.training.augment import Augmentation
from medzoo.training.feeds.batches import Batches
from medzoo.training.feeds.crops import CropBatches
from medzoo.training.feeds.images import ImageBatches, OrderedImages
from medzoo.training.feeds.patches import PatchBatches
from medzoo.training.feeds.pictures import Pictures
from medzoo.training.feeds.regions import ProposedPictures, WholePictures, WindowBatches
from medzoo.training.feeds.scenes import OrderedScenes, SceneBatches, ScenePictures
from medzoo.training.feeds.slice_scenes import SliceScenes
from medzoo.training.feeds.vectors import VectorBatches
from medzoo.training.feeds.volumes import Volume, load_volumes

_STEPS = 100  # of an epoch that has no natural end, where the recipe names none
_VAL_STEPS = 10
_CROWDED = 8  # pictures with many proposed regions, among a detector's golden inputs
_WHOLE = 24  # pictures of a detector, uncut, among its golden inputs


@dataclass(frozen=True)
class Feeds:
    """Training and validation batches, and what reads golden inputs for the export's gate, which the first step does
    not wait for; `whole` and `judged`: what a net that learns both ways is solved on and concludes from."""

    train: Batches
    val: Batches | None
    golden: Callable[[], list[Golden]]
    whole: Batches | None = None
    judged: Batches | None = None


def open_feeds(net: Net, recipe: Recipe, data: OpenData) -> Feeds:
    """Read what training needs. Raises UserError for data that do not fit the net."""
    if isinstance(net.feed, Patches | Crops):
        return _of_volumes(net, recipe, data)
    if isinstance(net.feed, Images):
        return _of_pictures(net, recipe, data)
    if isinstance(net.feed, Scenes):
        return _of_scenes(net, recipe, data)
    if isinstance(net.feed, Regions):
        return _of_regions(net, recipe, data)
    if isinstance(net.feed, Vectors):
        return _of_vectors(net.feed, recipe, data)
    raise UserError(f"no feed for {type(net.feed).__name__}", where=recipe.source)


def _of_volumes(net: Net, recipe: Recipe, data: OpenData) -> Feeds:
    settings, feed = recipe.train, net.feed
    train, val = (
        load_volumes(
            data.data,
            data.part(part),
            recipe.host_steps,
            geometry=net.geometry,
            labels=len(recipe.labels),
            seed=settings.seed,
            key=_key(recipe),
        )
        for part in ("train", "val")
    )

    absent = [label for label, count in zip(recipe.labels, train.sizes.sum(axis=0), strict=True) if not count]
    if unlearnt := [label for label in absent if label != recipe.labels[0]]:
        raise UserError(
            f"no voxel of {' or '.join(unlearnt)} is in any of the {len(train)} training scans",
            f"{recipe.source}: labels",
            "leave it out, or see data.values and data.split",
        )

    def batches(volumes: Sequence[Volume], steps: int, seed: int) -> Batches:
        options = {"geometry": net.geometry, "batch": settings.batch, "steps": steps, "seed": seed}
        if isinstance(feed, Patches):
            return PatchBatches(volumes, feed, **options)  # type: ignore[arg-type]
        assert isinstance(feed, Crops)
        return CropBatches(volumes, feed, **options)  # type: ignore[arg-type]

    return Feeds(
        batches(train, settings.steps_per_epoch or _STEPS, settings.seed),
        # Another seed than training's: the same draws would tie the two losses together.
        batches(val, min(_VAL_STEPS, settings.steps_per_epoch or _STEPS), settings.seed + 1) if val else None,
        partial(_golden, net, val or train),
    )


def _of_pictures(net: Net, recipe: Recipe, data: OpenData) -> Feeds:
    settings, feed = recipe.train, net.feed
    assert isinstance(feed, Images)
    train, val = (
        Pictures(
            data.data,
            data.part(part),
            recipe.host_steps,
            labels=recipe.labels,
            channels=net.geometry.channels,
            size=feed.size,
        )
        for part in ("train", "val")
    )
    if settings.workers:
        # Decoded before the workers branch off, or each of them would decode everything in every epoch.
        train.decode(on_bad_image=settings.on_bad_image)
    batches = ImageBatches(
        train,
        batch=settings.batch,
        seed=settings.seed,
        steps=settings.steps_per_epoch,
        changes=[step.params for step in settings.augment],
        mixup=settings.mixup,
        on_bad_image=settings.on_bad_image,
        group=recipe.data.split.group,
    )
    ordered = OrderedImages(val, batch=settings.batch, on_bad_image=settings.on_bad_image) if len(val) else None
    return Feeds(batches, ordered, partial(_golden_pictures, val if len(val) else train))


def _golden_pictures(pictures: Pictures) -> list[Golden]:
    """Real batches of 1, 2, 3 and 5 pictures, cut to sizes that all of them have."""
    found = []
    for batch, part in ((1, 1.0), (2, 0.8), (3, 0.61), (5, 0.43)):
        arrays = [pictures.stored(index % len(pictures)) for index in range(batch)]
        height, width = (max(8, round(min(a.shape[axis] for a in arrays) * part)) for axis in (1, 2))
        images = np.stack([a[:, :height, :width] for a in arrays]).astype(np.float32)
        found.append(Golden(f"data {'x'.join(map(str, images.shape))}", {"image": images}))
    return found


def _of_scenes(net: Net, recipe: Recipe, data: OpenData) -> Feeds:
    settings, feed = recipe.train, net.feed
    assert isinstance(feed, Scenes)
    train, val = (_scenes(net, recipe, data, part) for part in ("train", "val"))
    if settings.workers:
        train.decode(on_bad_image=settings.on_bad_image)
    batches = SceneBatches(
        train,
        batch=settings.batch,
        seed=settings.seed,
        steps=settings.steps_per_epoch,
        changes=[step.params for step in settings.augment],
        on_bad_image=settings.on_bad_image,
    )
    ordered = OrderedScenes(val, batch=settings.batch, on_bad_image=settings.on_bad_image) if len(val) else None
    return Feeds(batches, ordered, partial(_golden_scenes, val if len(val) else train))


def _scenes(net: Net, recipe: Recipe, data: OpenData, part: Part) -> ScenePictures:
    feed, geometry, items = net.feed, net.geometry, data.part(part)
    assert isinstance(feed, Scenes)
    if geometry.slices > 1:
        return SliceScenes(
            data.data,
            items,
            recipe.host_steps,
            geometry=geometry,
            labels=len(recipe.labels),
            size=feed.size,
            key=_key(recipe),
        )
    return ScenePictures(data.data, items, recipe.host_steps, channels=geometry.channels, size=feed.size)


def _key(recipe: Recipe) -> str:
    """What decides, beside the files, what a data set makes of them."""
    return repr((code_digest(), recipe.task, recipe.labels, recipe.data.type, recipe.data.params))


def _golden_scenes(pictures: ScenePictures) -> list[Golden]:
    """Real batches of 1, 2, 3 and 5 pictures in four sizes: with no, one and the most objects among them; then more
    pictures as they are, since a fault in one channel shows in one answer of ten."""
    scenes = [pictures.stored(index) for index in range(len(pictures))]
    counts = [len(scene.boxes) for scene in scenes]
    firsts = [counts.index(wanted) for wanted in (max(counts), 0, 1) if wanted in counts]
    chosen = list(dict.fromkeys([*firsts, *range(len(scenes))]))
    found = []
    for batch, part in ((1, 1.0), (2, 0.8), (3, 0.61), (5, 0.43)):
        arrays = [scenes[chosen[index % len(chosen)]].array for index in range(batch)]
        height, width = (max(8, round(min(a.shape[axis] for a in arrays) * part)) for axis in (1, 2))
        images = np.stack([a[:, :height, :width] for a in arrays]).astype(np.float32)
        found.append(Golden(f"data {'x'.join(map(str, images.shape))}", {"image": images}))
    for index in chosen[1 : 1 + _WHOLE]:
        image = scenes[index].array[None].astype(np.float32)
        found.append(Golden(f"data {'x'.join(map(str, image.shape))} of {pictures.items[index].id}", {"image": image}))
    return found


def _of_regions(net: Net, recipe: Recipe, data: OpenData) -> Feeds:
    settings, feed = recipe.train, net.feed
    assert isinstance(feed, Regions)
    train, val = (
        ProposedPictures(
            data.data,
            data.part(part),
            recipe.host_steps,
            channels=net.geometry.channels,
            on_bad_image=settings.on_bad_image,
            watch=lambda items: track(items, description="searching", console=Console(stderr=True)),
        )
        for part in ("train", "val")
    )
    # So many that each object is drawn about once.
    natural = -(-sum(len(one.objects) for one in train.all) // max(1, round(settings.batch * feed.positive_share)))
    steps = settings.steps_per_epoch or max(1, natural)

    def windows(pictures: ProposedPictures, steps: int, seed: int, changes: Sequence[Augmentation]) -> Batches:
        return WindowBatches(
            pictures,
            feed,
            classes=len(recipe.labels),
            batch=settings.batch,
            steps=steps,
            seed=seed,
            changes=changes,
        )

    changes = [step.params for step in settings.augment]
    seen = val if len(val.items) else train
    return Feeds(
        windows(train, steps, settings.seed, changes),
        windows(val, min(_VAL_STEPS, steps), settings.seed + 1, ()) if len(val.items) else None,
        partial(_golden_regions, WholePictures(seen)),
        WholePictures(train),
        WholePictures(val) if len(val.items) else None,
    )


def _golden_regions(pictures: WholePictures) -> list[Golden]:
    """Real batches of 1, 2, 3 and 5 pictures with as many regions as suit, those that are the objects among them; then
    more pictures with many regions, of which some overlap by any threshold."""
    found = []
    wanted = [(range(batch), count) for batch, count in ((1, 64), (2, 24), (3, 16), (5, 9))]
    wanted += [(range(first, first + 1), 160) for first in range(5, min(5 + _CROWDED, len(pictures)))]
    for picked, count in wanted:
        rows = []
        for index in picked:
            (regions, boxes), (target,) = pictures.batch(0, index % len(pictures))
            both = [np.concatenate([target["windows"], regions[0]]), np.concatenate([target["boxes"], boxes[0]])]
            rows.append([np.resize(np.arange(len(both[0])), count), *both])
        regions, boxes = (np.stack([row[part][row[0]] for row in rows]).astype(np.float32) for part in (1, 2))
        found.append(Golden(f"data {'x'.join(map(str, regions.shape))}", {"regions": regions, "boxes": boxes}))
    return found


def _of_vectors(feed: Vectors, recipe: Recipe, data: OpenData) -> Feeds:
    """Closed-form nets hold out what they need themselves, grouped; validation items are left to the user."""
    train = VectorBatches(
        data.data,
        data.part("train"),
        recipe.host_steps,
        feed,
        group=recipe.data.split.group,
        on_bad_image=recipe.train.on_bad_image,
        watch=lambda items: track(items, description="measuring", console=Console(stderr=True)),
    )
    return Feeds(train, None, partial(_golden_vectors, train))


def _golden_vectors(vectors: VectorBatches) -> list[Golden]:
    """Real batches of 1, 2, 3 and 5 rows of features."""
    rows = vectors.batch(0, 0)[0].numpy().astype(np.float32)
    found = []
    for count in (1, 2, 3, 5):
        picked = np.resize(np.arange(len(rows)), count)
        found.append(Golden(f"data {count}x{rows.shape[1]}", {"features": rows[picked]}))
    return found


def _golden(net: Net, volumes: Sequence[Volume]) -> list[Golden]:
    """Real batches of 1, 2, 3 and 5 inputs in four sizes, from the middle of the first scan."""
    array, dims = volumes[0].array, net.geometry.dims
    found = []
    for batch, part in ((1, 0.5), (2, 0.3), (3, 0.23), (5, 0.17)):
        spatial = array.shape[-dims:]
        sizes = [max(8, round(n * (part + 0.04 * axis))) for axis, n in enumerate(spatial)]
        window = tuple(slice(n // 2 - s // 2, n // 2 - s // 2 + s) for n, s in zip(spatial, sizes, strict=True))
        if dims == 2:
            # Slices first in (C, S, H, W): neighbours become channels.
            count = net.geometry.slices
            first = array.shape[1] // 2
            picks = [
                np.concatenate([array[:, (first + b + s) % array.shape[1]] for s in range(count)]) for b in range(batch)
            ]
            images = np.stack([pick[(slice(None), *window)] for pick in picks])
        else:
            images = np.stack([np.roll(array, b, axis=1)[(slice(None), *window)] for b in range(batch)])
        name = "x".join(map(str, images.shape))
        found.append(Golden(f"data {name}", {"image": np.ascontiguousarray(images, np.float32)}))
    return found
