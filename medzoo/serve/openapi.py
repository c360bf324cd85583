"""The OpenAPI document of the HTTP routes, for generated clients and property-based tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medzoo.runtime.protocol.tensors import DTYPES

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["boolean", "integer", "number", "string"]}}
_INFERENCE_PARAMETERS: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "binary_data_output": {"type": "boolean"},
        "threshold": {
            "type": "number",
            "minimum": 0,
            "maximum": 1,
            "description": "For detectors: lowest score of a reported box.",
        },
        "timeout": {"type": "integer", "minimum": 0, "description": "Microseconds."},
    },
    "additionalProperties": False,
}
_TENSOR: Mapping[str, Any] = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "enum": list(DTYPES)},
        "shape": {"type": "array", "maxItems": 8, "items": {"type": "integer", "minimum": 0}},
        "data": {"type": "array", "items": {"type": ["number", "boolean"]}},
        "parameters": _PARAMETERS,
    },
}
_REQUEST: Mapping[str, Any] = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string"},
        "parameters": _INFERENCE_PARAMETERS,
        "inputs": {"type": "array", "minItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
            },
        },
    },
}


def openapi(models: Sequence[str], *, version: str) -> dict[str, Any]:
    """Build the OpenAPI 3.1 document of a server with these models."""
    model = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "enum": list(models)}}
    flag = {"type": "string", "enum": ["true", "false", "1", "0"]}
    options: dict[str, Any] = {
        "threshold": {"type": "number", "minimum": 0, "maximum": 1},
        "series": flag,
        "overlay": flag,
        "anyway": flag,
        "tile": {"type": "string", "pattern": "^(auto|[0-9]{2,6},[0-9]{2,6})$"},
    }
    query = [
        {"name": name, "in": "query", "schema": schema}
        for name, schema in {"name": {"type": "string"}, **options}.items()
    ]
    image = {"schema": {"type": "string", "format": "binary"}}
    form = {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "array", "items": {"type": "string", "format": "binary"}}, **options},
        }
    }
    at = "/v2/models/{model}"
    return {
        "openapi": "3.1.0",
        "info": {"title": "medzoo", "version": version, "description": "Open Inference Protocol, and image files."},
        "paths": {
            "/v2": {"get": _route("Server metadata")},
            "/v2/health/live": {"get": _route("Liveness probe")},
            "/v2/health/ready": {"get": _route("Readiness probe")},
            "/v2/repository/index": {"post": _route("List of models")},
            "/drift/{model}": {"get": _route("Counts of recent inputs beside the model's own data", [model])},
            at: {"get": _route("Inputs and outputs of a model", [model])},
            f"{at}/ready": {"get": _route("Readiness of a model", [model])},
            f"{at}/config": {"get": _route("Model configuration, with what a client needs to prepare images", [model])},
            f"{at}/infer": {
                "post": _route("Tensors in, tensors out", [model], {"application/json": {"schema": _REQUEST}})
            },
            "/predict/{model}": {
                "post": _route(
                    "Image files in, the list of `medzoo predict --json` out",
                    [model, *query],
                    {"multipart/form-data": form, "application/octet-stream": image},
                )
            },
        },
    }


def _route(
    summary: str, parameters: Sequence[Mapping[str, Any]] = (), content: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    refused = {"description": "Error message", "content": {"application/json": {"schema": _ERROR}}}
    route: dict[str, Any] = {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {"200": {"description": "Success"}, "default": refused},
    }
    if content is not None:
        route["requestBody"] = {"required": True, "content": dict(content)}
    return route
