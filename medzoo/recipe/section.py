"""The base of every part of a recipe, and the parts that name a type and carry that type's own fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator


class Section(BaseModel):
    """A mapping of a recipe whose keys are all known."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Choice(Section):
    """A mapping that names a type (or an op) and carries fields that only this type knows.

    `fields` are those as written, variables filled in. `params` is the type's own checked object if a
    catalog was given on loading, else `fields`.
    """

    selector: ClassVar[str]

    fields: dict[str, Any] = Field(default_factory=dict, description="The fields that the type itself defines.")
    _params: Any = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, value: Any) -> Any:
        """Moves every key that is not the section's own into `fields`."""
        if not isinstance(value, Mapping):
            return value
        own = cls.own_keys()
        rest = {key: item for key, item in value.items() if key not in own}
        return {**{key: item for key, item in value.items() if key in own}, "fields": rest}

    @classmethod
    def own_keys(cls) -> list[str]:
        """The keys that every type of this section shares."""
        return [name for name in cls.model_fields if name != "fields"]

    @property
    def chosen(self) -> str:
        """The name of the type."""
        return str(getattr(self, self.selector))

    @property
    def params(self) -> Any:
        """The type's checked parameters, or `fields` where no catalog was given."""
        return self.fields if self._params is None else self._params

    def with_params(self, params: BaseModel) -> Self:
        """This section with its type's checked parameters."""
        self._params = params
        return self


class Step(Choice):
    """One step of preprocessing or augmentation."""

    selector = "op"

    op: str = Field(description="The step's name.")


class ModelSection(Choice):
    """The model type and its parameters."""

    selector = "type"

    type: str = Field(description="The model type's name.")
