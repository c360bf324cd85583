"""A folder looked at before anything is known of it: its files by name, and what a data layout sees in them."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np

from medzoo.data.annotation_files import read_json
from medzoo.data.file_names import is_hidden
from medzoo.errors import UserError
from medzoo.io import read_labels
from medzoo.io.formats import format_of, is_image_file, stem

MOST = 200_000  # files that are looked at
_MASKS = 16  # masks that are read to see what their values mean
_CLASSES = 24  # more values than these are numbers of objects
_FEW = 25  # files of one kind that are opened to see what they hold
_MASK = re.compile(
    r"(.*?)[ _.-]*(?:tissue_)?(?:mask|seg|segmentation|label|labels|gtv|lesion|lesions|gt|manual|truth|roi)",
    re.IGNORECASE,
)
MASK_FOLDERS = (
    *("mask", "masks", "label", "labels", "seg", "segs", "segmentation", "segmentations", "gt", "groundtruth"),
    *("annotation", "annotations", "ground_truth", "instance", "instances", "labelstr", "masktr"),
)
IMAGE_FOLDERS = (
    "image",
    "images",
    "img",
    "imgs",
    "picture",
    "pictures",
    "input",
    "inputs",
    "data",
    "scans",
    "imagestr",
)


@dataclass(frozen=True)
class Sighting:
    """A layout's view of a folder. `tasks`: those it can be learned for, the most likely first.

    `params`: of the recipe's data section, beside type and root; `labels`: of the objects, without a background;
    `objects`: the labels to detect and segment, where they are others. `why`: what was seen, in words. `root`: where
    the recipe's data.root points; absent: the folder itself. `modality`: as the data call it.
    """

    tasks: tuple[str, ...]
    labels: tuple[str, ...]
    why: str
    params: Mapping[str, Any] = field(default_factory=dict)
    root: Path | None = None
    objects: tuple[str, ...] = ()
    modality: str | None = None


class Listing:
    """The files below a folder, by path; hidden ones are left out. Of a file, those of its folder, and it is `named`.

    Raises UserError for what does not exist, or holds no file.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise UserError("no such file or folder", str(path))
        self.root = path.parent if path.is_file() else path
        self.named: str | None = path.name if path.is_file() else None
        self.files = sorted(self._walk())
        if not self.files:
            raise UserError("holds no files", str(path))

    def _walk(self) -> Iterator[str]:
        count = 0
        for folder, folders, files in os.walk(self.root, followlinks=True):
            folders[:] = sorted(name for name in folders if not is_hidden(name))
            below = Path(folder).relative_to(self.root)
            for name in files:
                if not is_hidden(name):
                    count += 1
                    if count > MOST:
                        raise UserError(f"holds more than {MOST:,} files", str(self.root), "name the folder of one set")
                    yield (below / name).as_posix()

    @cached_property
    def file_set(self) -> frozenset[str]:
        """The paths, to look one up."""
        return frozenset(self.files)

    def matching(self, *patterns: str) -> list[str]:
        """Paths that fit one of the patterns, in which * takes slashes too; of a named file that file alone.

        >>> Listing(Path("set")).matching("*.json")  # doctest: +SKIP
        ['annotations.json']
        """
        found = [name for name in self.files if any(fnmatch(name.lower(), pattern) for pattern in patterns)]
        return [self.named] if self.named in found else found

    def path(self, name: str) -> Path:
        """The path of a file by its name below the root."""
        return self.root / name

    def json(self, name: str) -> Any:
        """A JSON document of the folder, None for what is none; read once."""
        if name not in self._documents:
            try:
                self._documents[name] = read_json(self.path(name))
            except UserError:
                self._documents[name] = None
        return self._documents[name]

    @cached_property
    def _documents(self) -> dict[str, Any]:
        return {}

    @cached_property
    def pictures(self) -> list[str]:
        """Paths of pictures (PNG, JPEG, TIFF, BMP)."""
        return [name for name in self.files if format_of(name) == "picture"]

    @cached_property
    def volumes(self) -> list[str]:
        """Paths of volumes in one file (NIfTI, NRRD, MetaImage, MGH)."""
        kinds = ("nifti", "nrrd", "metaimage", "mgh")
        return [name for name in self.files if format_of(name) in kinds and is_image_file(PurePosixPath(name))]

    @cached_property
    def kinds(self) -> str:
        """The folder's content in words, for an error."""
        endings = Counter(PurePosixPath(name).suffix.lower() or "no suffix" for name in self.files)
        return ", ".join(f"{count} {ending}" for ending, count in endings.most_common(5))

    def sample(self, names: Sequence[str], count: int = _FEW) -> list[str]:
        """Some of `names`, evenly spread."""
        step = max(1, len(names) // count)
        return list(names[::step][:count])


@dataclass(frozen=True)
class MaskPairs:
    """Images with their masks: patterns with the same places, and pairs of paths. `of_class`: patterns by label, of one
    mask a label; `channels`: of further images on the same grid."""

    image: str
    mask: str
    pairs: tuple[tuple[str, str], ...]
    of_class: Mapping[str, str] = field(default_factory=dict)
    channels: tuple[str, ...] = ()


def pair_masks(names: Sequence[str]) -> MaskPairs | None:
    """Find images and their masks in `names`: parallel folders, or NAME and NAME_mask beside each other.

    None where no pattern covers nearly all images.
    """
    return _parallel(names) or _beside(names)


def mask_kind(listing: Listing, pairs: MaskPairs) -> Literal["binary", "instances"] | tuple[int, ...]:
    """Meaning of the values of masks: binary (0 and one other), numbers of objects, or, few of them and the same ones
    throughout, those of classes. Raises UserError for masks that are colour pictures, or shades.
    """
    seen: list[set[int]] = []
    for name in listing.sample([mask for _, mask in pairs.pairs], _MASKS):
        stored = read_labels(listing.path(name)).array[0]
        seen.append({int(v) for v in np.unique(stored)} - {0})
    every = set[int]().union(*seen)
    if all(len(values) <= 1 for values in seen) and (len(every) <= 1 or every <= {1, 255}):
        return "binary"
    counts = {len(values) for values in seen}
    # Numbers of objects run on, as far as each image has objects; classes are the same few everywhere.
    runs_on = all(values == set(range(1, len(values) + 1)) for values in seen)
    if (runs_on and len(counts) > 1 and max(counts) > 6) or len(every) > _CLASSES:
        return "instances"
    return tuple(sorted(every))


def _parallel(names: Sequence[str]) -> MaskPairs | None:
    """images/NAME.png with masks/NAME.png, where NAME may begin or end otherwise; one folder, or one a label."""
    by_folder: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        path = PurePosixPath(name)
        by_folder[path.parent.as_posix()][stem(path)] = name
    roles = {folder: _role(folder) for folder in by_folder}
    images = [folder for folder, role in roles.items() if role == "image"]
    if not images:  # the folder that is no mask's is the images', if there is one
        images = [folder for folder, role in roles.items() if role is None]
    masks = [folder for folder, role in roles.items() if role == "mask"]
    if len(images) != 1 or not masks:
        return None
    (image,) = images
    begin = _beginning(by_folder[image])
    middles = {own.removeprefix(begin): name for own, name in by_folder[image].items()}
    suffix = _one_suffix(middles.values())
    patterns, pairs = {}, []
    for folder in masks:
        own_begin = _beginning(by_folder[folder])
        found = None
        for start, known in ((begin, middles), (own_begin, middles), ("", by_folder[image])):
            own = {name.removeprefix(start): path for name, path in by_folder[folder].items()}
            ending = next((e for e in _endings(known, own) if _covers(known, own, e)), None)
            if ending is not None:
                found = start, ending, {own[m + ending]: n for m, n in known.items() if m + ending in own}
                break
        if found is None or suffix is None or (own_suffix := _one_suffix(found[2])) is None:
            return None
        start, ending, matched = found
        head = "" if known is by_folder[image] else begin
        patterns[folder] = f"{folder}/{start}{{name}}{ending}{own_suffix}"
        pairs += [(n, m) for m, n in matched.items()]
    prefix = "" if image == "." else f"{image}/"
    several = {PurePosixPath(folder).name: pattern for folder, pattern in patterns.items()} if len(patterns) > 1 else {}
    mask = "" if several else next(iter(patterns.values()))
    return MaskPairs(f"{prefix}{head}{{name}}{suffix}", mask, tuple(sorted(pairs)), several)


def _beside(names: Sequence[str]) -> MaskPairs | None:
    """NAME.png with NAME_mask.png, or ID_t1.nii.gz with ID_label.nii.gz, in one folder or a folder each.

    Raises UserError for masks of two kinds, or images of several, of which nothing tells which is meant.
    """
    by_folder: dict[str, dict[str, str]] = defaultdict(dict)
    for name in names:
        path = PurePosixPath(name)
        by_folder[path.parent.as_posix()][stem(path)] = name
    pairs: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    others = 0
    for stems in by_folder.values():
        masks = {own: match[1] for own in stems if (match := _MASK.fullmatch(own)) is not None}
        others += len(stems) - len(masks)
        for own, base in masks.items():
            for partner in stems:
                rest = partner.removeprefix(base) if partner.startswith(base) else None
                # 1_t1 and 10_label do not belong together: what follows the base is no digit.
                if partner not in masks and rest is not None and base and not rest[:1].isalnum():
                    pairs[rest, own.removeprefix(base)].append((stems[partner], stems[own]))
                elif partner not in masks and not base:
                    pairs[partner, own].append((stems[partner], stems[own]))
    most = max(map(len, pairs.values()), default=0)
    kinds = [kind for kind, found in pairs.items() if len(found) > 0.5 * most]
    if not kinds or most < 0.5 * others / len({rest for rest, _ in kinds}):
        return None
    endings, rests = sorted({ending for _, ending in kinds}), sorted({rest for rest, _ in kinds})
    if len(endings) > 1:
        raise UserError(f"has masks of several kinds: {', '.join(endings)}", None, "move all but one of them elsewhere")
    found = pairs[rests[0], endings[0]]
    depth = {len(PurePosixPath(name).parts) for name, _ in found}
    suffixes = _one_suffix(image for image, _ in found), _one_suffix(mask for _, mask in found)
    if len(depth) != 1 or None in suffixes or (level := depth.pop()) > 2:
        return None
    bare = stem(found[0][0]) == rests[0]
    prefix = ("{case}/" if level == 2 else "") + ("" if bare else "{name}")
    if "{" not in prefix:
        return None
    others_of = tuple(f"{prefix}{rest}{suffixes[0]}" for rest in rests[1:])
    return MaskPairs(
        f"{prefix}{rests[0]}{suffixes[0]}", f"{prefix}{endings[0]}{suffixes[1]}", tuple(sorted(found)), {}, others_of
    )


def _role(folder: str) -> str | None:
    parts = [part.lower() for part in PurePosixPath(folder).parts]
    if parts and (parts[-1] in MASK_FOLDERS or (len(parts) > 1 and parts[-2] in MASK_FOLDERS)):
        return "mask"
    return "image" if parts and parts[-1] in IMAGE_FOLDERS else None


def _beginning(stems: Collection[str]) -> str:
    """The common beginning of all names, up to a character that is neither letter nor digit."""
    first, last = min(stems), max(stems)  # between which all others lie
    same = next((k for k, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    whole = first[:same]
    return whole[: max((k + 1 for k, c in enumerate(whole) if not c.isalnum()), default=0)]


def _endings(stems: Mapping[str, str], own: Mapping[str, str]) -> list[str]:
    """Endings by which mask names may differ from image names, the commonest first."""
    found = Counter[str]()
    for name in list(own)[:200]:
        for cut in range(len(name), 0, -1):
            if name[:cut] in stems:
                found[name[cut:]] += 1
                break
    return [ending for ending, _ in found.most_common(3)]


def _covers(stems: Mapping[str, str], own: Mapping[str, str], ending: str) -> bool:
    """True if nearly all masks belong to an image, whether or not every image has one."""
    return sum(s + ending in own for s in stems) >= max(1, 0.9 * len(own))


def _one_suffix(names: Iterable[str]) -> str | None:
    found = {PurePosixPath(n).name[len(stem(n)) :] for n in names}
    return found.pop() if len(found) == 1 else None


Recognise = Callable[[Listing], Sighting | None]
"""Look at a folder: what a layout sees in it, or None. It opens few files, and raises UserError for a folder that is
clearly of its kind and cannot be read."""
