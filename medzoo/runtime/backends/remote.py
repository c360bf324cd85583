"""The remote backend: a graph behind a server that speaks the Open Inference Protocol, over HTTP or gRPC.

medzoo's own server and Triton both carry medzoo's metadata in the model's configuration, so host steps,
tiles and the way back to the image's own grid are taken here, on the client, as for a local graph.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import SplitResult, quote, urlsplit

from medzoo.errors import UserError, missing_extra
from medzoo.runtime.backends.canvas import from_properties
from medzoo.runtime.backends.credentials import (
    TOKEN,
    TOKEN_FILE,
    Certificates,
    check_token,
    read_token,
    redact_url,
    tls_error,
)
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.pipeline import Pipeline
from medzoo.runtime.protocol.messages import REQUEST, RESPONSE, SERVICE, join, load_messages, split
from medzoo.runtime.protocol.tensors import HEADER_LENGTH, build_request, datatype, from_bytes, parse_response, to_bytes
from medzoo.types import Array

_Body = Sequence[bytes | memoryview]
SCHEMES = ("http", "https", "grpc", "grpcs")
TIMEOUT = 300.0
"""Seconds for one answer."""


def is_url(model: object) -> bool:
    """Return True if `model` is a server's URL."""
    return isinstance(model, str) and re.match(rf"({'|'.join(SCHEMES)})://", model) is not None


class RemoteBackend:
    """Runs the model at `http://host:8000/NAME` or `grpc://host:8001/NAME` (`https`, `grpcs` with TLS).

    `token`: sent as bearer token, by default that of the environment, as are certificates (see
    medzoo.runtime.backends.credentials). `timeout`: seconds for one answer. Raises UserError if the server cannot be
    reached, has no such model, or knows nothing of its preprocessing.
    """

    name = "remote"

    def __init__(self, url: str, *, token: str | None = None, timeout: float = TIMEOUT) -> None:
        self.url = redact_url(url)
        self._client = _client(url, token, timeout)
        self.device = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        properties = self._client.properties()
        self.metadata = Metadata.read(properties, where=self.url)
        self.canvas = from_properties(properties)

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """See Backend.run. Safe to call from several threads."""
        answer = self._client.infer(inputs, outputs)
        missing = [name for name in outputs or () if name not in answer]
        if missing:
            raise UserError(f"the response lacks the outputs {', '.join(missing)}", where=self.url)
        if "count" in answer:
            # Triton has no tensors of the batch axis alone; its configuration makes this one (B, 1).
            answer["count"] = answer["count"].reshape(-1)
        return answer


def remote_members(url: str, *, token: str | None = None, timeout: float = TIMEOUT) -> dict[str, str]:
    """Return the URLs of a served pipeline's members by role; empty for a single model. Raises UserError."""
    pipeline = Pipeline.read(_client(url, token, timeout).properties(), where=redact_url(url))
    if pipeline is None:
        return {}
    server = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    return {role: f"{server}/{metadata.name}" for role, metadata in pipeline.members.items()}


def _client(url: str, token: str | None, timeout: float) -> _Client:
    shown = redact_url(url)
    try:
        parts = urlsplit(url)
        model, wrong = parts.path.strip("/"), parts.port == 0
    except ValueError:  # a port that is no number, brackets around no address
        raise UserError("not a valid model URL", where=shown, hint="as in http://host:8000/NAME") from None
    if parts.query or parts.username or parts.password:
        way = f"pass the token in ${TOKEN}, or in a file named by ${TOKEN_FILE}"
        raise UserError("a model URL must not contain a query, user name or password", where=shown, hint=way)
    if wrong or not is_url(url) or not parts.hostname or not model:
        raise UserError("not a valid model URL", where=shown, hint="as in http://host:8000/NAME")
    secret = read_token() if token is None else check_token(token, where="token") if token else None
    return (_HttpClient if parts.scheme.startswith("http") else _GrpcClient)(parts, model, secret, timeout)


class _Client(Protocol):
    """A client of one protocol."""

    def properties(self) -> dict[str, str]:
        """Fetch the parameters of the model's configuration."""
        ...

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> dict[str, Array]:
        """Run the model; return the outputs by name."""
        ...


class _HttpClient:
    def __init__(self, parts: SplitResult, model: str, token: str | None, timeout: float) -> None:
        self._parts, self._timeout = parts, timeout
        self._path = f"/v2/models/{quote(model, safe='')}"
        self._where = parts.geturl()
        self._tls = Certificates.from_environment().context() if parts.scheme == "https" else None
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        # A connection serves one request at a time, so each thread has its own.
        self._local = threading.local()

    def properties(self) -> dict[str, str]:
        raw, _ = self._request("GET", f"{self._path}/config", [], {})
        try:
            parameters = json.loads(bytes(raw)).get("parameters") or {}
            return {key: str(value["string_value"]) for key, value in parameters.items()}
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            raise UserError("the response is not a model configuration", where=self._where) from error

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> dict[str, Array]:
        head, tails = build_request(inputs, outputs)
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
        raw, length = self._request("POST", f"{self._path}/infer", [head, *tails], headers)
        return parse_response(memoryview(raw), length)

    def _request(self, method: str, path: str, body: _Body, headers: Mapping[str, str]) -> tuple[bytes, int | None]:
        try:
            response, raw = self._send(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self._local.connection = None
            words = getattr(error, "strerror", None) or str(error) or type(error).__name__
            message = f"{getattr(error, 'verify_message', '')} {error}"
            if isinstance(error, ssl.SSLError) and (fault := tls_error(message, where=self._where)) is not None:
                raise fault from error
            raise UserError(
                f"cannot connect to the server: {words}", where=self._where, hint="is it running?"
            ) from error
        if response.status != 200:
            raise UserError(f"the server returned an error ({response.status}): {_reason(raw)}", where=self._where)
        length = response.getheader(HEADER_LENGTH)
        return raw, int(length) if length is not None and length.isdigit() else None

    def _send(
        self, method: str, path: str, body: _Body, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection: http.client.HTTPConnection | None = getattr(self._local, "connection", None)
        reused = connection is not None
        connection = connection or self._connect()
        try:
            # In parts: joined, a large tensor would be copied to memory that the system has to find first.
            length = {"Content-Length": str(sum(len(part) for part in body))} if body else {}
            connection.request(method, path, body or None, {**self._headers, **headers, **length})
            response = connection.getresponse()
            raw = response.read()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            if not reused:
                raise
            # A kept connection may have been closed since; asking changes nothing, so ask once more.
            self._local.connection = None
            return self._send(method, path, body, headers)
        self._local.connection = None if response.will_close else connection
        return response, raw

    def _connect(self) -> http.client.HTTPConnection:
        host = self._parts.hostname or ""
        if self._tls is not None:
            return http.client.HTTPSConnection(host, self._parts.port or 443, timeout=self._timeout, context=self._tls)
        return http.client.HTTPConnection(host, self._parts.port or 8000, timeout=self._timeout)


class _GrpcClient:
    def __init__(self, parts: SplitResult, model: str, token: str | None, timeout: float) -> None:
        try:
            import grpc
        except ImportError as error:
            raise missing_extra("grpcio", "serve") from error
        self._grpc = grpc
        self._model, self._timeout, self._where = model, timeout, parts.geturl()
        self._sent = (("authorization", f"Bearer {token}"),) if token else ()
        host = parts.hostname or ""
        address = f"{f'[{host}]' if ':' in host else host}:{parts.port or 8001}"
        unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if parts.scheme == "grpcs":
            given = Certificates.from_environment()
            files = (given.authorities, given.key, given.certificate)
            pem = [None if file is None else file.read_bytes() for file in files]
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(*pem), options=unbounded)
        else:
            channel = grpc.insecure_channel(address, options=unbounded)
        self._messages = messages = load_messages()
        self._methods = {
            "ModelConfig": channel.unary_unary(
                f"/{SERVICE}/ModelConfig",
                request_serializer=messages.ModelConfigRequest.SerializeToString,
                response_deserializer=messages.ModelConfigResponse.FromString,
            ),
            # Bytes: its tensors go beside the message (medzoo.runtime.protocol.messages).
            "ModelInfer": channel.unary_unary(f"/{SERVICE}/ModelInfer"),
        }

    def properties(self) -> dict[str, str]:
        answer = self._request("ModelConfig", self._messages.ModelConfigRequest(name=self._model))
        return {key: str(value.string_value) for key, value in answer.config.parameters.items()}

    def infer(self, inputs: Mapping[str, Array], outputs: Sequence[str] | None) -> dict[str, Array]:
        request = self._messages.ModelInferRequest(model_name=self._model)
        for name, array in inputs.items():
            request.inputs.add(name=name, datatype=datatype(array.dtype), shape=array.shape)
        for name in outputs or ():
            request.outputs.add(name=name)
        tensors = [to_bytes(array) for array in inputs.values()]
        rest, raws = split(self._request("ModelInfer", join(request.SerializeToString(), REQUEST, tensors)), RESPONSE)
        answer = self._messages.ModelInferResponse.FromString(rest)
        if len(raws) != len(answer.outputs):
            raise UserError("the response contains no raw tensors", where=self._where)
        return {
            tensor.name: from_bytes(tensor.name, raw, tensor.datatype, list(tensor.shape))
            for tensor, raw in zip(answer.outputs, raws, strict=True)
        }

    def _request(self, method: str, request: Any) -> Any:
        try:
            return self._methods[method](request, timeout=self._timeout, metadata=self._sent)
        except self._grpc.RpcError as error:
            code, words = error.code().name, " ".join((error.details() or "").split())
            if code == "UNAVAILABLE" and (fault := tls_error(words, where=self._where)) is not None:
                raise fault from error
            if code == "UNAVAILABLE":
                raise UserError("cannot connect to the server", where=self._where, hint="is it running?") from error
            raise UserError(f"the server returned an error ({code}): {words}", where=self._where) from error


def _reason(raw: bytes) -> str:
    try:
        return str(json.loads(raw)["error"])
    except (ValueError, KeyError, TypeError):
        return "no reason given"
