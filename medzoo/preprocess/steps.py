"""Parse host steps from recipes or ONNX metadata by their registered names, and apply them in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from medzoo import registry
from medzoo.errors import Fault, UserError
from medzoo.preprocess.extras import Extras
from medzoo.preprocess.step import HostStep, StepState
from medzoo.types import GridTransform, Image


def parse_steps(raw: Sequence[Mapping[str, Any]], *, where: str = "preprocess.host") -> tuple[HostStep, ...]:
    """Steps from their plain form, `[{"op": "orient", "to": "RAS"}]`. Raises UserError with every fault."""
    steps: list[HostStep] = []
    faults: list[Fault] = []
    for n, options in enumerate(raw):
        place = f"{where}[{n}]"
        if not isinstance(options.get("op"), str):
            faults.append(Fault("does not name a host step", place, "op: NAME"))
            continue
        try:
            kind: type[HostStep] = registry.entry("host-step", options["op"])
        except UserError as error:
            faults += [Fault(fault.message, place, fault.hint) for fault in error.faults]
            continue
        try:
            steps.append(kind.model_validate(dict(options)))
        except ValidationError as error:
            for e in error.errors():
                field = ".".join([place, *map(str, e["loc"])])
                faults.append(Fault(e["msg"].removeprefix("Value error, "), field))
    if faults:
        raise UserError.of(faults)
    return tuple(steps)


def apply_steps(image: Image, steps: Sequence[HostStep], *, extras: Extras | None = None) -> StepState:
    """Apply `steps` in order; the transform of the result leads back to `image`. `extras`: hints for the steps.

    Raises UserError.
    """
    state = StepState(image, GridTransform.identity(image), extras or {})
    for step in steps:
        state = step(state)
    return state
