"""Find the largest batch or a learning rate before training, where a recipe asks for it by `train.find`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from medzoo import registry
from medzoo.data.catalog import Catalog
from medzoo.data.opened import OpenData
from medzoo.errors import UserError
from medzoo.nn.net import Net
from medzoo.recipe import Recipe, read_recipe_text
from medzoo.report.summary import Console
from medzoo.training.run_folder import previous_autotune

_LIMIT = 1024
_STEPS = 10  # that an epoch is left with, at least


def autotune(recipe: Recipe, net: Net, data: OpenData, *, folder: Path, resume: bool, console: Console) -> Recipe:
    """The recipe with the batch size and learning rate that its `train.find` asks for, and nothing left to find.

    With `resume` they are those that the run in `folder` began with: another batch would be another run. Raises
    UserError for a model that does not learn by gradient, for several processes, which might find different numbers,
    and where nothing can be found.
    """
    if not recipe.train.find:
        return recipe
    _possible(recipe)
    if resume and (before := previous_autotune(folder, recipe.digest)):
        return read_recipe_text(before, recipe.source, catalog=Catalog())
    from medzoo.training.batch_size import largest_batch
    from medzoo.training.fit import configure_loss
    from medzoo.training.lr_finder import find_lr

    probe = net.parts[0] if net.parts else net
    batches = net.training_input.open(net.geometry, recipe, data).train
    configure_loss(probe, recipe.train, batches)
    if "batch" in recipe.train.find:
        limit = max(1, min(_LIMIT, len(batches) * recipe.train.batch // _STEPS))
        recipe = _with(recipe, "batch", largest_batch(probe, batches, limit=limit), console)
        batches = net.training_input.open(net.geometry, recipe, data).train
    if "lr" in recipe.train.find:
        sweep = find_lr(probe, batches, recipe.train)
        recipe = _with(recipe, "lr", float(f"{sweep.suggestion:.1e}"), console)
    return recipe


def _with(recipe: Recipe, name: str, value: float, console: Console) -> Recipe:
    console.print(f"found train.{name}={value:g}")
    left = [other for other in recipe.train.find if other != name]
    changes: dict[str, Any] = {f"train.{name}": value, "train.find": left}
    return read_recipe_text(recipe.resolved(), recipe.source, changes, catalog=Catalog())


def _possible(recipe: Recipe) -> None:
    if registry.entry("model", recipe.model.type).learns != "gradient":
        raise UserError(
            f"{recipe.model.type} is fitted in closed form and has no batch size or learning rate to find",
            where=f"{recipe.source}: train.find",
            hint="take it out",
        )
    import torch

    several = recipe.train.devices == "auto" and torch.cuda.device_count() > 1
    several = several or recipe.train.devices not in ("auto", 1) or recipe.train.nodes > 1
    if several or int(os.environ.get("WORLD_SIZE", "1")) > 1 or int(os.environ.get("SLURM_NTASKS", "1")) > 1:
        raise UserError(
            "batch size and learning rate cannot be searched in several processes, which might find different values",
            where=f"{recipe.source}: train.find",
            hint="find them with train.devices=1 train.max_steps=1, and write them into the recipe",
        )
