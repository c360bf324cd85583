"""The Open Inference Protocol's gRPC messages, described here and built when first used.

Field numbers are those of the public specification (KServe, "Open Inference Protocol V2, gRPC"), with
Triton's repository index and the few fields of its model configuration that a client of ours reads. The
messages live in a descriptor pool of their own: another library of this process may describe the same.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from medzoo.errors import missing_extra

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
# Method: request, response.
METHODS = {
    "ServerLive": ("ServerLiveRequest", "ServerLiveResponse"),
    "ServerReady": ("ServerReadyRequest", "ServerReadyResponse"),
    "ModelReady": ("ModelReadyRequest", "ModelReadyResponse"),
    "ServerMetadata": ("ServerMetadataRequest", "ServerMetadataResponse"),
    "ModelMetadata": ("ModelMetadataRequest", "ModelMetadataResponse"),
    "ModelInfer": ("ModelInferRequest", "ModelInferResponse"),
    "RepositoryIndex": ("RepositoryIndexRequest", "RepositoryIndexResponse"),
    "ModelConfig": ("ModelConfigRequest", "ModelConfigResponse"),
}
# A field is "number type name"; `*` repeats, `%` is a map from text, `|` is one of the message's only oneof.
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "1 bool live",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "1 bool ready",
    "ModelReadyRequest": "1 string name, 2 string version",
    "ModelReadyResponse": "1 bool ready",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "1 string name, 2 string version, 3 *string extensions",
    "ModelMetadataRequest": "1 string name, 2 string version",
    "TensorMetadata": "1 string name, 2 string datatype, 3 *int64 shape",
    "ModelMetadataResponse": (
        "1 string name, 2 *string versions, 3 string platform, 4 *TensorMetadata inputs, 5 *TensorMetadata outputs"
    ),
    "InferParameter": (
        "1 |bool bool_param, 2 |int64 int64_param, 3 |string string_param, 4 |double double_param, "
        "5 |uint64 uint64_param"
    ),
    "InferTensorContents": (
        "1 *bool bool_contents, 2 *int32 int_contents, 3 *int64 int64_contents, 4 *uint32 uint_contents, "
        "5 *uint64 uint64_contents, 6 *float fp32_contents, 7 *double fp64_contents, 8 *bytes bytes_contents"
    ),
    "InferTensor": (
        "1 string name, 2 string datatype, 3 *int64 shape, 4 %InferParameter parameters, 5 InferTensorContents contents"
    ),
    "InferRequestedOutputTensor": "1 string name, 2 %InferParameter parameters",
    "ModelInferRequest": (
        "1 string model_name, 2 string model_version, 3 string id, 4 %InferParameter parameters, "
        "5 *InferTensor inputs, 6 *InferRequestedOutputTensor outputs, 7 *bytes raw_input_contents"
    ),
    "ModelInferResponse": (
        "1 string model_name, 2 string model_version, 3 string id, 4 %InferParameter parameters, "
        "5 *InferTensor outputs, 6 *bytes raw_output_contents"
    ),
    "RepositoryIndexRequest": "1 string repository_name, 2 bool ready",
    "ModelIndex": "1 string name, 2 string version, 3 string state, 4 string reason",
    "RepositoryIndexResponse": "1 *ModelIndex models",
    "ModelParameter": "1 string string_value",
    "ModelConfigRequest": "1 string name, 2 string version",
    "ModelConfig": "1 string name, 2 string platform, 4 int32 max_batch_size, 14 %ModelParameter parameters",
    "ModelConfigResponse": "1 ModelConfig config",
}


@cache
def messages() -> dict[str, Any]:
    """The message classes by name. Raises UserError if protobuf is not installed."""
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    except ImportError as error:
        raise missing_extra("protobuf", "serve") from error
    file = descriptor_pb2.FileDescriptorProto(name="medzoo/open_inference.proto", package=PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for text in filter(None, fields.split(", ")):
            _add_field(message, *text.split())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _MESSAGES
    }


def _add_field(message: Any, number: str, kind: str, name: str) -> None:
    mark, bare = (kind[0], kind[1:]) if kind[0] in "*%|" else ("", kind)
    field = message.field.add(name=name, number=int(number), label=_label(repeated=mark in ("*", "%")))
    if mark == "%":
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add_field(entry, "1", "string", "key")
        _add_field(entry, "2", bare, "value")
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{message.name}.{entry.name}"
        return
    if mark == "|":
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if bare[0].isupper():
        field.type, field.type_name = field.TYPE_MESSAGE, f".{PACKAGE}.{bare}"
    else:
        field.type = getattr(field, f"TYPE_{bare.upper()}")


def _label(*, repeated: bool) -> int:
    """A field's label by its number in descriptor.proto: LABEL_REPEATED or LABEL_OPTIONAL."""
    return 3 if repeated else 1


def parameter(value: Any) -> bool | int | str | float | None:
    """What an InferParameter holds."""
    chosen = value.WhichOneof("parameter_choice")
    result: bool | int | str | float | None = getattr(value, chosen) if chosen else None
    return result
