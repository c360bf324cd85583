"""Open and split the data of a recipe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo import registry
from medzoo.artifact import ModelFolder
from medzoo.data.dataset import DataParams, Dataset, Item, Part
from medzoo.data.split import SPLIT_FILE, Split, make_split
from medzoo.errors import UserError
from medzoo.io.cache import file_digest
from medzoo.recipe import Recipe


@dataclass(frozen=True)
class OpenData:
    """A dataset with its items and their split."""

    data: Dataset
    items: Sequence[Item]
    split: Split

    def part(self, part: Part) -> list[Item]:
        """The items of one side."""
        ids = set(getattr(self.split, part))
        return [item for item in self.items if item.id in ids]


def open_data(recipe: Recipe) -> OpenData:
    """Open and split a recipe's data. Raises UserError if the layout or the split cannot be had."""
    entry = registry.entry("data", recipe.data.type)
    params = data_params(recipe)
    root = getattr(params, "root", None)
    if isinstance(root, Path) and not root.exists():
        way = "set data.root=FOLDER, or for the recipes of medzoo MEDZOO_DATA=PARENT_FOLDER"
        raise UserError("the data folder does not exist", where=str(root), hint=way)
    data: Dataset = entry.open(params, recipe.task, recipe.labels)
    items = data.items()
    if not items:
        raise UserError("the dataset is empty", where=f"{recipe.source}: data")
    split = recipe.data.split
    # With what the section means where it says nothing: a tenth for validation, a fifth for the test.
    return OpenData(data, items, make_split(items, split.model_copy(update=split.amounts)))


def require_same_split(folder: ModelFolder, split: Split) -> None:
    """Raise UserError for data that changed since training: their test part may hold what was trained on."""
    hint = "the data changed; name the data to evaluate on with --data RECIPE"
    if SPLIT_FILE in folder.manifest["files"]:
        path = folder.file(SPLIT_FILE)
        split.require_same(Split.read(path), where=str(path), hint=hint)
    elif split.digest != folder.manifest["split"]["digest"]:  # a folder without a split file
        raise UserError("the data are now split differently from the training", str(folder.path), hint)


def data_params(recipe: Recipe) -> DataParams:
    """The parameters of the recipe's data type, checked."""
    kind: type[DataParams] = registry.entry("data", recipe.data.type).params
    params = recipe.data.params
    return params if isinstance(params, kind) else kind.model_validate(params)


def data_digest(items: Sequence[Item]) -> dict[str, Any]:
    """SHA-256 over (item, role, digest of the file), independent of where the data lie; and their number."""
    files: set[Path] = set()
    lines = []
    for item in items:
        for role, path in sorted(item.files.items()):
            files.add(path)
            lines.append([item.id, role, file_digest(path)])
    return {
        "items": len(items),
        "files": len(files),
        "sha256": hashlib.sha256(json.dumps(sorted(lines)).encode()).hexdigest(),
    }
