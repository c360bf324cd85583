"""Keys that were renamed: recipes may use the former name, are told so, and keep their digest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medzoo.data.catalog import Catalog
from medzoo.errors import UserError
from medzoo.recipe import json_schema, load_recipe
from medzoo.recipe.fields import FORMER

RECIPES = Path(__file__).resolve().parents[3] / "recipes"


def written(tmp_path: Path, *lines: str) -> Path:
    """A recipe that extends the detector of blood cells."""
    path = tmp_path / "changed.yaml"
    path.write_text(f"extends: {RECIPES / 'blood-cell-rcnn.yaml'}\nname: changed\nmodel:\n" + "".join(lines))
    return path


def test_a_former_name_means_the_present_one_and_is_reported_as_deprecated(tmp_path: Path) -> None:
    present = load_recipe(written(tmp_path, "  background_min_iou: 0.1\n"), catalog=Catalog())
    former = load_recipe(written(tmp_path, "  background_low: 0.1\n"), catalog=Catalog())
    assert former.model.params == present.model.params
    assert former.digest == present.digest
    assert present.deprecations == ()
    (line,) = former.deprecations
    assert line.endswith("4:3: model.background_low is deprecated, write model.background_min_iou")
    assert "background_low" in former.resolved()


def test_both_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model.views: is the former name of model.tta"):
        load_recipe(written(tmp_path, "  views: [x]\n"), catalog=Catalog())  # the recipe that it extends has tta


def test_editors_take_former_names_and_mark_them() -> None:
    schema = json.loads(json.dumps(json_schema(Catalog())))
    properties = schema["$defs"]["model.region-cnn"]["properties"]
    for present, former in FORMER["model"].items():
        assert properties[former]["deprecated"]
        assert properties[former]["type"] == properties[present]["type"]
