"""Fingerprints of pictures and volumes on disk, and near-duplicate groups of them. Knows medzoo.io."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from medzoo.data.audit.fingerprint import Fingerprints, fingerprints, shrink
from medzoo.data.audit.near_duplicates import WAYS, NearPair, near_duplicates, near_groups
from medzoo.errors import UserError
from medzoo.io import luma, read_image
from medzoo.io.cache import cached_result, code_digest, file_digest
from medzoo.types import Array, Image

BATCH = 64


def grey_view(image: Image) -> Array:
    """A grey picture (H, W) of an image: colour by its luma, a volume by its three middle slices in a row, a
    thin one (one axis less than a quarter of the others) by the middle slice across that axis."""
    array: Array = luma(image.array)[0] if image.array.shape[0] == 3 else image.array[0]
    if array.ndim == 2:
        return array
    middles: list[Array] = [np.take(array, n // 2, axis=axis) for axis, n in enumerate(array.shape)]
    if 4 * min(array.shape) < max(array.shape):
        return middles[int(np.argmin(array.shape))]
    side = max(array.shape)
    view = np.zeros((side, 3 * side), array.dtype)
    for k, middle in enumerate(middles):
        view[: middle.shape[0], k * side : k * side + middle.shape[1]] = middle
    return view


def read_fingerprints(paths: Sequence[Path]) -> Fingerprints:
    """Fingerprints of the images at `paths` (not none), read by as many threads as there are processors; of one that
    cannot be read that of an empty picture, which is like no other: the audit names it (medzoo.data.audit.audit)."""

    def view(path: Path) -> Array:
        try:
            return grey_view(read_image(path))
        except UserError:
            return np.zeros((1, 1), np.uint8)

    return compute_fingerprints([lambda path=path: view(path) for path in paths])  # type: ignore[misc]


def compute_fingerprints(readers: Sequence[Callable[[], Array]]) -> Fingerprints:
    """Fingerprints of grey pictures (H, W), each given by a function that reads it; memory stays small."""
    batches = [readers[start : start + BATCH] for start in range(0, len(readers), BATCH)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return Fingerprints.join(
            list(pool.map(lambda batch: fingerprints([shrink(read()) for read in batch]), batches))
        )


class NearGroups(Mapping[str, str]):
    """The groups of one item: those that are known, and "near-duplicate", which is computed once for the whole
    dataset when it is first asked for."""

    def __init__(self, known: Mapping[str, str], key: str, near: Callable[[], Mapping[str, str]]) -> None:
        self._known, self._key, self._near = known, key, near

    def __getitem__(self, name: str) -> str:
        return self._near()[self._key] if name == "near-duplicate" else self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._known, "near-duplicate"])

    def __len__(self) -> int:
        return len(self._known) + 1


def near_pairs(prints: Fingerprints, *, mirrored: bool = True) -> list[NearPair]:
    """`near_duplicates`, kept (medzoo.io.cache): a split by near-duplicates and the audit ask for the same pairs."""
    digest = hashlib.sha256()
    for array in vars(prints).values():
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())

    def rows() -> Array:
        found = near_duplicates(prints, mirrored=mirrored)
        return np.array(
            [(p.a, p.b, p.score, p.detail, WAYS.index(p.mirrored), p.whole, *p.shared[0], *p.shared[1]) for p in found],
            np.float64,
        ).reshape(-1, 14)

    return [
        NearPair(int(a), int(b), score, detail, WAYS[int(way)], bool(whole), (tuple(shared[:4]), tuple(shared[4:])))
        for a, b, score, detail, way, whole, *shared in cached_result(
            f"near-duplicates {code_digest()} {mirrored} {digest.hexdigest()}", rows
        ).tolist()
    ]


def near_duplicate_groups(paths: Mapping[str, Path]) -> dict[str, str]:
    """The near-duplicate group of each image by its name: the name of the group's first image. Of files that were met
    before, in this order, the groups are kept (medzoo.io.cache)."""
    names = list(paths)

    def groups() -> Array:
        pairs = near_pairs(read_fingerprints([paths[name] for name in names]))
        return near_groups(len(names), ((p.a, p.b) for p in pairs))

    # The ending decides which reader a file gets.
    files = [(paths[name].suffix, _digest(paths[name])) for name in names]
    numbers = cached_result(f"near-duplicate groups {code_digest()} {files}", groups)
    return {name: names[number] for name, number in zip(names, numbers, strict=True)}


def _digest(path: Path) -> str:
    """The digest of a file; of what cannot be read, that it cannot."""
    try:
        return file_digest(path)
    except OSError as error:
        return repr(error)
