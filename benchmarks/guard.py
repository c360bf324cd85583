"""Verdicts of breast models' guards on own and altered pictures, other scanners, other domains and photographs.

    python -m benchmarks.guard MODEL [--record]

Reads the data in $MEDZOO_DATA and the photographs that scikit-image and scikit-learn ship. `--record` writes the shares
into the model's manifest and card.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from medzoo.artifact import ModelFolder
from medzoo.data.catalog import catalog
from medzoo.data.opened import data_params, open_data
from medzoo.io import read_image
from medzoo.loading.load import load
from medzoo.recipe import load_recipe
from medzoo.report.card import update_folder
from medzoo.runtime.familiarity import embed, judge
from medzoo.types import Array

ALTERED: dict[str, Callable[[Array], Array]] = {
    "upside down": lambda a: a[..., ::-1, :],
    "inverted": lambda a: 255.0 - a,
    "in noise of SD 40": lambda a: a + np.random.default_rng(0).normal(0, 40, a.shape),
    "a quarter of the contrast": lambda a: a * 0.25,
}


def elsewhere(root: Path) -> dict[str, list[Any]]:
    """Pictures of other scanners and other domains, by name; volumes give their middle slices."""
    import nibabel
    import skimage.data
    import sklearn.datasets

    def slices(paths: Iterable[Path], axis: int = 2) -> list[Array]:
        found = []
        for path in paths:
            volume = np.asarray(nibabel.load(path).dataobj, float)
            high = np.percentile(volume[volume > 0], 99.5)
            middle = np.take(volume, volume.shape[axis] // 2, axis=axis).T[::-1]
            found.append(np.clip(middle / high * 255, 0, 255).astype(np.uint8))
        return found

    shipped = [Path(skimage.data.__file__).parent, Path(sklearn.datasets.__file__).parent / "images"]
    photographs = [p for folder in shipped for kind in ("*.png", "*.jpg") for p in sorted(folder.glob(kind))]
    brains = sorted((root / "oasis-brains").glob("*_t1.nii.gz"))
    others = [
        *sorted((root / "bccd" / "JPEGImages").glob("*"))[::6],
        *sorted((root / "nuclei" / "images").glob("*"))[::6],
        *sorted((root / "chest-xray" / "images").glob("*")),
        *slices(brains),
        *slices(sorted((root / "sarcoma-pet").glob("*_pet.nii.gz"))),
    ]
    scanners = sorted((root / "busbra" / "Images").glob("*.png"))[::2]
    return {"BUS-BRA, four other scanners": scanners, "other domains": others, "photographs": photographs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--record", action="store_true", help="write the shares into the manifest and the card")
    asked = parser.parse_args()
    folder = ModelFolder.open(asked.model)
    recipe = load_recipe(folder.file("recipe.yaml"), catalog=catalog())
    data = open_data(recipe)
    root = Path(getattr(data_params(recipe), "root")).parent  # noqa: B009
    predictor = load(asked.model, device="cpu")
    guard = predictor.metadata.guard
    if guard is None:
        raise SystemExit(f"{folder.name} has no guard: medzoo guard {asked.model} -o FOLDER")
    own = [data.data.load(item).image for item in data.part("test")]
    sets: dict[str, list[Any]] = {"own, test part": own}
    for name, alter in ALTERED.items():
        sets[f"own, {name}"] = [
            image.replace(
                array=np.ascontiguousarray(np.clip(alter(image.array.astype(float)), 0, 255).astype(np.uint8))
            )
            for image in own
        ]
    sets |= elsewhere(root)
    rows = []
    for name, images in sets.items():
        verdicts: Counter[str] = Counter()
        for image in images:
            source = Pillow.open(image).convert("L") if isinstance(image, Path) and image.suffix == ".gif" else image
            source = read_image(source) if isinstance(source, Path) else source
            prepared = predictor.prepare(source)
            verdicts[judge(guard, embed(predictor.backend, prepared), prepared).verdict] += 1
        total = sum(verdicts.values())
        rows.append({"on": name, "items": total, **{v: verdicts[v] / total for v in ("yes", "unsure", "no")}})
        print(json.dumps(rows[-1]), flush=True)
    if asked.record:
        update_folder(folder, guard={**folder.manifest["guard"], "measured": rows})


if __name__ == "__main__":
    main()
