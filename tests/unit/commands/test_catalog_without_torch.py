"""A recipe where torch is not installed: names, data and host steps are checked all the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from medzoo.data.catalog import Catalog, CatalogWithoutTorch
from medzoo.errors import UserError
from medzoo.recipe import load_recipe, read_recipe_text

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
WRONG = """\
medzoo: 1
name: x
task: segment
labels: [background, a]
data: {type: mni152, split: {group: block, given: true}, rot: here}
preprocess:
  host: [{op: zzzz}, {op: zscore, wher: nonzero}]
  graph: [{op: clip, low: -5}]
model: {type: unett, whatever: 1}
metrics: [dicee]
"""


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_released_recipe_is_the_same_recipe(path: Path) -> None:
    bare, whole = (load_recipe(path, catalog=one()) for one in (CatalogWithoutTorch, Catalog))
    assert bare.digest == whole.digest
    assert bare.host_steps == whole.host_steps


def test_what_needs_no_torch_is_found_at_once() -> None:
    with pytest.raises(UserError) as caught:
        read_recipe_text(WRONG, "wrong.yaml", catalog=CatalogWithoutTorch())
    places = [str(fault).split(":")[1] + ":" + str(fault).split(":")[3].strip() for fault in caught.value.faults]
    assert places == [
        "5:data.rot",
        "7:preprocess.host.0.op",
        "7:preprocess.host.1.wher",
        "9:model.type",
        "10:metrics.0",
    ]
