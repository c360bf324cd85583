"""The models of a server and the bounds on its load; HTTP and gRPC both call it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medzoo.errors import UserError
from medzoo.io.limits import limited
from medzoo.runtime.backends.batching import (
    BatchingBackend,
    ClosedError,
    DeadlineError,
    InferenceResult,
    QueueFullError,
)
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.cascade import Cascade
from medzoo.runtime.pipeline import Pipeline
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.runtime.protocol.tensors import InferenceRequest, parse_request
from medzoo.serve.decoder_pool import DecoderPool, supported
from medzoo.serve.drift import Drift
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.logs import log
from medzoo.serve.metrics import ServerMetrics
from medzoo.serve.parameters import INFERENCE, require_known
from medzoo.serve.request_record import current_record
from medzoo.serve.served_model import VERSION, ServedModel, ServedPipeline
from medzoo.serve.settings import Settings
from medzoo.serve.spool import Spool
from medzoo.serve.threshold import REQUIRED_OUTPUTS, above_threshold, require_tensors_with_threshold, require_threshold

_SMALL = 4 << 20  # bytes of a request that is let in where large ones wait
EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration")


@dataclass
class TrackedRequest:
    """Outcome of a request, for metrics and logs: "ok", or the label of an ErrorCode."""

    outcome: str = "ok"


class ByteReservation:
    """Bytes of memory reserved for one request while it is received and processed."""

    def __init__(self, repository: ModelRepository) -> None:
        self._repository, self.size = repository, 0

    def grow(self, size: int) -> None:
        """Reserve `size` more bytes. Raises InferenceError if the request is too large or no memory is left for it.

        An eighth of the budget is kept for small requests, so that large ones cannot lock them out.
        """
        repository, total = self._repository, self.size + size
        settings = repository.settings
        if total > settings.max_body:
            raise InferenceError(ErrorCode.TOO_LARGE, f"the request is larger than {settings.max_body} bytes")
        room = (
            settings.max_inflight_bytes
            if total <= _SMALL
            else settings.max_inflight_bytes - settings.max_inflight_bytes // 8
        )
        if repository.reserved_bytes + size > room and repository.reserved_bytes > self.size:
            raise InferenceError(ErrorCode.FULL, "the server has no memory left for more requests; try again later")
        self.size, repository.reserved_bytes = total, repository.reserved_bytes + size


class ModelRepository:
    """Models and pipelines by name, with their queues, metrics and the load on the server."""

    def __init__(self, backends: Sequence[OnnxBackend], settings: Settings, pipelines: Sequence[Pipeline] = ()) -> None:
        self.settings = settings
        self._backends = tuple(backends)
        self.metrics = ServerMetrics()
        self.models: dict[str, ServedModel] = {}
        for backend in backends:
            served = ServedModel.from_backend(backend, settings)
            if served.name in self.models:
                raise UserError("two models have this name", where=served.name)
            self.models[served.name] = served
            self.metrics.track_queue(served.name, served.batcher.__len__)
        self.pipelines: dict[str, ServedPipeline] = {}
        for pipeline in pipelines:
            if pipeline.name in self.models or pipeline.name in self.pipelines:
                raise UserError("two models have this name", where=pipeline.name)
            self.pipelines[pipeline.name] = ServedPipeline(pipeline)
        # Of each model whose answers can be held against its own data.
        self.drift = {name: Drift() for name in self.names}
        for name, drift in self.drift.items():
            self.metrics.track_drift(name, drift)
        self.stopping = False
        self.active_requests = 0
        self.reserved_bytes = 0
        self.upload_pool = ThreadPoolExecutor(settings.uploads, thread_name_prefix="medzoo-upload")
        self.active_uploads = 0
        self.spool = Spool.shared() or Spool()
        self.decoders = (
            DecoderPool(
                count=settings.uploads,
                memory=settings.decoder_memory,
                seconds=settings.decoder_seconds,
                limits=settings.limits,
                folder=self.spool.path,
            )
            if supported()
            else None
        )
        self.version = version("medzoo")
        self.metrics.track_load(active=lambda: self.active_requests, reserved=lambda: self.reserved_bytes)

    def get(self, name: str, model_version: str = "") -> ServedModel | ServedPipeline:
        """Return a model or a pipeline. Raises InferenceError if there is no such name or version."""
        found = self.models.get(name) or self.pipelines.get(name)
        if found is None:
            raise InferenceError(ErrorCode.UNKNOWN, f"no model named {name[:80]!r}")
        current_record().model = name
        if model_version not in ("", VERSION):
            raise InferenceError(ErrorCode.UNKNOWN, f"{name} has no version {model_version[:20]!r}, only {VERSION}")
        return found

    def get_model(self, name: str, model_version: str = "") -> ServedModel:
        """Return a model that takes tensors. Raises InferenceError for pipelines and unknown names."""
        found = self.get(name, model_version)
        if isinstance(found, ServedPipeline):
            members = ", ".join(found.pipeline.names)
            raise InferenceError(
                ErrorCode.INVALID,
                f"{name} is a pipeline and takes no tensors: use its members ({members}), or POST an image file to "
                f"/predict/{name}",
            )
        return found

    def predictor(
        self, name: str, *, deadline: float, stopped: Callable[[], bool], threshold: float | None = None
    ) -> Predictor:
        """Make a Predictor of image files for `name`, behind the queues of its graphs. Raises InferenceError."""
        found = self.get(name)

        def queued(served: ServedModel) -> BatchingBackend:
            return BatchingBackend(served.batcher, deadline=deadline, stopped=stopped)

        if isinstance(found, ServedModel):
            if threshold is not None:
                require_threshold(found.metadata)
            return Predictor(queued(found), threshold=threshold)
        members = {role: Predictor(queued(self.models[one.name])) for role, one in found.pipeline.members.items()}
        return Cascade.from_members(name, members, threshold=threshold)

    def start_decoders(self) -> None:
        """Start the decoder processes in the background, so that the first image file does not wait for them."""
        if self.decoders is not None:
            self.upload_pool.submit(self.decoders.start)

    def prepare(
        self,
        predictor: Predictor,
        path: Path,
        *,
        deadline: float,
        stopped: Callable[[], bool] = lambda: False,
        tile: Any = None,
    ) -> Prepared:
        """Read and prepare an uploaded file within the settings' limits, in a decoder process where the system allows
        it. Raises what `DecoderPool.prepare` raises."""
        if self.decoders is not None:
            return self.decoders.prepare(predictor, path, deadline=deadline, stopped=stopped, tile=tile)
        with limited(self.settings.limits):
            return predictor.prepare(path, tile=tile)

    async def parse_request(self, body: memoryview, header: int | None) -> InferenceRequest:
        """Parse a request of long JSON in a decoder process. Raises InferenceError and UserError."""
        if self.decoders is None:
            return await asyncio.to_thread(parse_request, body, header)
        if self.active_uploads >= 2 * self.settings.uploads:
            raise InferenceError(
                ErrorCode.FULL, "too many long JSON requests at once: send tensors as binary data, or try again later"
            )
        deadline = time.monotonic() + self.settings.timeout
        self.active_uploads += 1
        task = asyncio.get_running_loop().run_in_executor(self.upload_pool, self._parse_request, body, header, deadline)
        task.add_done_callback(self._parsed)
        try:
            return await asyncio.shield(task)
        except DeadlineError as error:
            seconds = self.settings.timeout
            raise InferenceError(ErrorCode.LATE, f"the request was not parsed within {seconds:g} seconds") from error
        except ClosedError as error:
            raise InferenceError(ErrorCode.STOPPING, "the server is stopping") from error

    def _parse_request(self, body: memoryview, header: int | None, deadline: float) -> InferenceRequest:
        assert self.decoders is not None
        return self.decoders.parse_request(body, header, deadline=deadline)

    def _parsed(self, task: asyncio.Future[Any]) -> None:
        self.active_uploads -= 1
        if not task.cancelled():
            task.exception()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models and pipelines."""
        return (*self.models, *self.pipelines)

    def digests(self) -> dict[str, str | dict[str, str]]:
        """SHA-256 of each model's ONNX file by model name; for a pipeline, those of its members."""
        graphs = {backend.metadata.name: backend.digest() for backend in self._backends}
        pipelines = {
            name: {one.name: graphs[one.name] for one in found.pipeline.members.values()}
            for name, found in self.pipelines.items()
        }
        return {**graphs, **pipelines}

    def index(self) -> list[dict[str, str]]:
        """List the models and their state, as the protocol's repository index."""
        state = "UNAVAILABLE" if self.stopping else "READY"
        return [{"name": name, "version": VERSION, "state": state, "reason": ""} for name in self.names]

    @contextmanager
    def reserve_bytes(self, size: int = 0) -> Iterator[ByteReservation]:
        """Reserve `size` bytes, and more with `ByteReservation.grow`, until the block ends. Raises InferenceError."""
        reservation = ByteReservation(self)
        try:
            reservation.grow(size)
            yield reservation
        finally:
            self.reserved_bytes -= reservation.size

    @contextmanager
    def track_request(self, model: str, protocol: str) -> Iterator[TrackedRequest]:
        """Count and log the request that the block handles; turn its exceptions into InferenceError."""
        started = time.perf_counter()
        tracked = TrackedRequest()
        self.active_requests += 1
        try:
            if self.stopping:
                raise InferenceError(ErrorCode.STOPPING, "the server is stopping")
            yield tracked
        except InferenceError as error:
            tracked.outcome = error.code.label
            raise
        except UserError as error:
            tracked.outcome = ErrorCode.INVALID.label
            raise InferenceError(ErrorCode.INVALID, str(error).replace("\n", "; ")) from error
        except asyncio.CancelledError:
            tracked.outcome = ErrorCode.CANCELLED.label
            raise
        except Exception as error:
            tracked.outcome = ErrorCode.INTERNAL.label
            log("failed", error=error)
            raise InferenceError(ErrorCode.INTERNAL, "internal server error; see the server's log") from error
        finally:
            self.active_requests -= 1
            seconds = time.perf_counter() - started
            # An unknown name is the client's text: it goes neither into metric labels nor into the log.
            name = model if model in self.names else ""
            record = current_record()
            record.outcome = tracked.outcome
            self.metrics.observe_request(name, protocol, tracked.outcome, seconds, client=record.client)
            facts: dict[str, Any] = {
                "request": record.id,
                "client": record.client,
                "model": name,
                "protocol": protocol,
            }
            log("request", **facts, outcome=tracked.outcome, ms=round(seconds * 1000, 2))

    async def infer(
        self,
        served: ServedModel,
        inference: InferenceRequest,
        *,
        timeout: float | None = None,
        threshold: float | None = None,
    ) -> InferenceResult:
        """Run a request; if the task is cancelled, a request that still waits is dropped. Raises InferenceError.

        `threshold`: drop a detector's boxes whose score is below it.
        """
        require_known(inference.parameters, INFERENCE, kind="parameter")
        served.check(inference)
        wanted = inference.outputs
        if threshold is not None:
            require_tensors_with_threshold(served.metadata)
            if wanted is not None:
                wanted = (*wanted, *(name for name in REQUIRED_OUTPUTS if name not in wanted))
        seconds = min(self.settings.timeout, timeout if timeout is not None else self.settings.timeout)
        try:
            future = served.batcher.submit(inference.inputs, wanted, deadline=time.monotonic() + max(0.0, seconds))
        except QueueFullError as error:
            raise InferenceError(
                ErrorCode.FULL, f"the queue of {served.batcher.max_queue} requests is full; try again later"
            ) from error
        except ClosedError as error:
            raise InferenceError(ErrorCode.STOPPING, "the server is stopping") from error
        try:
            async with asyncio.timeout(seconds):
                result = await asyncio.wrap_future(future)
        except (TimeoutError, DeadlineError) as error:
            raise InferenceError(ErrorCode.LATE, f"the request was not processed within {seconds:g} seconds") from error
        self.metrics.observe_run(
            served.name,
            queue_seconds=result.queue_seconds,
            compute_seconds=result.compute_seconds,
            batch_size=result.batch_size,
        )
        if threshold is None:
            return result
        outputs = above_threshold(result.outputs, threshold)
        return replace(result, outputs={name: outputs[name] for name in inference.outputs or outputs})

    async def drain(self) -> int:
        """Reject new requests, wait up to `settings.drain` seconds for the active ones; return how many are left."""
        self.stopping = True
        end = time.monotonic() + self.settings.drain
        while self.active_requests and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return self.active_requests

    def close(self) -> None:
        """Stop the queues, the decoder processes and the upload threads, and remove the spool."""
        for served in self.models.values():
            served.batcher.close()
        self.upload_pool.shutdown(wait=False, cancel_futures=True)
        if self.decoders is not None:
            self.decoders.close()
        self.spool.close()
