"""The gRPC service of the Open Inference Protocol, and its generated messages (open_inference.proto)."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING

from medzoo.errors import missing_extra

if TYPE_CHECKING:
    from medzoo.runtime.protocol import open_inference_pb2

SERVICE = "inference.GRPCInferenceService"


@cache
def load_messages() -> ModuleType:
    """Import the module of message classes. Raises UserError if protobuf is missing or older than its code."""
    try:
        from medzoo.runtime.protocol import open_inference_pb2
    except Exception as error:  # ImportError, or protobuf's VersionError
        raise missing_extra("protobuf>=6.31", "serve") from error
    return open_inference_pb2


def parameter(value: open_inference_pb2.InferParameter) -> bool | int | str | float | None:
    """Return the value of an InferParameter; None if it holds none."""
    chosen = value.WhichOneof("parameter_choice")
    result: bool | int | str | float | None = getattr(value, chosen) if chosen else None
    return result
