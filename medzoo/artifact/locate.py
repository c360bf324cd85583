"""Find models and recipes by what users type: a name, a folder, or a file."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from medzoo.artifact.folder import COMMITTED, finish_replacing
from medzoo.artifact.index import is_released, released_index
from medzoo.artifact.manifest import MANIFEST, read_manifest
from medzoo.errors import UserError

_PACKAGE = Path(__file__).resolve().parents[1]


def zoo_folders() -> list[Path]:
    """Folders of released models, the first match wins: $MEDZOO_ZOO, a checkout's zoo/, the cache, the wheel's."""
    named = os.environ.get("MEDZOO_ZOO")
    folders = [Path(named)] if named else []
    return [*folders, _PACKAGE.parent / "zoo", fetched_folder(), _PACKAGE / "zoo"]


def fetched_folder() -> Path:
    """The folder of `medzoo fetch`, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medzoo" / "models"


def zoo_models() -> dict[str, Path]:
    """Every released model on this machine by name."""
    found: dict[str, Path] = {}
    for folder in zoo_folders():
        # A folder that was being written when its process was killed is finished when it is opened.
        for manifest in sorted([*folder.glob(f"*/{MANIFEST}"), *folder.glob(f"*/{COMMITTED}/{MANIFEST}")]):
            place = folder / manifest.relative_to(folder).parts[0]
            found.setdefault(place.name, place)
    return dict(sorted(found.items()))


def zoo_recipes() -> dict[str, Path]:
    """Every recipe of a checkout or of the wheel by name."""
    found: dict[str, Path] = {}
    for folder in (_PACKAGE.parent / "recipes", _PACKAGE / "recipes"):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def find_model(model: str | Path) -> Path:
    """Find a model folder or .onnx file.

    Raises UserError that suggests what there is; and for a model that is found by its name, or among those that were
    fetched, and goes by the name of a released one without being it.
    """
    path = Path(model)
    if path.exists():
        if path.is_dir() and fetched_folder().resolve() in path.resolve().parents:
            refuse_unreleased(path)
        return path
    known = zoo_models()
    if str(model) in known:
        refuse_unreleased(known[str(model)])
        return known[str(model)]
    if str(model) in zoo_recipes():
        raise UserError(
            "only its recipe is here, not the trained model",
            where=str(model),
            hint=f"download it with medzoo fetch {model} --from BASE, or train it with medzoo train {model}",
        )
    raise _not_found("model", str(model), known)


def claimed_name(path: Path) -> str | None:
    """The name of the released model that a folder goes by without being it: its own name, or its manifest's.

    None if it is that model, or goes by no such name. Raises UserError for a folder whose manifest cannot be read.
    """
    finish_replacing(path)
    models = released_index().models
    names = (path.resolve().name, read_manifest(path)["name"])
    return next((name for name in names if name in models and not is_released(path, named=name)), None)


def refuse_unreleased(path: Path) -> None:
    """Raise UserError for a folder of the zoo that has a released model's name but is another model."""
    name = claimed_name(path)
    if name is not None:
        raise UserError(
            f"has the name of the released model {name!r}, but its digest is not that of this release",
            where=str(path),
            hint=f"download the released one with medzoo fetch {name}; load your own model by the path of its folder",
        )


def find_recipe(recipe: str | Path) -> Path:
    """Find a recipe's file. Raises UserError that suggests a near name."""
    path = Path(recipe)
    if path.is_file():
        return path
    known = zoo_recipes()
    if str(recipe) in known:
        return known[str(recipe)]
    raise _not_found("recipe", str(recipe), known)


def _not_found(kind: str, name: str, known: dict[str, Path]) -> UserError:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known) or 'none'}"
    return UserError(f"no such {kind}: not a file, a folder or a known name", where=name, hint=hint)
