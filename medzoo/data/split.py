"""Splits and folds that never divide a group, the same on every machine. Knows nothing of reading items."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_args

from medzoo.data.dataset import Item, Part
from medzoo.errors import UserError
from medzoo.escape import json_text

PARTS: tuple[Part, ...] = get_args(Part)
SPLIT_FILE = "split.json"  # in a model folder
UNUSED = "unused"
NO_GROUP = "none"
JOINED = "+"  # between kinds of groups none of which a split divides
Amount = int | float | None


class SplitSection(Protocol):
    """The fields of a recipe's `data.split` that `make_split` reads.

    `group`: a key of `Item.groups`, several of them joined by +, or "none" to say that every item stands for itself.
    `given`: take the parts the dataset itself names. `train`, `val`, `test`: whole numbers count groups, fractions
    count items, None for train is the rest. `folds`: number of folds, `fold`: which of them this split is.
    """

    @property
    def group(self) -> str: ...
    @property
    def given(self) -> bool: ...
    @property
    def train(self) -> Amount: ...
    @property
    def val(self) -> Amount: ...
    @property
    def test(self) -> Amount: ...
    @property
    def seed(self) -> int: ...
    @property
    def stratify(self) -> bool: ...
    @property
    def folds(self) -> int | None: ...
    @property
    def fold(self) -> int | None: ...


@dataclass(frozen=True)
class Split:
    """Item ids by part, in the dataset's order; `digest` is the SHA-256 over the sorted (id, part)."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    digest: str
    group: str
    given: bool = False
    fold: int | None = None

    def parts(self) -> dict[str, Part]:
        """Item id to its part."""
        return {item: part for part in PARTS for item in getattr(self, part)}

    def to_json(self) -> dict[str, Any]:
        """A JSON document; `from_json` reads it back."""
        lists: dict[str, Any] = {part: list(getattr(self, part)) for part in PARTS}
        return {"group": self.group, "given": self.given, "fold": self.fold, "digest": self.digest, **lists}

    def to_bytes(self) -> bytes:
        """The text of a split file."""
        return (json_text(self.to_json(), indent=1) + "\n").encode()

    @classmethod
    def read(cls, path: Path) -> Split:
        """The split in a file that holds `to_bytes()`. Raises UserError, see `from_json`."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot be read: {error.strerror}", str(path)) from error
        except UnicodeDecodeError:
            raise UserError("is not a split file: it is not text", str(path)) from None
        return cls.from_json(text, where=str(path))

    def require_same(self, stored: Split, *, where: str, hint: str | None = None) -> None:
        """Raises UserError if this split, made of the data as they are now, is not the `stored` one."""
        if self.digest == stored.digest:
            return
        then, now = stored.parts(), self.parts()
        moved = [i for i in now if i in then and now[i] != then[i]]
        new, gone = [i for i in now if i not in then], [i for i in then if i not in now]
        words = [
            f"{len(items)} items {text} (the first is {items[0]})"
            for items, text in ((moved, "are in another part"), (new, "are new"), (gone, "are gone"))
            if items
        ]
        raise UserError(f"the data are now split differently from this file: {', '.join(words)}", where, hint)

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | str, *, where: str | None = None) -> Split:
        """A split from what `to_json` gave, as a mapping or as text.

        Raises UserError if a field is missing, an item is on two sides, or the digest is another.
        """
        try:
            data = json.loads(document) if isinstance(document, str) else document
            lists = {part: tuple(str(item) for item in data[part]) for part in PARTS}
            group, given, fold, digest = str(data["group"]), bool(data["given"]), data["fold"], data["digest"]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"is not a split file: {error}", where, "medzoo train writes one") from None
        twice = [item for item, n in Counter(i for ids in lists.values() for i in ids).items() if n > 1]
        if twice:
            raise UserError(f"item {twice[0]!r} is listed more than once", where)
        if split_digest(lists) != digest:
            raise UserError("the digest does not match the lists: the file was edited", where, "restore it")
        return cls(**lists, digest=digest, group=group, given=given, fold=fold)


def split_digest(parts: Mapping[Part, Iterable[str]]) -> str:
    """SHA-256 (hex) over the sorted lines `id TAB part` of a mapping from part to item ids."""
    lines = sorted(f"{item}\t{part}\n" for part, ids in parts.items() for item in ids)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def make_split(items: Sequence[Item], section: SplitSection, *, fold: int | None = None) -> Split:
    """Divide `items` into train, val and test as a recipe's split section says.

    Groups are taken in an order that a hash of the seed and the group's name gives, and each goes to the
    part that is furthest behind its share of the group's classes (Sainte-Laguë quotients), so the split is
    stratified, exact in counts, and equal on every machine. With folds, the test part is drawn first and is
    the same in each of them; the fold is val. Without a test part the fold is test, and if val is asked
    for, it is the next fold. Raises UserError for an unknown group, too few groups, an empty part.
    """
    fold = section.fold if fold is None else fold
    groups = grouped(items, section.group)
    drawer = _GroupAssigner(items, groups, seed=section.seed, stratify=section.stratify)
    chosen = drawer.given() if section.given else {}
    if not section.given:
        chosen = drawer.draw(list(groups), _amounts(section, folds=bool(section.folds)))
    elif section.val and "val" not in chosen.values():
        inner = [name for name in groups if chosen[name] == "train"]
        chosen |= drawer.draw(inner, {"val": section.val, "train": None})
    if section.folds:
        chosen = drawer.refold(chosen, section.folds, fold, val=section.val is None or section.val > 0)
    elif fold is not None:
        raise UserError("a fold is given, but the split has no folds", "data.split.fold", "set data.split.folds")
    side = {item.id: chosen[name] for name, members in groups.items() for item in members}
    lists = {part: tuple(item.id for item in items if side[item.id] == part) for part in PARTS}
    return Split(**lists, digest=split_digest(lists), group=section.group, given=section.given, fold=fold)


def grouped(items: Sequence[Item], key: str) -> dict[str, list[Item]]:
    """Items by the name of their group; with "none" each item is its own."""
    if not items:
        raise UserError("the dataset has no items to split", "data")
    repeated = [item for item, n in Counter(item.id for item in items).items() if n > 1]
    if repeated:
        raise UserError("two items have the same id", repeated[0])
    if JOINED in key:
        return _joined(items, key)
    groups: dict[str, list[Item]] = {}
    for item in items:
        if key != NO_GROUP and key not in item.groups:
            known = sorted(set.intersection(*(set(i.groups) for i in items)))
            hint = f"this data has: {', '.join([*known, NO_GROUP])}"
            raise UserError(f"{item.id} has no group {key!r}", "data.split.group", hint)
        groups.setdefault(item.id if key == NO_GROUP else item.groups[key], []).append(item)
    return groups


def _joined(items: Sequence[Item], key: str) -> dict[str, list[Item]]:
    """Items that share a group of any of the kinds joined in `key` ("patient+near-duplicate"), directly or through
    others, under the name of the first one's id."""
    root = {item.id: item.id for item in items}

    def find(name: str) -> str:
        while root[name] != name:
            root[name] = name = root[root[name]]
        return name

    for one in key.split(JOINED):
        for members in grouped(items, one).values():
            for item in members[1:]:
                a, b = find(members[0].id), find(item.id)
                root[max(a, b)] = min(a, b)
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(find(item.id), []).append(item)
    return groups


def resampling_group(item: Item, key: str) -> str | None:
    """The group of an item that intervals resample by: of joined kinds the first, such as the patient."""
    return item.groups.get(key.partition(JOINED)[0])


def _amounts(section: SplitSection, *, folds: bool) -> dict[str, Amount]:
    """The asked amounts by part; with folds everything but test is divided later."""
    if folds:
        return {"train": None, "val": 0, "test": section.test or 0}
    amounts: dict[str, Amount] = {"train": section.train, "val": section.val or 0, "test": section.test or 0}
    if not section.val and not section.test and section.train is None:
        raise UserError("the split has neither a val nor a test part", "data.split", "set val and test, or folds")
    return amounts


class _GroupAssigner:
    """The groups of one dataset in their drawing order, with the classes each holds."""

    def __init__(self, items: Sequence[Item], groups: Mapping[str, list[Item]], *, seed: int, stratify: bool) -> None:
        self.groups = groups
        self.seed = seed
        self.classes = {
            name: Counter(item.stratum if stratify else "" for item in members) for name, members in groups.items()
        }

    def given(self) -> dict[str, str]:
        """The dataset's own part of each group."""
        chosen: dict[str, str] = {}
        for name, members in self.groups.items():
            for item in members:
                if item.part is None:
                    raise UserError(
                        f"the dataset assigns no part to {item.id}",
                        "data.split.given",
                        "set train, val and test",
                    )
                if chosen.setdefault(name, item.part) != item.part:
                    raise UserError(
                        f"the dataset's own parts divide the group {name!r} ({chosen[name]} and {item.part})",
                        "data.split.given",
                        "choose another group, or set train, val and test",
                    )
        return chosen

    def draw(self, names: Sequence[str], amounts: Mapping[str, Amount]) -> dict[str, str]:
        """A part for each of `names`; the groups that no part asked for are left unused."""
        asked = [a for a in amounts.values() if a]
        if all(isinstance(a, int) for a in asked):
            return self._assign(names, self._counts(len(names), amounts), by_group=True)
        if any(isinstance(a, int) for a in asked):
            raise UserError(
                "counts of groups and fractions of items cannot be mixed", "data.split", "use one kind: 12 or 0.7"
            )
        return self._assign(names, self._fractions(amounts), by_group=False)

    def _counts(self, available: int, amounts: Mapping[str, Amount]) -> dict[str, float]:
        wanted = sum(int(a) for a in amounts.values() if a is not None)
        rest = available - wanted
        beside = "" if rest < 0 else " beside train"
        if rest < 0 or (rest == 0 and any(a is None for a in amounts.values())):
            raise UserError(
                f"{wanted} groups were requested{beside}, but the data have {available}",
                "data.split",
                "request fewer",
            )
        targets = {part: float(rest if a is None else a) for part, a in amounts.items()}
        return targets if None in amounts.values() else targets | {UNUSED: float(rest)}

    def _fractions(self, amounts: Mapping[str, Amount]) -> dict[str, float]:
        total = sum(a for a in amounts.values() if a is not None)
        if total > 1 + 1e-9 or any(a is not None and a < 0 for a in amounts.values()):
            raise UserError(f"the fractions sum to {total:g}, which is more than 1", "data.split", "lower them")
        rest = round(1 - total, 9)
        targets = {part: rest if a is None else float(a) for part, a in amounts.items()}
        return targets if None in amounts.values() else targets | {UNUSED: rest}

    def _assign(self, names: Sequence[str], targets: Mapping[str, float], *, by_group: bool) -> dict[str, str]:
        """Each group to the part furthest behind. `by_group`: targets are exact counts of groups."""
        shares = {part: float(t) for part, t in targets.items() if t > 0}
        load: dict[str, Counter[str]] = {part: Counter() for part in shares}
        room = dict(shares)
        chosen: dict[str, str] = {}
        for name in sorted(names, key=self._order):
            weights = self.classes[name]
            if by_group:  # one group counts once, for the class that it holds most of
                weights = Counter({max(weights, key=lambda c: (weights[c], c)): 1})
            open_parts = [part for part in shares if not by_group or room[part] > 0]

            def behind(part: str, weights: Counter[str] = weights) -> tuple[float, float]:
                """Sort key of a part: its fill in the group's classes, then over all."""
                by_class = sum(w * (load[part][c] + w / 2) for c, w in weights.items()) / shares[part]
                return by_class, load[part].total() / shares[part]

            part = min(open_parts, key=behind)
            load[part].update(weights)
            room[part] -= 1
            chosen[name] = part
        empty = [part for part in shares if part != UNUSED and part not in chosen.values()]
        if empty:
            raise UserError(f"{len(names)} groups are too few: the {empty[0]} part would be empty", "data.split")
        return chosen

    def refold(self, chosen: Mapping[str, str], folds: int, fold: int | None, *, val: bool) -> dict[str, str]:
        """Divide all but test into `folds` and put fold number `fold` on the side that is measured."""
        if fold is None or not 0 <= fold < folds:
            raise UserError(f"fold {fold} is not between 0 and {folds - 1}", "data.split.fold")
        inner = [name for name, part in chosen.items() if part in ("train", "val")]
        if folds < 2 or len(inner) < folds:
            raise UserError(f"{len(inner)} groups cannot be divided into {folds} folds", "data.split.folds")
        numbers = self._assign(inner, {str(k): 1.0 for k in range(folds)}, by_group=False)
        result = dict(chosen) | dict.fromkeys(inner, "train")
        if "test" in chosen.values():
            return result | {name: "val" for name in inner if numbers[name] == str(fold)}
        result |= {name: "test" for name in inner if numbers[name] == str(fold)}
        if not val or folds == 2:
            return result
        following = str((fold + 1) % folds)
        return result | {name: "val" for name in inner if numbers[name] == following}

    def _order(self, name: str) -> str:
        return hashlib.sha256(f"{self.seed}\t{name}".encode(errors="surrogateescape")).hexdigest()
