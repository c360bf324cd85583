"""`sources`: several data layouts together, such as the pictures of two hospitals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medzoo import registry
from medzoo.data.dataset import DataEntry, DataParams, Dataset, Item, Part, Sample
from medzoo.data.split import make_split
from medzoo.errors import UserError
from medzoo.recipe.split import SplitSection


class SourceSplit(BaseModel):
    """Shares of a source that are validated and tested on, and the seed that draws them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(default=0, ge=0)

    def of(self, group: str) -> SplitSection:
        """The split section of a recipe that says the same."""
        return SplitSection(group=group, val=self.val, test=self.test, seed=self.seed)


class Params(DataParams):
    """`sources`: layouts by a name of one's own, each as `data` of a recipe, with `group` in the place of `split`."""

    sources: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="layouts by a name of one's own, each {type, group, and the type's own parameters}; group: which "
        "of its groups a split must not divide; split: val, test and seed by which the source is split as it would be "
        "alone (for split.given)",
    )

    @model_validator(mode="after")
    def _known(self) -> Params:
        for name, fields in self.sources.items():
            if "/" in name or not name:
                raise ValueError(f"sources: {name!r} is no name: it stands before a / in the names of items")
            kind = fields.get("type")
            if not isinstance(kind, str) or kind == "sources" or kind not in registry.names("data"):
                raise ValueError(f"sources.{name}.type: {kind!r} is no data type")
            if not isinstance(fields.get("group"), str):
                raise ValueError(f"sources.{name}.group: name the groups that a split must not divide")
            if "split" in fields:
                SourceSplit.model_validate(fields["split"])
            # Its own error names the field.
            registry.entry("data", kind).params.model_validate(_source_of(fields))
        return self


class Sources:
    """Items of all sources, NAME/ID. Groups are "source", "group" (of each source the one it names), and its own.

    A source with `split` gives its items the parts that they would have in a recipe of this source alone, so that what
    was held out from an earlier model stays held out.
    """

    def __init__(self, params: Params, task: str, labels: Sequence[str]) -> None:
        self.params = params
        self.parts: dict[str, Dataset] = {}
        for name, fields in params.sources.items():
            entry = registry.entry("data", fields["type"])
            if task not in entry.tasks:
                where = f"data.sources.{name}.type"
                raise UserError(f"{fields['type']} has no data for {task}", where, f"it has {', '.join(entry.tasks)}")
            own = entry.params.model_validate(_source_of(fields))
            root = getattr(own, "root", None)
            if root is not None and not root.exists():
                raise UserError("the data folder does not exist", str(root), f"see data.sources.{name}.root")
            self.parts[name] = entry.open(own, task, labels)

    def items(self) -> Sequence[Item]:
        """All items, source by source. Raises UserError for a source that has not the groups it names."""
        found = []
        for name, data in self.parts.items():
            wanted = self.params.sources[name]["group"]
            items = data.items()
            parts = self._parts(name, items)
            for item in items:
                if wanted != "none" and wanted not in item.groups:
                    known = ", ".join(item.groups)
                    raise UserError(f"has no groups {wanted!r}", f"data.sources.{name}.group", f"it has {known}")
                groups = _Groups(name, wanted, item)
                facts = {"source": name, **item.facts}
                part = parts.get(item.id, item.part)
                found.append(replace(item, id=f"{name}/{item.id}", groups=groups, facts=facts, part=part))
        return found

    def _parts(self, name: str, items: Sequence[Item]) -> dict[str, Part]:
        fields = self.params.sources[name]
        if "split" not in fields:
            return {}
        split = SourceSplit.model_validate(fields["split"])
        return make_split(items, split.of(fields["group"])).parts()

    def load(self, item: Item) -> Sample:
        """The sample as its source gives it."""
        name, own = item.id.split("/", 1)
        groups = item.groups.item.groups if isinstance(item.groups, _Groups) else item.groups
        return replace(self.parts[name].load(replace(item, id=own, groups=groups)), item=item)


class _Groups(Mapping[str, str]):
    """The groups of an item of one source: read when they are asked for, as near-duplicates are."""

    def __init__(self, source: str, wanted: str, item: Item) -> None:
        self.source, self.wanted, self.item = source, wanted, item

    def __getitem__(self, name: str) -> str:
        if name == "source":
            return self.source
        if name == "group":
            return f"{self.source}/{self.item.id if self.wanted == 'none' else self.item.groups[self.wanted]}"
        return f"{self.source}/{self.item.groups[name]}"

    def __iter__(self) -> Iterator[str]:
        return iter(["source", "group", *(name for name in self.item.groups if name not in ("source", "group"))])

    def __len__(self) -> int:
        return len(list(iter(self)))


def _source_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in ("type", "group", "split")}


def _open(params: Params, task: str, labels: Sequence[str]) -> Sources:
    return Sources(params, task, labels)


ENTRY = DataEntry(Params, ("classify", "segment", "detect"), _open, image="images of several sets")
