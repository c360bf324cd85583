"""A whole recipe, and a catalog of a few types, for the tests of this room."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from medzoo.errors import UserError
from medzoo.recipe import Recipe

TEXT = """\
medzoo: 1
name: brain-tissue
task: segment
labels: [background, csf, grey-matter]
data:
  type: ibsr
  root: ${MEDZOO_TEST_ROOT:-data}/ibsr
  split: {group: subject, train: 12, val: 2, test: 4, seed: 0}
preprocess:
  host: [{op: orient, to: RAS}]
  graph: [{op: zscore, where: nonzero}]
model: {type: patch-cnn, channels: [64, 256, 768]}
train: {epochs: 20, max_steps: null, batch: 1024, lr: 1e-3}
metrics: [dice, hd95]
export: {precision: [fp32, fp16]}
"""


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Head(Params):
    hidden: int = Field(default=8, ge=1)


class PatchCnn(Params):
    channels: tuple[int, int, int] = (64, 256, 768)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    head: Head = Head()
    balanced: bool = True


class Svm(Params):
    features: Literal["shape15", "glcm"]
    c: float = Field(default=1.0, gt=0)


class Ibsr(Params):
    root: Path
    scans: tuple[str, ...] | None = None


class Orient(Params):
    op: Literal["orient"] = "orient"
    to: str = Field(default="RAS", pattern=r"^[RLAPSI]{3}$")


class Zscore(Params):
    where: Literal["nonzero", "all"] = "all"


class Flip(Params):
    axis: int = Field(default=0, ge=0, le=2)


class Toys:
    """A catalog without torch or any room of medzoo."""

    kinds: dict[str, dict[str, type[BaseModel]]] = {  # noqa: RUF012
        "data": {"ibsr": Ibsr},
        "model": {"patch-cnn": PatchCnn, "svm": Svm, "needs-more": Params},
        "host-step": {"orient": Orient},
        "graph-step": {"zscore": Zscore},
        "augment": {"flip": Flip},
    }

    def names(self, kind: str) -> Sequence[str]:
        return list(self.kinds[kind])

    def schema(self, kind: str, name: str) -> type[BaseModel]:
        if name == "needs-more":
            raise UserError("the package 'more' is not installed", hint="pip install more")
        return self.kinds[kind][name]

    def metrics(self, task: str) -> Sequence[str]:
        return {"segment": ["dice", "hd95"], "classify": ["auc"], "detect": ["ap"]}[task]

    def cross_check(self, recipe: Recipe) -> Iterable[tuple[tuple[str | int, ...], str, str | None]]:
        if recipe.model.type == "svm" and recipe.task != "classify":
            yield ("model", "type"), f"svm answers classify, not {recipe.task}", None
        if recipe.model.type == "svm" and "epochs" in recipe.train.model_fields_set:
            yield ("train", "epochs"), "an svm takes no epochs", "leave it out"
