"""`medzoo guard`: a guard for a trained model, fitted to its own data; weights and metrics stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.progress import track

from medzoo.artifact import ModelFolder
from medzoo.artifact.folder import sha256
from medzoo.artifact.locate import find_model
from medzoo.artifact.manifest import MANIFEST
from medzoo.data.audit.training import as_trained
from medzoo.data.catalog import catalog
from medzoo.data.opened import OpenData, open_data, require_same_split
from medzoo.errors import UserError
from medzoo.export.guarded import add_guard
from medzoo.recipe import load_recipe
from medzoo.report.card import write_with_card
from medzoo.report.summary import Console
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import PRECISIONS, graph_file
from medzoo.runtime.parity.gate import check_golden_file, load_golden
from medzoo.types import Array


def guard_model(model: str | Path, *, out: str | Path, console: Console | None = None) -> ModelFolder:
    """Write a copy of MODEL with a guard to `out`, a new model folder that names its parent by digest.

    Each ONNX file gets the output `embedding`, is held against the stored golden outputs again, and gets a guard that
    is fitted to its own embeddings. Raises UserError for a pipeline (its detector's guard is its own), data that are
    not those of the training, or too few of them.
    """
    console = console or Console(stderr=True)
    path = find_model(model)
    if not path.is_dir():
        raise UserError("is an ONNX file, which does not say what it was trained on", str(path), "give the folder")
    folder = ModelFolder.open(path)
    if "members" in folder.manifest:
        raise UserError("is a pipeline, judged by its detector's guard", str(path), "give its members guards")
    if Path(out).resolve() == path.resolve():
        raise UserError("is the model itself; a guard makes another model of it", str(out), "choose another -o")
    recipe = load_recipe(folder.file("recipe.yaml"), catalog=catalog())
    data = open_data(recipe)
    require_same_split(folder, data.split)
    data = as_trained(recipe, data, say=lambda text: console.print(text, markup=False))
    golden, _ = load_golden(folder.file("golden.npz").read_bytes())
    names = [graph_file(one) for one in PRECISIONS if graph_file(one) in folder.manifest["files"]]
    graphs = {name: folder.file(name).read_bytes() for name in names}
    made = {
        name: add_guard(
            raw,
            data,
            example=golden[0].inputs,
            where=name,
            seed=recipe.train.seed,
            watch=lambda items: track(items, "guard", console=console),
        )
        for name, raw in graphs.items()
    }
    for name, raw in made.items():
        check_golden_file(OnnxBackend(raw, where=name, device="cpu"), folder.file("golden.npz"))
    manifest = {key: value for key, value in folder.manifest.items() if key != "files"}
    manifest |= {"guard": guard_facts(made), "parent": parent_of(folder)}
    kept = {name: folder.file(name) for name in folder.manifest["files"] if name not in made}
    return write_with_card(Path(out), {**kept, **made}, manifest)


def guard_graphs(
    graphs: Mapping[str, bytes], data: OpenData, *, example: Mapping[str, Array], seed: int, console: Console
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The ONNX files of a training with their guards, and what the manifest says of them; as they were, and nothing,
    where a guard cannot be had, which is said."""
    console.print("guard: looking at the training images once more, and at altered ones")

    def watch(items: Iterable[Any]) -> Iterable[Any]:
        return items

    try:
        made = {
            name: add_guard(raw, data, example=example, where=name, seed=seed, watch=watch)
            for name, raw in graphs.items()
        }
    except UserError as error:
        console.print(f"no guard: {error}", markup=False)
        return dict(graphs), {}
    return made, guard_facts(made)


def guard_facts(graphs: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the manifest's entry for the guards of its ONNX files, from the first, whose precision is float32."""
    guard = OnnxBackend(next(iter(graphs.values())), device="cpu").metadata.guard
    assert guard is not None
    return {
        "items": guard.items,
        "validation": int(guard.levels.shape[0]),
        "unsure": guard.unsure,
        "refuse": guard.refuse,
        "rates": dict(guard.rates),
    }


def parent_of(folder: ModelFolder) -> dict[str, str]:
    """Name and digest (of its manifest) of the model that another was made from."""
    return {"name": folder.name, "digest": sha256(folder.path / MANIFEST)}
