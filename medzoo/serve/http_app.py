"""The HTTP application: the Open Inference Protocol, metrics, the route for image files, and a test page."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from importlib.resources import files
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from medzoo.runtime.protocol.tensors import HEADER_LENGTH, InferenceRequest, parse_request
from medzoo.serve.access import AccessControl, AccessMiddleware
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.openapi import openapi
from medzoo.serve.parameters import read_threshold, read_timeout, require_known, unique
from medzoo.serve.repository import EXTENSIONS, ModelRepository
from medzoo.serve.request_body import header_length, receive_body
from medzoo.serve.request_record import current_record
from medzoo.serve.responses import inference_response
from medzoo.serve.served_model import ServedModel, ServedPipeline
from medzoo.serve.uploads import OPTIONS, Options, Upload, predict_uploads

T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]
_LONG = 256 << 10  # bytes of JSON from which on parsing would block other requests
_UNWATCHED = 0.005  # seconds
_WITH_QUERY = ("/", "/predict/{model}")
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def http_app(repository: ModelRepository, access: AccessControl) -> ASGIApp:
    """Make the ASGI application."""
    routes = [
        Route(path, handler if path in _WITH_QUERY else _without_query(handler), methods=[method])
        for method, path, handler in _routes(repository)
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={InferenceError: _inference_error, HTTPException: _http_error},
    )
    return AccessMiddleware(app, access)


def _without_query(handler: Handler) -> Handler:
    async def checked(request: Request) -> Response:
        if request.scope["query_string"]:
            require_known(request.query_params, (), kind="query parameter")
        return await handler(request)

    return checked


def _routes(repository: ModelRepository) -> list[tuple[str, str, Handler]]:
    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(_: Request) -> Response:
        return JSONResponse({"ready": not repository.stopping}, 400 if repository.stopping else 200)

    async def model_ready(request: Request) -> Response:
        served = _found(repository, request)
        status = 400 if repository.stopping else 200
        return JSONResponse({"name": served.name, "ready": not repository.stopping}, status)

    async def server(_: Request) -> Response:
        return JSONResponse({"name": "medzoo", "version": repository.version, "extensions": list(EXTENSIONS)})

    async def model(request: Request) -> Response:
        return JSONResponse(_found(repository, request).describe())

    async def config(request: Request) -> Response:
        return JSONResponse(_found(repository, request).config())

    async def index(_: Request) -> Response:
        return JSONResponse(repository.index())

    async def described(_: Request) -> Response:
        return JSONResponse(openapi(repository.names, version=repository.version))

    async def metrics(_: Request) -> Response:
        return Response(repository.metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def drift(request: Request) -> Response:
        return JSONResponse(repository.drift[_found(repository, request).name].to_dict())

    async def infer(request: Request) -> Response:
        return await _infer(repository, request)

    async def predict(request: Request) -> Response:
        return await _predict(repository, request)

    text = page()

    async def home(_: Request) -> Response:
        headers = {"Content-Security-Policy": _PAGE_POLICY, "Referrer-Policy": "no-referrer"}
        return Response(text, media_type="text/html", headers=headers)

    # Routes are tried in order, so the most frequent one comes first.
    found: list[tuple[str, str, Handler]] = [
        ("POST", "/v2/models/{model}/infer", infer),
        ("GET", "/", home),
        ("GET", "/openapi.json", described),
        ("GET", "/metrics", metrics),
        ("POST", "/predict/{model}", predict),
        ("GET", "/drift/{model}", drift),
        ("GET", "/v2", server),
        ("GET", "/v2/", server),
        ("GET", "/v2/health/live", live),
        ("GET", "/v2/health/ready", ready),
        ("POST", "/v2/repository/index", index),
        ("GET", "/v2/repository/index", index),
    ]
    for at in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        found += [
            ("GET", at, model),
            ("GET", f"{at}/ready", model_ready),
            ("GET", f"{at}/config", config),
        ]
    return [*found, ("POST", "/v2/models/{model}/versions/{version}/infer", infer)]


def page() -> str:
    """Return the self-contained HTML page for trying the server."""
    return files("medzoo.serve").joinpath("page.html").read_text("utf-8")


def _found(repository: ModelRepository, request: Request) -> ServedModel | ServedPipeline:
    return repository.get(request.path_params["model"], request.path_params.get("version", ""))


async def _infer(repository: ModelRepository, request: Request) -> Response:
    with repository.track_request(request.path_params["model"], "http"):
        served = repository.get_model(request.path_params["model"], request.path_params.get("version", ""))
        header = header_length(request)
        async with receive_body(request, repository, header=header) as body:
            inference = await _parse_inference(repository, body, header)
            threshold, timeout = read_threshold(inference.parameters), read_timeout(inference.parameters)
            running = repository.infer(served, inference, timeout=timeout, threshold=threshold)
            outputs = (await _cancel_on_disconnect(request, running)).outputs
            long = any(array.nbytes > _LONG and not inference.wants_binary(name) for name, array in outputs.items())
            return await _maybe_in_thread(long, inference_response, served.name, outputs, inference)


async def _parse_inference(repository: ModelRepository, body: memoryview, header: int | None) -> InferenceRequest:
    """Parse a request's tensors; long JSON in a decoder process, as Python's parser would block other requests."""
    length = len(body) if header is None else min(header, len(body))
    if length > repository.settings.max_json:
        raise InferenceError(
            ErrorCode.TOO_LARGE,
            f"a request may have at most {repository.settings.max_json} bytes of JSON: send tensors as binary data "
            f"(see {HEADER_LENGTH})",
        )
    if length <= _LONG:
        return parse_request(body, header)
    return await repository.parse_request(body, header)


async def _predict(repository: ModelRepository, request: Request) -> Response:
    with repository.track_request(request.path_params["model"], "upload") as tracked:
        served = _found(repository, request)
        query = unique(request.query_params.multi_items(), ("name", *OPTIONS), kind="query parameter")
        asked = Options.read(query)
        async with receive_body(request, repository) as body:
            sent, fields = await _uploads(request, body)
            record = current_record()
            if record.digest is not None:
                record.files = await asyncio.to_thread(_digests, sent)
            if twice := sorted(query.keys() & fields.keys()):
                raise InferenceError(ErrorCode.INVALID, f"{twice[0]!r} is set in both the query and the form")
            options = Options.read({**query, **fields}) if fields else asked
            results, complete = await _cancel_on_disconnect(
                request, predict_uploads(repository, served.name, sent, options)
            )
            if complete:
                return JSONResponse(results)
            # Of several files some are answered, each in its place.
            unfamiliar = all("familiar" in one for one in results if "error" in one)
            code = ErrorCode.UNFAMILIAR if unfamiliar else ErrorCode.INVALID
            tracked.outcome = code.label
            return JSONResponse(results, 200 if len(results) > 1 else code.http_status)


async def _uploads(request: Request, body: memoryview) -> tuple[list[Upload], Mapping[str, str]]:
    """Parse a form into files and other fields, or take the body as one file. Raises InferenceError."""
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        if not len(body):
            raise InferenceError(ErrorCode.INVALID, "send an image file")
        return [Upload(request.query_params.get("name", "upload"), body)], {}

    async def stream() -> Any:
        for start in range(0, len(body), 1 << 20):
            yield bytes(body[start : start + (1 << 20)])
            await asyncio.sleep(0)  # others are answered while a large form is read

    try:
        form = await MultiPartParser(request.headers, stream()).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise InferenceError(ErrorCode.INVALID, "malformed form data") from error
    try:
        files, fields = [], []
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                require_known([name], ("file",), kind="form field with a file")
                files.append(Upload(value.filename or "upload", await value.read()))
            else:
                fields.append((name, value))
        return files, unique(fields, OPTIONS, kind="form field")
    finally:
        await form.close()


def _digests(files: Sequence[Upload]) -> list[str]:
    return [hashlib.sha256(file.raw).hexdigest() for file in files]


async def _maybe_in_thread(long: bool, function: Callable[..., T], *arguments: Any) -> T:
    if long:
        return await asyncio.to_thread(function, *arguments)
    return function(*arguments)


async def _cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; cancel it and raise InferenceError if the client disconnects.

    The connection is not watched in the first milliseconds: most responses are ready by then.
    """
    task = asyncio.current_task()
    assert task is not None
    gone = False
    watching: list[asyncio.Task[None]] = []

    async def watch() -> None:
        nonlocal gone
        # The body has been read, so the next message is that the client went away.
        await request.receive()
        gone = True
        task.cancel()

    loop = asyncio.get_running_loop()
    later = loop.call_later(_UNWATCHED, lambda: watching.append(loop.create_task(watch())))
    try:
        return await work
    except asyncio.CancelledError:
        if gone and not task.uncancel():
            raise InferenceError(ErrorCode.CANCELLED, "the client disconnected") from None
        raise
    finally:
        later.cancel()
        for watcher in watching:
            watcher.cancel()


async def _inference_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, InferenceError)
    current_record().failed(error.code.label, error)
    headers = {}
    if error.code in (ErrorCode.FULL, ErrorCode.STOPPING):
        headers["Retry-After"] = "1"
    return JSONResponse({"error": error.message}, error.code.http_status, headers=headers)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)
