"""The Open Inference Protocol over gRPC: the server and its handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from medzoo.errors import UserError
from medzoo.runtime.protocol import open_inference_pb2 as pb
from medzoo.runtime.protocol.messages import REQUEST, RESPONSE, SERVICE, join, parameter, split
from medzoo.runtime.protocol.tensors import DTYPES, InferenceRequest, datatype, from_bytes, from_json, to_bytes
from medzoo.serve.access import AccessControl, GrpcAccess, digest
from medzoo.serve.grpc_connections import GrpcConnections
from medzoo.serve.grpc_receive import MessageReceiver
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.parameters import read_threshold, read_timeout, require_known
from medzoo.serve.repository import EXTENSIONS, ModelRepository
from medzoo.serve.request_record import current_record, grpc_peer
from medzoo.serve.served_model import ServedModel
from medzoo.types import Array

# Which field of InferTensorContents holds which datatype (FP16 travels only as raw bytes).
_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_AHEAD = 4 << 20  # bytes of a call that may come before its message is asked for
_SHORT = 64 << 10  # bytes of a message that holds no tensors
_LONG = 256 << 10  # bytes from which on reading a message would hold up the other requests
_TYPED = 4  # times fewer bytes than JSON may have may typed contents, which grow more in memory
_PIECE = 1 << 15  # numbers that are converted at once
_HEALTH = ("ServerLive", "ServerReady")
Handler = Callable[[Any, Any], Awaitable[Any]]


def grpc_server(repository: ModelRepository, access: AccessControl, connections: GrpcConnections) -> Any:
    """Make a grpc.aio server without a port; the settings limit its messages and its load."""
    settings = repository.settings
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", settings.max_body),
            ("grpc.max_send_message_length", -1),
            # Two servers on one port would share its requests without a word.
            ("grpc.so_reuseport", 0),
            ("grpc.http2.lookahead_bytes", _AHEAD),
            ("grpc.server_handshake_timeout_ms", round(1000 * settings.header_timeout)),
            ("grpc.max_connection_idle_ms", round(1000 * settings.timeout)),
        ],
    )
    reads = MessageReceiver(settings)
    admission = GrpcAccess(access)
    handlers = {
        name: grpc.stream_unary_rpc_method_handler(
            _guarded(
                _received(handler, getattr(pb, f"{name}Request"), reads, name=name),
                admission,
                connections,
                health=name in _HEALTH,
            ),
            # ModelInfer gives bytes: its tensors go beside the message (medzoo.runtime.protocol.messages).
            response_serializer=None if name == "ModelInfer" else getattr(pb, f"{name}Response").SerializeToString,
        )
        for name, handler in _handlers(repository).items()
    }
    unknown = grpc.stream_unary_rpc_method_handler(_guarded(_unimplemented, admission, connections, health=False))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers), _Unknown(unknown)))
    return server


class _Unknown(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Handles methods that the protocol does not have, so that they are counted and logged as all calls are."""

    def __init__(self, handler: Any) -> None:
        self._handler = handler

    def service(self, handler_call_details: Any) -> Any:
        """See grpc.GenericRpcHandler."""
        return self._handler


async def _unimplemented(_: Any, __: Any) -> Any:
    raise InferenceError(ErrorCode.UNIMPLEMENTED, "the server has no such method")


def _handlers(repository: ModelRepository) -> dict[str, Handler]:
    async def live(_: Any, __: Any) -> Any:
        return pb.ServerLiveResponse(live=True)

    async def ready(_: Any, __: Any) -> Any:
        return pb.ServerReadyResponse(ready=not repository.stopping)

    async def model_ready(request: Any, _: Any) -> Any:
        repository.get(request.name, request.version)
        return pb.ModelReadyResponse(ready=not repository.stopping)

    async def server(_: Any, __: Any) -> Any:
        return pb.ServerMetadataResponse(name="medzoo", version=repository.version, extensions=EXTENSIONS)

    async def model(request: Any, _: Any) -> Any:
        described = repository.get(request.name, request.version).describe()
        tensors: dict[str, Any] = {
            side: [pb.TensorMetadata(**one) for one in described.pop(side)] for side in ("inputs", "outputs")
        }
        return pb.ModelMetadataResponse(**described, **tensors)

    async def config(request: Any, _: Any) -> Any:
        described = repository.get(request.name, request.version).config()
        answer = pb.ModelConfigResponse()
        answer.config.name, answer.config.platform = described["name"], described["platform"]
        for key, value in described["parameters"].items():
            answer.config.parameters[key].string_value = value["string_value"]
        return answer

    async def index(_: Any, __: Any) -> Any:
        return pb.RepositoryIndexResponse(models=[pb.ModelIndex(**one) for one in repository.index()])

    async def infer(message: bytes, context: Any) -> bytes:
        request, tensors = await _maybe_in_thread(
            len(message) > _LONG, _read, message, repository.settings.max_json // _TYPED
        )
        long = request.ByteSize() > _LONG
        with repository.track_request(request.model_name, "grpc"):
            served = repository.get_model(request.model_name, request.model_version)
            with repository.reserve_bytes(len(message)):
                inference = await _maybe_in_thread(long, _parse_inference, request, tensors)
                # Triton's client sends no numbers with a fraction: it writes them out.
                written = isinstance(inference.parameters.get("threshold"), str)
                threshold = read_threshold(inference.parameters, text=written)
                timeout = _timeout(inference, context.time_remaining())
                answer = await repository.infer(served, inference, timeout=timeout, threshold=threshold)
                return _response(served, inference, answer.outputs)

    return {
        "ServerLive": live,
        "ServerReady": ready,
        "ModelReady": model_ready,
        "ServerMetadata": server,
        "ModelMetadata": model,
        "ModelConfig": config,
        "RepositoryIndex": index,
        "ModelInfer": infer,
    }


def _received(handler: Handler, kind: Any, reads: MessageReceiver, *, name: str) -> Handler:
    """Wrap `handler` to receive and parse the message of a call within the limits.

    The message of a health probe is ignored, so that the probe is answered under any load.
    """

    async def received(_: Any, context: Any) -> Any:
        if name in _HEALTH:
            return await handler(kind(), context)
        message = await reads.read(context)
        await digest(current_record(), message)
        return await handler(message if name == "ModelInfer" else _parsed(kind, message), context)

    return received


def _parsed(kind: Any, message: bytes) -> Any:
    if len(message) > _SHORT:
        raise InferenceError(ErrorCode.TOO_LARGE, f"the message is larger than {_SHORT} bytes")
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise InferenceError(ErrorCode.INVALID, f"the message is not a valid {kind.DESCRIPTOR.name}") from error


def _guarded(handler: Handler, access: GrpcAccess, connections: GrpcConnections, *, health: bool) -> Handler:
    """Wrap `handler` with access control, the audit log, and the conversion of InferenceError to a gRPC status."""

    async def guarded(request: Any, context: Any) -> Any:
        with connections.call(grpc_peer(context.peer() or "")):
            return await answered(request, context)

    async def answered(request: Any, context: Any) -> Any:
        record, metadata = access.start_record(context)
        try:
            access.check(record, metadata, health=health)
            answer = await handler(request, context)
            if not health:
                await access.write_audit(record, "OK")
            return answer
        except InferenceError as caught:
            error = caught
        except asyncio.CancelledError as cancelled:
            record.failed(ErrorCode.CANCELLED.label, cancelled)
            with suppress(InferenceError):
                await access.write_audit(record, ErrorCode.CANCELLED.grpc_status)
            raise
        if error.code is not ErrorCode.UNRECORDED:
            record.failed(error.code.label, error)
            try:
                await access.write_audit(record, error.code.grpc_status)
            except InferenceError as unrecorded:
                error = unrecorded
        await context.abort(getattr(grpc.StatusCode, error.code.grpc_status), error.message)

    return guarded


def _read(message: bytes, most: int) -> tuple[Any, list[memoryview]]:
    """Split a message into the request and its raw tensors. Raises InferenceError."""
    try:
        rest, tensors = split(message, REQUEST, most=most)
        return pb.ModelInferRequest.FromString(rest), tensors
    except UserError as error:
        raise InferenceError(ErrorCode.INVALID, f"the message is not a valid ModelInferRequest: {error}") from error
    except DecodeError as error:
        raise InferenceError(ErrorCode.INVALID, "the message is not a valid ModelInferRequest") from error


async def _maybe_in_thread(long: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.to_thread(function, *arguments) if long else function(*arguments)


def _values(field: Any, dtype: str | None) -> Array:
    """Convert a repeated field to an array, in chunks between which other threads run."""
    parts = [np.array(field[start : start + _PIECE], dtype) for start in range(0, len(field), _PIECE)]
    return np.concatenate(parts) if parts else np.array([], dtype)


def _parse_inference(request: Any, raw: Sequence[memoryview]) -> InferenceRequest:
    """Convert a gRPC request. Raises InferenceError or UserError that names the tensor."""
    if raw and len(raw) != len(request.inputs):
        raise InferenceError(ErrorCode.INVALID, f"got {len(raw)} raw contents for {len(request.inputs)} inputs")
    arrays: dict[str, Any] = {}
    for number, tensor in enumerate(request.inputs):
        if tensor.parameters:
            require_known(tensor.parameters, (), kind=f"parameter of the input {tensor.name[:80]!r},")
        if tensor.name in arrays:
            raise InferenceError(ErrorCode.INVALID, f"duplicate input {tensor.name[:80]!r}")
        kind, shape = tensor.datatype, list(tensor.shape)
        if raw:
            arrays[tensor.name] = from_bytes(tensor.name, raw[number], kind, shape)
        elif kind in _CONTENTS:
            values = _values(getattr(tensor.contents, _CONTENTS[kind]), DTYPES[kind] if kind[0] in "BF" else None)
            arrays[tensor.name] = from_json(tensor.name, values, kind, shape)
        else:
            raise InferenceError(
                ErrorCode.INVALID,
                f"tensor {tensor.name[:80]!r}: the contents of datatype {kind[:40]!r} are not supported",
            )
    for output in request.outputs:
        if output.parameters:
            require_known(output.parameters, (), kind=f"parameter of the output {output.name[:80]!r},")
    outputs = tuple(dict.fromkeys(one.name for one in request.outputs)) or None
    parameters = {name: parameter(value) for name, value in request.parameters.items()}
    return InferenceRequest(arrays, outputs, request.id, parameters)


def _timeout(inference: InferenceRequest, remaining: float | None) -> float | None:
    """Return the smaller of the call's remaining time and Triton's parameter "timeout" (microseconds), in seconds."""
    times = (remaining, read_timeout(inference.parameters))
    return min((time for time in times if time is not None), default=None)


def _response(served: ServedModel, inference: InferenceRequest, outputs: Any) -> bytes:
    response = pb.ModelInferResponse(model_name=served.name, model_version="1", id=inference.id)
    for name, array in outputs.items():
        response.outputs.add(name=name, datatype=datatype(array.dtype), shape=array.shape)
    return join(response.SerializeToString(), RESPONSE, [to_bytes(array) for array in outputs.values()])
