"""The fixed part of a recipe as pydantic models: what every recipe has, whatever its model and data type.

The fields of a type itself are checked by the model that a Catalog hands in (see check.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic_core import PydanticCustomError

from medzoo.errors import UserError
from medzoo.recipe.fields import with_former_names
from medzoo.recipe.scalars import digest, to_yaml
from medzoo.recipe.section import ModelSection, Section, Step
from medzoo.recipe.split import DataSection
from medzoo.recipe.train import TrainSection
from medzoo.task import task_names, task_of


def _known_task(name: Any) -> Any:
    if not isinstance(name, str) or name not in task_names():
        raise PydanticCustomError("literal_error", "unknown task", {"expected": _either(task_names())})
    return name


def _either(names: Sequence[str]) -> str:
    quoted = [repr(name) for name in names]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]


Task = Annotated[str, BeforeValidator(_known_task), WithJsonSchema({"type": "string", "enum": list(task_names())})]

NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
# No control characters, nor those that turn the direction of writing: labels are shown on terminals and pages.
LABEL = (
    r"^[^\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
    r"([^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*[^\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069])?$"
)
WORDS = {
    NAME: "lowercase letters, digits and hyphens",
    LABEL: "text without spaces at its ends and without control characters",
}

Name = Annotated[str, StringConstraints(pattern=NAME, max_length=64)]
Label = Annotated[str, StringConstraints(pattern=LABEL, max_length=200)]


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise PydanticCustomError("unique", "names {twice} twice", {"twice": ", ".join(map(repr, twice))})
    return values


class PreprocessSection(Section):
    """The preprocessing of an image before the model."""

    host: tuple[Step, ...] = Field(default=(), description="Steps that need the header; NumPy, in this order.")
    graph: tuple[Step, ...] = Field(
        default=(), description="Steps on tensors alone; trained with, and exported inside the ONNX graph."
    )


class ExportSection(Section):
    """The ONNX files that a training writes."""

    precision: Annotated[tuple[Literal["fp32", "fp16", "int8"], ...], AfterValidator(_unique)] = Field(
        default=("fp32",), min_length=1, description="One ONNX file for each of these precisions."
    )
    store: Literal["fp32", "fp16"] = Field(
        default="fp32",
        description="How weights lie in the files: fp16 rounds them once and halves the files; arithmetic stays fp32.",
    )


class Between(Section):
    """Bounds of a number that is searched."""

    low: int | float = Field(description="The least value.")
    high: int | float = Field(description="The largest value.")
    log: bool = Field(default=False, description="Search evenly in the logarithm.")


class Recipe(Section):
    """A recipe: everything that decides what a model is and how it came to be.

    Read one with `load_recipe`. `data` and `model` raise UserError for a pipeline of `members`, which has
    none of its own unless it says so.
    """

    medzoo: Literal[1] = Field(description="The version of this format.")
    name: Name = Field(description="The model's name: lowercase letters, digits and hyphens.")
    summary: str = Field(default="", description="What the model does, in a sentence, for its card.")
    intended: str = Field(default="", description="What the model is meant for, and what not, for its card.")
    license: str = Field(default="", description="The licence of the training data.")
    task: Task = Field(description="What the model answers.")
    labels: Annotated[tuple[Label, ...], AfterValidator(_unique)] = Field(
        min_length=1,
        description="The classes in the order of their indices; of a segmentation, background first.",
    )
    members: dict[Name, Name] = Field(
        default_factory=dict,
        description="A pipeline of other models: role to the name of a model of the zoo.",
    )
    data_section: DataSection | None = Field(
        default=None, alias="data", validate_default=True, description="The data, and how they are split."
    )
    preprocess: PreprocessSection = Field(
        default_factory=PreprocessSection, description="The preprocessing of an image before the model."
    )
    model_section: ModelSection | None = Field(
        default=None, alias="model", validate_default=True, description="The model type and its parameters."
    )
    train: TrainSection = Field(default_factory=TrainSection, description="How the model is trained.")
    metrics: Annotated[tuple[str, ...], AfterValidator(_unique)] = Field(
        default=(), description="The figures to report; empty: the usual ones of the task."
    )
    tune: dict[str, Between | tuple[bool | int | float | str, ...]] = Field(
        default_factory=dict,
        description="Fields that `medzoo tune` searches, by their dotted name: bounds, or a list of values.",
    )
    export: ExportSection = Field(default_factory=ExportSection, description="Which ONNX files are written.")

    _source: str = PrivateAttr(default="")
    _written: dict[str, Any] = PrivateAttr(default_factory=dict)
    _deprecations: tuple[str, ...] = PrivateAttr(default=())

    @field_validator("labels")
    @classmethod
    def _enough(cls, labels: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        task = info.data.get("task")
        if task is not None and len(labels) < (least := task_of(task).least_labels):
            raise PydanticCustomError("labels", "must have at least {least} items for this task", {"least": least})
        return labels

    @field_validator("members")
    @classmethod
    def _of_detection(cls, members: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        task = info.data.get("task")
        if members and task is not None and not task_of(task).composes:
            able = " or ".join(name for name in task_names() if task_of(name).composes)
            raise PydanticCustomError(
                "members", "only a recipe of task {able} can be a pipeline of members", {"able": able}
            )
        return members

    @field_validator("data_section", "model_section")
    @classmethod
    def _needed(cls, section: Section | None, info: ValidationInfo) -> Section | None:
        if section is None and not info.data.get("members", True):
            raise PydanticCustomError("missing", "is missing")
        return section

    def __eq__(self, other: object) -> bool:
        # Where a recipe was read does not make it another one.
        return isinstance(other, Recipe) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.name, self.task, self.labels))

    @property
    def data(self) -> DataSection:
        """The data and their split. Raises UserError if the recipe has none (see the class)."""
        return self.data_section or self._lacks("data")

    @property
    def model(self) -> ModelSection:
        """The model type and its parameters. Raises UserError if the recipe has none (see the class)."""
        return self.model_section or self._lacks("model")

    def _lacks(self, key: str) -> Any:
        raise UserError(f"this recipe is a pipeline of members and has no {key} of its own", where=self.source)

    @property
    def host_steps(self) -> tuple[Any, ...]:
        """The checked host steps (mappings of their fields where no catalog was given)."""
        return tuple(step.params for step in self.preprocess.host)

    @property
    def graph_steps(self) -> tuple[Any, ...]:
        """The checked graph steps (mappings of their fields where no catalog was given)."""
        return tuple(step.params for step in self.preprocess.graph)

    @property
    def source(self) -> str:
        """The recipe's source: the path as it was given, or the name of a text."""
        return self._source

    def resolved(self) -> str:
        """YAML that loads to an equal recipe: what it extends and the overrides are merged in, variables stay
        unexpanded, keys are in the schema's order."""
        return to_yaml(self._written)

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the resolved recipe as canonical JSON, whatever the order of its keys."""
        return digest(with_former_names(self._written))

    @property
    def deprecations(self) -> tuple[str, ...]:
        """A line for each key that is written by its former name: the place, and the present name."""
        return self._deprecations

    def read_from(self, source: str, written: dict[str, Any], deprecations: Sequence[str] = ()) -> Recipe:
        """This recipe with where it was read and what stood there (resolved, variables unexpanded)."""
        self._source, self._written, self._deprecations = source, written, tuple(deprecations)
        return self
