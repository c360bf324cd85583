"""The JSON in an ONNX file's `metadata_props["medzoo"]`: all that the Predictor needs beside the graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from medzoo.errors import UserError
from medzoo.runtime.geometry import Geometry

KEY = "medzoo"
Precision = Literal["fp32", "fp16", "int8", "bf16"]  # bf16 is torch's alone, without a file
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


def graph_file(precision: Precision) -> str:
    """The name in a model folder of the ONNX file of a precision."""
    return "model.onnx" if precision == "fp32" else f"model.{precision}.onnx"


class OperatingPoint(BaseModel):
    """A threshold on scores and the rule by which it was chosen on validation data."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    threshold: float
    rule: str


class Conformal(BaseModel):
    """Labels whose probability reaches `threshold` make a set that holds the truth with a share of `coverage`."""

    model_config = ConfigDict(frozen=True)
    threshold: float
    coverage: float


class Metadata(BaseModel):
    """What a graph is and how it is asked; the same record for every backend and for a server's client."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    task: Literal["classify", "segment", "detect"]
    labels: tuple[str, ...]
    inputs: tuple[str, ...] = ("image",)
    outputs: tuple[str, ...] = ()
    host: tuple[dict[str, Any], ...] = ()
    geometry: Geometry = Geometry()
    operating_point: OperatingPoint | None = None
    calibration: dict[str, Any] | None = None
    precision: Precision = "fp32"
    bits: Literal[8, 16] = 8
    """Of a detector of pictures: how many the pictures had that it was trained on."""
    values: tuple[float, float] | None = None
    """Lowest and highest value of the training pictures, where these are not a file's 8 or 16 bits (0 to 1, z-scores).
    """
    recipe_digest: str = ""
    medzoo: str = ""

    @model_serializer(mode="wrap")
    def _without_values(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `values` where there are none: earlier versions of medzoo refuse fields that they do not know."""
        plain: dict[str, Any] = handler(self)
        return {key: value for key, value in plain.items() if key != "values" or value is not None}

    @property
    def conformal(self) -> Conformal | None:
        """What calibration stored of conformal sets, if anything."""
        stored = (self.calibration or {}).get("conformal")
        return None if stored is None else Conformal.model_validate(stored)

    @classmethod
    def read(cls, properties: Mapping[str, str], *, where: str) -> Metadata:
        """From a model's metadata properties. Raises UserError if it was not exported by medzoo."""
        if KEY not in properties:
            raise UserError(
                f"the ONNX file has no {KEY!r} metadata, so its preprocessing and labels are unknown",
                where=where,
                hint="export it with: medzoo export",
            )
        try:
            return cls.model_validate_json(properties[KEY])
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UserError(
                f"the {KEY!r} metadata cannot be read at {place!r}: {first['msg']}",
                where=where,
                hint="it may come from another version; export the model again",
            ) from error
