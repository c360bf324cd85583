"""The contents of the wheel beside the package: recipes/, and from zoo/ the models that fit."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
NON_COMMERCIAL = re.compile(r"\bNC\b|non-?commercial", re.IGNORECASE)  # as medzoo.artifact.manifest
LIMIT = 58_000_000  # bytes of models: with the code, a wheel below 60 MB
# Who only predicts has no use for these; `medzoo fetch` brings them.
WITHOUT = ("model.safetensors", "model.fp16.onnx", "model.int8.onnx")


def carried() -> dict[Path, list[str]]:
    """Model folders as long as they fit, members of pipelines first, then those with the smallest files, and what is
    taken of each. Models for non-commercial use alone stay out."""
    folders, members = {}, set()
    for manifest in ROOT.glob("zoo/*/manifest.json"):
        told = json.loads(manifest.read_text(encoding="utf-8"))
        if NON_COMMERCIAL.search(told.get("license", "")):
            continue  # of a wheel for everybody its users may not all use them
        members |= {member["name"] for member in told.get("members", {}).values()}
        names = [*told["files"], "manifest.json", "manifest.sha256"]
        kept = [name for name in names if name not in WITHOUT and not name.endswith(".nii.gz")]
        folders[manifest.parent] = kept
    sizes = {folder: sum((folder / name).stat().st_size for name in kept) for folder, kept in folders.items()}
    chosen: dict[Path, list[str]] = {}
    for folder in sorted(folders, key=lambda folder: (folder.name not in members, sizes[folder], folder.name)):
        if sum(sizes[one] for one in (*chosen, folder)) <= LIMIT:
            chosen[folder] = folders[folder]
    return chosen


class Build(build_py):
    """The code, then recipes and models beside it as data of the package."""

    def run(self) -> None:
        super().run()
        package = Path(self.build_lib) / "medzoo"
        for name in ("recipes", "zoo"):
            shutil.rmtree(package / name, ignore_errors=True)
        (package / "recipes").mkdir(parents=True)
        for recipe in sorted(ROOT.glob("recipes/*.yaml")):
            shutil.copyfile(recipe, package / "recipes" / recipe.name)
        (package / "zoo").mkdir()
        # What says of any model folder whether it is a released one, also of those that are fetched later.
        shutil.copyfile(ROOT / "zoo" / "index.json", package / "zoo" / "index.json")
        for folder, kept in carried().items():
            target = package / "zoo" / folder.name
            for name in kept:
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, target / name)
            listed = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
            absent = sorted(set(listed) - set(kept))
            (target / "left-out.txt").write_text("".join(f"{name}\n" for name in absent), encoding="utf-8")


setup(cmdclass={"build_py": Build})
