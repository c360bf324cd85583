"""Errors of requests, with their HTTP and gRPC status."""

from __future__ import annotations

from enum import Enum


class ErrorCode(Enum):
    """Cause of a failed request: label for metrics and logs, HTTP status, and name of the gRPC status."""

    INVALID = ("invalid", 400, "INVALID_ARGUMENT")
    UNFAMILIAR = ("unfamiliar", 422, "FAILED_PRECONDITION")
    UNIMPLEMENTED = ("unimplemented", 404, "UNIMPLEMENTED")
    UNKNOWN = ("unknown", 404, "NOT_FOUND")
    TOO_LARGE = ("too-large", 413, "RESOURCE_EXHAUSTED")
    UNAUTHENTICATED = ("unauthenticated", 401, "UNAUTHENTICATED")
    FORBIDDEN = ("forbidden", 403, "PERMISSION_DENIED")
    MISDIRECTED = ("misdirected", 421, "PERMISSION_DENIED")
    FULL = ("full", 429, "RESOURCE_EXHAUSTED")
    LATE = ("late", 504, "DEADLINE_EXCEEDED")
    CANCELLED = ("cancelled", 499, "CANCELLED")
    STOPPING = ("stopping", 503, "UNAVAILABLE")
    UNRECORDED = ("unrecorded", 503, "UNAVAILABLE")
    INTERNAL = ("internal", 500, "INTERNAL")

    def __init__(self, label: str, http_status: int, grpc_status: str) -> None:
        self.label, self.http_status, self.grpc_status = label, http_status, grpc_status


class InferenceError(Exception):
    """A request failed; `message` is the line that the client receives."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
