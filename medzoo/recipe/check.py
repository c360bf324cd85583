"""A tree to a Recipe, or all that is wrong with it. Knows the fixed schema, and types by the catalog's protocol."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from medzoo.errors import UserError
from medzoo.recipe.faults import Faults, dotted_path, suggestion_or_all
from medzoo.recipe.fields import FORMER, in_order, known_keys, model_keys
from medzoo.recipe.schema import WORDS, Recipe
from medzoo.recipe.section import Choice, ModelSection, Step
from medzoo.recipe.split import DataSection
from medzoo.recipe.tree import Leaf, Node, Path, Series, Table, child, place_of, plain
from medzoo.recipe.variables import expand
from medzoo.recipe.wording import report_validation_error
from medzoo.task import task_names

if TYPE_CHECKING:
    from medzoo.recipe.schema import Recipe

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class _Slot:
    """A mapping of the recipe that names a type."""

    kind: Kind
    path: Path
    section: type[Choice]


def check(tree: Table, *, source: str, catalog: Catalog | None, faults: Faults) -> Recipe | None:
    """The recipe that `tree` holds. Whatever is wrong is added to `faults`; None if it is so wrong that there
    is no recipe. The catalog's cross-checks run if nothing but unknown keys and variables is wrong before."""
    expanded = expand(tree, os.environ, faults)
    assert isinstance(expanded, Table)
    _hint_sections(expanded, faults)
    recipe = _validate(Recipe, plain(expanded), expanded, (), faults)
    deprecated: list[str] = []
    if catalog is not None:
        params = {slot: _params(slot, expanded, catalog, faults, deprecated) for slot in _slots(expanded)}
        _check_metrics(expanded, catalog, faults)
        if recipe is not None and None not in params.values():
            for slot, checked in params.items():
                assert checked is not None
                _section_at(recipe, slot.path).with_params(checked)
            # A pipeline without a model or data of its own has no parts that could disagree.
            whole = recipe.model_section is not None and recipe.data_section is not None
            for path, message, hint in catalog.cross_check(recipe) if whole else ():
                faults.add(place_of(expanded, path), path, message, hint)
    return None if recipe is None else recipe.read_from(source, in_order(plain(tree), [Recipe]), deprecated)


def _validate(
    model: type[Model], value: Any, root: Node, at: Path, faults: Faults, extra_keys: tuple[str, ...] = ()
) -> Model | None:
    """`value`, which stands at path `at` of `root`, as `model`; without unknown keys if the rest is right."""
    try:
        return _strict(model, value)
    except ValidationError as error:
        unknown = report_validation_error(error, root, at, model, faults, words=WORDS, extra_keys=extra_keys)
    if unknown is None:
        return None
    for path in dict.fromkeys(unknown):
        holder = value
        for part in path[len(at) : -1]:
            holder = holder[part]
        del holder[path[-1]]
    return _validate(model, value, root, at, faults, extra_keys)


def _strict(model: type[Model], value: Any) -> Model:
    # Strict JSON takes a list for a tuple and text for a path, but never text for a number.
    return model.model_validate_json(json.dumps(value), strict=True)


def _slots(root: Node) -> Iterator[_Slot]:
    """Every mapping that names a type, as far as they are there."""
    for kind, path, section in (("data", ("data",), DataSection), ("model", ("model",), ModelSection)):
        if isinstance(child(root, path[0]), Table):
            yield _Slot(kind, path, section)  # type: ignore[arg-type]
    lists: tuple[tuple[Kind, str, str], ...] = (
        ("host-step", "preprocess", "host"),
        ("graph-step", "preprocess", "graph"),
        ("augment", "train", "augment"),
    )
    for step_kind, outer, inner in lists:
        series = child(child(root, outer), inner)
        for index, item in enumerate(series.items if isinstance(series, Series) else ()):
            if isinstance(item, Table):
                yield _Slot(step_kind, (outer, inner, index), Step)


def _params(slot: _Slot, root: Node, catalog: Catalog, faults: Faults, deprecated: list[str]) -> BaseModel | None:
    """The checked fields of the type that the mapping at `slot` names; adds a line for each former name of a key to
    `deprecated`."""
    node: Node | None = root
    for part in slot.path:
        node = child(node, part)
    assert isinstance(node, Table)
    selector = slot.section.selector
    named = node.values.get(selector)
    if not isinstance(named, Leaf) or not isinstance(named.value, str):
        return None  # the fixed schema says so
    name, where = named.value, (*slot.path, selector)
    names = catalog.names(slot.kind)
    if name not in names:
        if not faults.at(named.place, where):
            kind = slot.kind.replace("-", " ").replace("augment", "augmentation")
            faults.add(
                named.place,
                where,
                f"there is no {kind} {'type ' if selector == 'type' else ''}{name!r}",
                suggestion_or_all(name, names),
            )
        return None
    try:
        schema = catalog.schema(slot.kind, name)
    except UserError as error:
        for fault in error.faults:
            faults.add(named.place, where, fault.message, fault.hint)
        return None
    shared = [key for key in slot.section.own_keys() if key not in schema.model_fields]
    value = {key: plain(item) for key, item in node.values.items() if key not in shared}
    for present, former in FORMER.get(slot.kind, {}).items():
        if former in value and present in schema.model_fields and former not in schema.model_fields:
            old, new = dotted_path((*slot.path, former)), dotted_path((*slot.path, present))
            if present in value:
                faults.add(node.keys[former], (*slot.path, former), f"is the former name of {new}", "give one of them")
                return None
            value[present] = value.pop(former)
            deprecated.append(f"{node.keys[former]}: {old} is deprecated, write {new}")
    return _validate(schema, value, root, slot.path, faults, tuple(shared))


def _section_at(recipe: Recipe, path: Path) -> Choice:
    if path == ("data",):
        return recipe.data
    if path == ("model",):
        return recipe.model
    if path[0] == "train":
        return recipe.train.augment[int(path[2])]
    return (recipe.preprocess.host if path[1] == "host" else recipe.preprocess.graph)[int(path[2])]


def _check_metrics(root: Node, catalog: Catalog, faults: Faults) -> None:
    task, metrics = child(root, "task"), child(root, "metrics")
    if not isinstance(task, Leaf) or task.value not in task_names():
        return
    names = catalog.metrics(str(task.value))
    for index, item in enumerate(metrics.items if isinstance(metrics, Series) else ()):
        if isinstance(item, Leaf) and isinstance(item.value, str) and item.value not in names:
            faults.add(
                item.place,
                ("metrics", index),
                f"there is no metric {item.value!r} for task {task.value}",
                suggestion_or_all(item.value, names),
            )


def _hint_sections(root: Table, faults: Faults) -> None:
    """A key that belongs one level deeper, such as epochs beside train, is said with its full path."""
    known: Mapping[str, Any] = model_keys(Recipe)
    deeper = [
        f"{section}.{key}"
        for section in ("train", "data", "preprocess", "export")
        for key in known_keys(Recipe, (section,))
    ]
    deeper += [f"data.split.{key}" for key in known_keys(Recipe, ("data", "split"))]
    for key in root.values:
        matches = [path for path in deeper if path.rpartition(".")[2] == key]
        if key not in known and matches:
            faults.add(root.keys[key], (key,), "unknown key", f"did you mean {matches[0]!r}?")


Kind = Literal["data", "model", "host-step", "graph-step", "augment"]

Objection = tuple[Path, str, str | None]
"""A finding of a cross-check: the path of the field, the fault, and a hint or None."""


class Catalog(Protocol):
    """The types that are installed, by kind and name."""

    def names(self, kind: Kind) -> Sequence[str]:
        """The names of all types of a kind."""

    def schema(self, kind: Kind, name: str) -> type[BaseModel]:
        """The parameters of one type. Raises UserError if it cannot be imported here."""

    def metrics(self, task: str) -> Sequence[str]:
        """The names of all metrics of a task."""

    def cross_check(self, recipe: Recipe) -> Iterable[Objection]:
        """Check the parts of a recipe, each valid by itself, against each other, such as a model of
        another task. Called only then, and not for pipelines without a model or data of their own."""
