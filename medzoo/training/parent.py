"""Begin a training with the weights of a trained model: by name and shape, heads by the names of the labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from medzoo import registry
from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_model
from medzoo.artifact.manifest import MANIFEST
from medzoo.data.catalog import Catalog
from medzoo.errors import UserError
from medzoo.io.cache import file_digest
from medzoo.nn.net import Entry, Net, Spec
from medzoo.nn.weights import read_state
from medzoo.recipe import Recipe, load_recipe

BACKBONE = "backbone"


@dataclass(frozen=True)
class Inherited:
    """Names of the tensors that a net inherited from its parent: taken `whole`, `resized` by label, and left `fresh`;
    labels that were `known` to the parent; and the differences of preprocessing, in words."""

    name: str
    digest: str
    whole: tuple[str, ...]
    resized: tuple[str, ...]
    fresh: tuple[str, ...]
    known: tuple[str, ...]
    differences: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "name": self.name,
            "manifest_sha256": self.digest,
            "tensors": {"taken": len(self.whole), "resized": list(self.resized), "fresh": list(self.fresh)},
            "known_labels": list(self.known),
            "differences": list(self.differences),
            "frozen": list(self.frozen),
        }

    def lines(self) -> list[str]:
        """For people."""
        text = f"{len(self.whole)} tensors of {self.name} are taken, {len(self.resized)} resized by label"
        found = [f"{text}, {len(self.fresh)} begin fresh"]
        found += [f"labels it knows: {', '.join(self.known) or 'none'}"]
        return [*found, *(f"differs from {self.name}: {words}" for words in self.differences)]


def open_parent(model: str) -> tuple[ModelFolder, Recipe]:
    """A trained model's folder and recipe. Raises UserError for one that has no weights of its own."""
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is no model folder: an ONNX file's weights cannot be trained on", str(path), "give the folder")
    folder = ModelFolder.open(path)
    if "model.safetensors" not in folder.manifest["files"]:
        raise UserError("has no weights of its own to go on from", str(path), "give one of its members")
    return folder, load_recipe(folder.file("recipe.yaml"), catalog=Catalog())


def inherit(net: Net, recipe: Recipe, model: str, *, freeze: Sequence[str] = ()) -> Inherited:
    """Put the weights of `model` into `net`, which `recipe` built, and hold the parts that `freeze` names.

    Tensors of one name and shape are taken as they are. Those with rows for each label take the rows of labels that
    both have, whatever their order, and leave the others as they began. Raises UserError for a parent of another type,
    and for one of which nothing fits.
    """
    folder, parent = open_parent(model)
    if parent.model.type != recipe.model.type or parent.task != recipe.task:
        raise UserError(
            f"is a {parent.model.type} to {parent.task}, the recipe a {recipe.model.type} to {recipe.task}",
            str(folder.path),
            f"set model.type: {parent.model.type}, or go on from another model",
        )
    theirs, mine = read_state(folder.file("model.safetensors")), net.state_dict()
    axes = label_axes(recipe)
    rows = _rows(parent.labels, recipe.labels)
    whole: list[str] = []
    resized: list[str] = []
    fresh: list[str] = []
    for name, tensor in mine.items():
        other = theirs.get(name)
        if other is None or other.ndim != tensor.ndim:
            fresh.append(name)
        elif name in axes:
            made = _by_label(tensor, other, axes[name], rows, (len(parent.labels), len(recipe.labels)))
            if made is None:
                fresh.append(name)
            else:
                tensor.copy_(made)
                (whole if parent.labels == recipe.labels else resized).append(name)
        elif other.shape == tensor.shape:
            tensor.copy_(other.to(tensor.dtype))
            whole.append(name)
        else:
            fresh.append(name)
    if not whole:
        raise UserError("nothing of its weights fits the recipe's net", str(folder.path), "use its model section")
    frozen = _frozen(net, freeze, set(whole) - set(axes))
    known = [label for label, place in zip(recipe.labels, rows, strict=True) if place is not None]
    return Inherited(
        name=folder.name,
        digest=manifest_digest(folder),
        whole=tuple(whole),
        resized=tuple(resized),
        fresh=tuple(fresh),
        known=tuple(known),
        differences=_differences(parent, recipe),
        frozen=tuple(frozen),
    )


def manifest_digest(folder: ModelFolder) -> str:
    """The SHA-256 of a folder's manifest, which vouches for all of its files."""
    return file_digest(folder.path / MANIFEST)


def label_axes(recipe: Recipe) -> dict[str, tuple[int, int]]:
    """Tensors with rows for each label: the axis, and the rows a label. Found by building the net for more labels."""
    entry: Entry = registry.entry("model", recipe.model.type)
    params = recipe.model.params
    if getattr(params, "weights", None) is not None:
        params = params.model_copy(update={"weights": None})
    steps = [step.model_dump() for step in recipe.graph_steps]
    shapes = []
    for count in (3, 4):
        spec = Spec(task=recipe.task, labels=[f"label-{k}" for k in range(count)], steps=steps)
        with torch.random.fork_rng(devices=[]):
            built = entry.build(params, spec)
        shapes.append({name: tuple(tensor.shape) for name, tensor in built.state_dict().items()})
    found = {}
    for name, shape in shapes[0].items():
        other = shapes[1].get(name, shape)
        differing = [k for k, (a, b) in enumerate(zip(shape, other, strict=False)) if a != b]
        if len(differing) == 1:
            found[name] = (differing[0], other[differing[0]] - shape[differing[0]])
    return found


def _rows(theirs: Sequence[str], mine: Sequence[str]) -> list[int | None]:
    """The place of each label among the parent's; case, blanks, hyphens and underscores make no difference."""
    known = {_plain(label): place for place, label in enumerate(theirs)}
    return [known.get(_plain(label)) for label in mine]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(" ", "-")


def _by_label(
    mine: Tensor, theirs: Tensor, axis: tuple[int, int], rows: Sequence[int | None], counts: tuple[int, int]
) -> Tensor | None:
    """`mine` with the parent's rows of labels that both have, and of what is beside labels, such as the background;
    None where the rest of the shapes differs."""
    at, each = axis
    rest = [[n for k, n in enumerate(one.shape) if k != at] for one in (mine, theirs)]
    beside = [one.shape[at] - each * count for one, count in zip((theirs, mine), counts, strict=True)]
    if rest[0] != rest[1] or beside[0] != beside[1]:
        return None
    made, source = mine.clone().movedim(at, 0), theirs.to(mine.dtype).movedim(at, 0)
    for place, row in enumerate(rows):
        if row is not None:
            made[place * each : (place + 1) * each] = source[row * each : (row + 1) * each]
    if beside[0]:
        made[len(rows) * each :] = source[counts[0] * each :]
    return made.movedim(0, at)


def _frozen(net: Net, names: Sequence[str], taken: set[str]) -> list[str]:
    """Hold the modules whose names begin with one of `names`; `backbone`, where no module is called so, means all that
    was taken whole from the parent and has no rows for labels. Raises UserError for a name that nothing has."""
    modules = dict(net.named_modules())
    held: list[str] = []
    for name in names:
        under = [key for key in modules if key == name or key.startswith(f"{name}.")]
        if not under and name == BACKBONE:
            under = [key for key, module in modules.items() if key and _whole(key, module, taken)]
        if not under:
            tops = ", ".join(key for key in modules if key and "." not in key)
            raise UserError(f"the net has no part {name!r}", "train.freeze", f"it has {tops}, and backbone")
        held += under
    for key in held:
        modules[key].requires_grad_(False)
    net.frozen = tuple(modules[key] for key in held)
    if held and not any(parameter.requires_grad for parameter in net.parameters()):
        raise UserError("everything is frozen, nothing would learn", "train.freeze", "freeze less")
    return held


def _whole(key: str, module: nn.Module, taken: set[str]) -> bool:
    own = [f"{key}.{name}" for name in module.state_dict()]
    return bool(own) and all(name in taken for name in own)


def _differences(parent: Recipe, recipe: Recipe) -> tuple[str, ...]:
    """List the differences of preprocessing and the model's parameters from the parent's, in words."""
    found = []
    for name, old, new in (
        ("preprocess.host", parent.host_steps, recipe.host_steps),
        ("preprocess.graph", parent.graph_steps, recipe.graph_steps),
    ):
        if [step.model_dump() for step in old] != [step.model_dump() for step in new]:
            words = [" then ".join(step.op for step in steps) or "nothing" for steps in (old, new)]
            found.append(f"{name} is {words[1]}, its own {words[0]}")
    before: Mapping[str, Any] = parent.model.params.model_dump()
    after: Mapping[str, Any] = recipe.model.params.model_dump()
    changed = [key for key in after if key not in ("weights", "freeze") and after[key] != before.get(key)]
    found += [f"model.{key} is {after[key]}, its own {before.get(key)}" for key in changed]
    return tuple(found)
