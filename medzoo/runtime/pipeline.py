"""Description of a pipeline of models, as a server sends it to clients: each member's role and metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from medzoo.errors import UserError
from medzoo.runtime.metadata import Metadata

KEY = "medzoo_pipeline"
PLATFORM = "medzoo_pipeline"


class Pipeline(BaseModel):
    """A pipeline: metadata of its members by role; each member is served under its own name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    members: dict[str, Metadata]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the members, without duplicates."""
        return tuple(dict.fromkeys(metadata.name for metadata in self.members.values()))

    @classmethod
    def read(cls, properties: Mapping[str, str], *, where: str) -> Pipeline | None:
        """Parse a served model's properties; None if it is not a pipeline. Raises UserError if they are invalid."""
        if KEY not in properties:
            return None
        try:
            return cls.model_validate_json(properties[KEY])
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(
                f"invalid {KEY!r} metadata: {first['msg']}", where, "the server may run another version of medzoo"
            ) from error
