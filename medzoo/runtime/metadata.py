"""The JSON in an ONNX file's `metadata_props["medzoo"]`: everything that the Predictor needs besides the graph."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_serializer,
)

from medzoo.errors import UserError
from medzoo.guard.record import Guard
from medzoo.preprocess.steps import parse_steps
from medzoo.task import task_names

KEY = "medzoo"
Precision = Literal["fp32", "fp16", "int8", "bf16"]  # bf16 is torch's alone, without a file
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
# As recipes allow them (medzoo.recipe.schema), so that a name is no path and nothing moves a terminal's cursor.
NAME = r"^[a-z0-9]+(-[a-z0-9]+)*$"
LABEL = (
    r"^[^\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
    r"([^\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]*[^\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069])?$"
)
TENSOR = r"^[a-z][a-z0-9_]*$"
MAX_BYTES = 1 << 20
"""Of the JSON; the longest of the zoo, with the means of 300 features, has 9 kB."""
_MAX_LABELS = 10_000
Name = Annotated[str, StringConstraints(pattern=NAME, max_length=64)]
Label = Annotated[str, StringConstraints(pattern=LABEL, max_length=200)]
Tensor = Annotated[str, StringConstraints(pattern=TENSOR, max_length=64)]
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f-\x9f]*$", max_length=1000)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("contains a duplicate")
    return values


def graph_file(precision: Precision) -> str:
    """Return the file name of a precision's ONNX file in a model folder."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


def _known_task(name: str) -> str:
    if name not in task_names():
        raise ValueError(f"there is no task {name!r}, there are {', '.join(task_names())}")
    return name


class SlidingWindow(BaseModel):
    """The patches in which a graph is run over a volume, joined by Gaussian weights (medzoo.runtime.decode.windows).

    `size`: extent of a patch along each spatial axis. `overlap`: least share of a patch that its neighbour repeats.
    `mirror`: axes over whose mirrored views probabilities are averaged, every combination of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[tuple[Annotated[int, Field(ge=1, le=4096)], ...], Field(min_length=3, max_length=3)]
    overlap: Annotated[float, Field(ge=0, le=0.9)] = 0.5
    mirror: tuple[Literal[0, 1, 2], ...] = ()


class Geometry(BaseModel):
    """The arrays that a graph takes, and how the Predictor cuts an input into them.

    `dims`: 2 for slices or pictures, 3 for volumes. `channels`: channels of one slice. `slices`: adjacent
    slices stacked as channels (odd). `axis`: the prepared array's axis along which slices of a volume lie.
    `margin`: how far an output looks beyond its own place, in pixels; None if it may see the whole input.
    `foreground`: "nonzero" if an output where the input is exactly zero is background by definition.
    `multiple`: the graph's coarsest step in pixels; what it is given starts at a multiple of it, so that an
    answer does not depend on where the array was cut.
    `tile`: the largest extent an axis is run at, None for no limit; of a detector, the side of the tiles in which it
    reads pictures that are much larger (medzoo.runtime.decode.tiles).
    `window`: of a graph of volumes whose answer depends on the whole input, the patches in which it is run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dims: Literal[2, 3] = 2
    channels: Annotated[int, Field(ge=1, le=1024)] = 1
    slices: Annotated[int, Field(ge=1, le=255)] = 1
    axis: Annotated[int, Field(ge=0, le=2)] = 2
    margin: Annotated[int, Field(ge=0, le=4096)] | None = None
    foreground: Literal["nonzero", "all"] = "all"
    multiple: Annotated[int, Field(ge=1, le=4096)] = 1
    tile: Annotated[int, Field(ge=1, le=65536)] | None = None
    window: SlidingWindow | None = None

    @model_serializer(mode="wrap")
    def _without_window(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `window` where there is none: earlier versions of medzoo refuse fields that they do not know."""
        plain: dict[str, Any] = handler(self)
        return {key: value for key, value in plain.items() if key != "window" or value is not None}


class OperatingPoint(BaseModel):
    """A threshold on scores and the rule by which it was chosen on validation data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    threshold: Share
    rule: Words


def check_threshold(value: Any) -> float:
    """Return `value` as a float. Raises UserError unless it is a number from 0 to 1 (not True, "0.5" or NaN)."""
    # NumPy's scalars are numbers.Real too. So is True, which is no threshold.
    number = math.nan if value is True or value is False or not isinstance(value, Real) else float(value)
    if not 0 <= number <= 1:
        raise UserError(f"{value!r} is not a number from 0 to 1", where="threshold", hint="as in threshold=0.5")
    return number


class Conformal(BaseModel):
    """Conformal sets: labels whose probability reaches `threshold` contain the true one with probability `coverage`."""

    model_config = ConfigDict(frozen=True)
    threshold: Share
    coverage: Share


class ComponentRule(BaseModel):
    """Postprocessing of one label's connected components.

    `largest`: keep only the largest. `least_volume`: drop smaller ones (mm^3, or pixels of a picture). `fill_holes`:
    fill background that the rest encloses.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    label: Annotated[int, Field(ge=1, le=254)]
    largest: bool = False
    least_volume: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    fill_holes: bool = False


_COMPONENTS = TypeAdapter(Annotated[list[ComponentRule], Field(max_length=254)])


class Metadata(BaseModel):
    """Description of a graph and its inputs; the same for every backend and for a server's client."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: Name
    task: Annotated[str, AfterValidator(_known_task)]
    labels: Annotated[tuple[Label, ...], Field(min_length=1, max_length=_MAX_LABELS), AfterValidator(_unique)]
    inputs: Annotated[tuple[Tensor, ...], Field(min_length=1, max_length=8), AfterValidator(_unique)] = ("image",)
    outputs: Annotated[tuple[Tensor, ...], Field(max_length=16), AfterValidator(_unique)] = ()
    host: Annotated[tuple[dict[str, Any], ...], Field(max_length=32)] = ()
    geometry: Geometry = Geometry()
    operating_point: OperatingPoint | None = None
    calibration: dict[str, Any] | None = None
    precision: Precision = "fp32"
    bits: Literal[8, 16] = 8
    """Of a detector of pictures: how many the pictures had that it was trained on."""
    values: tuple[Finite, Finite] | None = None
    """Lowest and highest value of the training pictures, where these are not a file's 8 or 16 bits (0 to 1, z-scores).
    """
    phases: Annotated[tuple[Label, ...], Field(max_length=254), AfterValidator(_unique)] = ()
    """Labels of a cavity that empties itself from phase to phase, the one that tells the phases apart first; an input
    may then be several phases of one scan."""
    guard: Guard | None = None
    """The guard, which judges the graph's output `embedding` of an input; None for a model without one."""
    recipe_digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    medzoo: Annotated[Words, StringConstraints(max_length=64)] = ""

    @field_validator("calibration")
    @classmethod
    def _calibrated(cls, stored: dict[str, Any] | None) -> dict[str, Any] | None:
        """Check the calibration entries that the Predictor uses; model types may add others."""
        if stored is None:
            return None
        if not _is_plain(stored):
            raise ValueError("may contain only finite numbers and printable strings")
        if "conformal" in stored:
            Conformal.model_validate(stored["conformal"])
        if "components" in stored:
            _COMPONENTS.validate_python(stored["components"])
        reference = stored.get("reference")
        if reference is not None and not (
            isinstance(reference, list) and all(isinstance(one, int | float) for one in reference)
        ):
            raise ValueError("'reference' must be a list of numbers")
        return stored

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Omit `values`, `phases` and `guard` where there are none: earlier versions reject unknown fields."""
        plain: dict[str, Any] = handler(self)
        absent = {key for key, empty in (("values", None), ("phases", ()), ("guard", None)) if plain.get(key) == empty}
        return {key: value for key, value in plain.items() if key not in absent}

    @property
    def conformal(self) -> Conformal | None:
        """Conformal sets of the calibration, if any."""
        stored = (self.calibration or {}).get("conformal")
        return None if stored is None else Conformal.model_validate(stored)

    @property
    def components(self) -> tuple[ComponentRule, ...]:
        """The rules on connected components of a segmentation that were chosen on validation items."""
        return tuple(_COMPONENTS.validate_python((self.calibration or {}).get("components", [])))

    @classmethod
    def read(cls, properties: Mapping[str, str], *, where: str) -> Metadata:
        """Parse a model's metadata properties. Raises UserError if it was not exported by medzoo."""
        if KEY not in properties:
            raise UserError(
                f"the ONNX file has no {KEY!r} metadata, so its preprocessing and labels are unknown",
                where=where,
                hint="export it with: medzoo export",
            )
        again = "the model may be from another version of medzoo; export it again"
        raw = properties[KEY].encode(errors="replace")
        if len(raw) > MAX_BYTES:
            raise UserError(f"the {KEY!r} metadata are {len(raw)} bytes long; the limit is {MAX_BYTES}", where, again)
        try:
            found = cls.model_validate_json(raw, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part)[:80] for part in first["loc"])
            raise UserError(f"invalid {KEY!r} metadata at {place!r}: {first['msg']}", where, again) from error
        try:
            parse_steps(found.host, where="host")
        except UserError as error:
            raise UserError(f"invalid {KEY!r} metadata at {error.faults[0]}", where, again) from error
        return found


def _is_plain(value: Any, depth: int = 0) -> bool:
    """Return True if a JSON value has only finite numbers and printable strings, at most eight levels deep."""
    if depth > 8:
        return False
    if isinstance(value, dict):
        return all(_is_plain(one, depth + 1) for pair in value.items() for one in pair)
    if isinstance(value, list):
        return all(_is_plain(one, depth + 1) for one in value)
    if isinstance(value, str):
        return len(value) <= 1000 and value.isprintable()
    return value is None or isinstance(value, bool) or (isinstance(value, int | float) and math.isfinite(value))
