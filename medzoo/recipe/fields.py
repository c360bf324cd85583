"""The keys of a pydantic model, at any depth, and former names of keys. Knows no particular model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from medzoo.recipe.section import Choice
from medzoo.recipe.tree import Path

FORMER: Mapping[str, Mapping[str, str]] = {
    "model": {"tta": "views", "jittered_positives": "near_misses", "background_min_iou": "background_low"},
}
"""Renamed keys by section: the present name and the former one, which recipes may still use."""


def model_keys(model: type[BaseModel]) -> dict[str, Any]:
    """The keys of a mapping that `model` checks, in their order, with their annotations."""
    own = issubclass(model, Choice)
    return {
        field.alias or name: field.annotation
        for name, field in model.model_fields.items()
        if not (own and name == "fields")
    }


def models_at(model: type[BaseModel], path: Path) -> list[type[BaseModel]]:
    """The models that check the mapping at `path`; several where the annotation is a union."""
    found = [model]
    for part in path:
        if isinstance(part, str):
            annotations = [known[part] for m in found if part in (known := model_keys(m))]
            found = [m for annotation in annotations for m in _models(annotation)]
    return found


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models inside optionals, unions, lists and tuples."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) is Annotated:
        return _models(get_args(annotation)[0])
    return [m for argument in get_args(annotation) for m in _models(argument)]


def known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that the mapping at `path` may have."""
    return [key for found in models_at(model, path) for key in model_keys(found)]


def key_of(model: type[BaseModel], path: Path, name: str | int) -> str | int:
    """The key of the field `name` in the mapping at `path`; pydantic gives names where a default fails."""
    fields = {n: field for found in models_at(model, path) for n, field in found.model_fields.items()}
    return fields[name].alias or name if name in fields else name


def in_order(written: Any, models: Sequence[type[BaseModel]]) -> Any:
    """`written` with the keys of each known mapping in the order of its model, unknown keys last."""
    if isinstance(written, list):
        return [in_order(item, models) for item in written]
    if not isinstance(written, dict) or not models:
        return written
    known = {key: annotation for model in models for key, annotation in model_keys(model).items()}
    ordered = [*(key for key in known if key in written), *(key for key in written if key not in known)]
    return {key: in_order(written[key], _models(known.get(key))) for key in ordered}


def with_former_names(written: Any) -> Any:
    """A recipe with each renamed key under its former name, so that its digest is the same under either."""
    if not isinstance(written, dict):
        return written
    return {
        section: {FORMER[section].get(key, key): value for key, value in part.items()}
        if section in FORMER and isinstance(part, dict)
        else part
        for section, part in written.items()
    }
