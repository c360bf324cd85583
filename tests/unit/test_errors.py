"""Errors: their place, and what stays of it."""

from __future__ import annotations

import pytest

from medzoo.errors import EmptyMaskError, Fault, OffGridError, UserError


@pytest.mark.parametrize("kind", [UserError, OffGridError, EmptyMaskError])
def test_an_error_without_a_place_is_given_one_and_stays_what_it_is(kind: type[UserError]) -> None:
    error = kind("is empty", hint="draw something", private=("Smith",)).located("scan.nii.gz")
    assert type(error) is kind
    assert str(error) == "scan.nii.gz: is empty (draw something)"
    assert error.faults[0].private == ("Smith",)
    assert str(error.located("another.png")) == str(error)


def test_of_several_faults_only_those_without_a_place_are_given_one() -> None:
    error = UserError.of([Fault("is too long", "a.yaml: seed"), Fault("names no task")]).located("b.yaml")
    assert str(error) == "a.yaml: seed: is too long\nb.yaml: names no task"
