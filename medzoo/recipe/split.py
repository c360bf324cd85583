"""The data section of a recipe: data type and split. Knows no particular data type."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from medzoo.recipe.section import Choice, Section

Amount = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]
Amounts = dict[str, int | float | None]

VAL, TEST = 0.1, 0.2  # fractions of the groups where a recipe says nothing


class SplitSection(Section):
    """The division of the items into training, validation and test parts; a group is never divided."""

    group: str = Field(
        min_length=1,
        description="Which groups must stay on one side, such as patient, or patient+near-duplicate; none says that "
        "there are none.",
    )
    given: bool = Field(default=False, description="Use the parts that the data set itself gives.")
    train: Amount | None = Field(
        default=None, description="Groups (a count) or fraction to train on; absent: the rest."
    )
    val: Amount | None = Field(default=None, description="Count or fraction to validate on; absent: 0.1, unless given.")
    test: Amount | None = Field(
        default=None, description="Count or fraction to test on; absent: 0.2, unless given or with folds."
    )
    seed: int = Field(default=0, ge=0, lt=2**32, description="Seed of the division.")
    stratify: bool = Field(default=True, description="Keep the classes' shares alike in all parts.")
    folds: int | None = Field(default=None, ge=2, le=100, description="Divide into this many folds instead.")
    fold: int | None = Field(default=None, ge=0, description="The fold to test on, from 0.")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.fold is not None and self.fold >= (self.folds or 0):
            text = f"fold is {self.fold}, but folds is {'absent' if self.folds is None else self.folds}"
            raise PydanticCustomError("split", "{text}; fold counts from 0", {"text": text})
        if self.folds is not None and self.given:
            raise PydanticCustomError("split", "folds cannot be combined with given")
        total = sum(n for n in self.amounts.values() if isinstance(n, float))
        if total > 1 + 1e-9:
            raise PydanticCustomError(
                "split",
                "the fractions add up to {total}, more than 1 (val and test count 0.1 and 0.2 if absent)",
                {"total": f"{total:.6g}"},
            )
        return self

    @property
    def amounts(self) -> Amounts:
        """train, val and test with the defaults in; None is the rest, or what the data set or fold gives."""
        val, test = (None, None) if self.given else (VAL, None if self.folds else TEST)
        return {
            "train": self.train,
            "val": val if self.val is None else self.val,
            "test": test if self.test is None else self.test,
        }


class DataSection(Choice):
    """The data type, its parameters, and the split."""

    selector = "type"

    type: str = Field(description="The data type's name.")
    split: SplitSection = Field(description="The division into training, validation and test parts.")
    allow_leaks: bool = Field(
        default=False, description="Train although the audit finds the same patient or image on two sides."
    )
    mirrors: bool = Field(default=True, description="Count the mirror image of an image as the same when auditing.")
