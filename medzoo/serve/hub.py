"""The models a server answers for, and what is in hand: every protocol comes through here."""

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
    Answer,
    Batcher,
    BatchingBackend,
    ClosedError,
    DeadlineError,
    QueueFullError,
)
from medzoo.runtime.backends.canvas import KEY as CANVAS
from medzoo.runtime.backends.canvas import to_property
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.cascade import Cascade
from medzoo.runtime.metadata import KEY, Metadata
from medzoo.runtime.pipeline import KEY as PIPELINE_KEY
from medzoo.runtime.pipeline import PLATFORM as PIPELINE
from medzoo.runtime.pipeline import Pipeline
from medzoo.runtime.predictor import Predictor, Prepared
from medzoo.runtime.protocol.tensors import Question, TensorSpec, datatype, graph_spec, read_question
from medzoo.runtime.value_range import check_tensors
from medzoo.serve.decoders import Decoders, supported
from medzoo.serve.exchange import current_exchange
from medzoo.serve.logs import log
from medzoo.serve.meter import Meter
from medzoo.serve.parameters import INFERENCE, require_known
from medzoo.serve.refusal import Reason, Refusal
from medzoo.serve.settings import Settings
from medzoo.serve.spool import Spool
from medzoo.serve.threshold import NEEDED, above_threshold, require_tensors_with_threshold, require_threshold
from medzoo.types import Array

PLATFORM = "onnxruntime_onnx"
VERSION = "1"
_SMALL = 4 << 20  # bytes of a request that is let in where large ones wait
EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration")


@dataclass(frozen=True)
class Served:
    """One model: its queue, its metadata, and its tensors."""

    name: str
    batcher: Batcher
    metadata: Metadata
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, backend: OnnxBackend, settings: Settings) -> Served:
        """A model behind a queue of its own."""
        batcher = Batcher(
            backend,
            max_rows=settings.max_rows,
            max_delay=settings.max_delay,
            max_queue=settings.max_queue,
            max_queue_bytes=settings.max_held,
        )
        session = backend.session
        return cls(
            backend.metadata.name,
            batcher,
            backend.metadata,
            tuple(graph_spec(value) for value in session.get_inputs()),
            tuple(graph_spec(value) for value in session.get_outputs()),
        )

    def describe(self) -> dict[str, Any]:
        """The protocol's model metadata."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": PLATFORM,
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
        }

    def config(self) -> dict[str, Any]:
        """The part of Triton's model configuration that carries medzoo's metadata to a client."""
        told = {KEY: self.metadata.model_dump_json()}
        if (canvas := getattr(self.batcher.backend, "canvas", None)) is not None:
            told[CANVAS] = to_property(canvas)
        return {
            "name": self.name,
            "platform": PLATFORM,
            "max_batch_size": 0,
            "parameters": {key: {"string_value": value} for key, value in told.items()},
        }

    def check(self, question: Question) -> None:
        """Raises Refusal that names the tensor which the graph does not take or give, UserError for pictures whose
        values are in another range than those that the model was trained on."""
        known = {spec.name: spec for spec in self.inputs}
        for name in question.inputs:
            if name not in known:
                raise Refusal(Reason.INVALID, f"{self.name} has no input {name[:80]!r}, it takes {', '.join(known)}")
        rows = set()
        for name, spec in known.items():
            if name not in question.inputs:
                raise Refusal(Reason.INVALID, f"the input {name!r} of {self.name} is missing")
            _check_array(spec, question.inputs[name])
            rows.add(len(question.inputs[name]))
        check_tensors(self.metadata, question.inputs)
        if len(rows) > 1:
            raise Refusal(Reason.INVALID, f"the inputs differ in their batch size: {sorted(rows)}")
        outputs = [spec.name for spec in self.outputs]
        for name in question.outputs or ():
            if name not in outputs:
                raise Refusal(Reason.INVALID, f"{self.name} has no output {name[:80]!r}, it gives {', '.join(outputs)}")


@dataclass(frozen=True)
class ServedPipeline:
    """Models that answer an image together; each of them is served by itself as well, and takes the tensors."""

    pipeline: Pipeline

    @property
    def name(self) -> str:
        """The pipeline's own name."""
        return self.pipeline.name

    def describe(self) -> dict[str, Any]:
        """The protocol's model metadata: of a pipeline without tensors."""
        return {"name": self.name, "versions": [VERSION], "platform": PIPELINE, "inputs": [], "outputs": []}

    def config(self) -> dict[str, Any]:
        """Which of the models here play which part, for a client that takes the host steps itself."""
        return {
            "name": self.name,
            "platform": PIPELINE,
            "max_batch_size": 0,
            "parameters": {PIPELINE_KEY: {"string_value": self.pipeline.model_dump_json()}},
        }


@dataclass
class Told:
    """How a request ended, for the meter and the log: "ok", or a reason's word."""

    outcome: str = "ok"


class Holding:
    """The bytes of one request that are in memory, as they come."""

    def __init__(self, hub: Hub) -> None:
        self._hub, self.size = hub, 0

    def grow(self, size: int) -> None:
        """Count more bytes. Raises Refusal if the request is too large, or too much of others is held already.

        An eighth of what may be held is for small requests alone, so that no number of large ones keeps them out.
        """
        hub, total = self._hub, self.size + size
        settings = hub.settings
        if total > settings.max_body:
            raise Refusal(Reason.TOO_LARGE, f"a request has at most {settings.max_body} bytes, this has more")
        room = settings.max_held if total <= _SMALL else settings.max_held - settings.max_held // 8
        if hub.held + size > room and hub.held > self.size:
            raise Refusal(Reason.FULL, "too many bytes of other requests are in hand, try again later")
        self.size, hub.held = total, hub.held + size


class Hub:
    """Every model by name, and the bounds on what is in hand at once."""

    def __init__(self, backends: Sequence[OnnxBackend], settings: Settings, pipelines: Sequence[Pipeline] = ()) -> None:
        self.settings = settings
        self._backends = tuple(backends)
        self.meter = Meter()
        self.models: dict[str, Served] = {}
        for backend in backends:
            served = Served.of(backend, settings)
            if served.name in self.models:
                raise UserError("two of the models have this name", where=served.name)
            self.models[served.name] = served
            self.meter.watch_queue(served.name, served.batcher.__len__)
        self.pipelines: dict[str, ServedPipeline] = {}
        for pipeline in pipelines:
            if pipeline.name in self.models or pipeline.name in self.pipelines:
                raise UserError("two of the models have this name", where=pipeline.name)
            self.pipelines[pipeline.name] = ServedPipeline(pipeline)
        self.stopping = False
        self.open = 0
        self.held = 0
        self.uploads = ThreadPoolExecutor(settings.uploads, thread_name_prefix="medzoo-upload")
        self.uploading = 0
        self.spool = Spool.shared() or Spool()
        self.decoders = (
            Decoders(
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
        self.meter.watch(open_=lambda: self.open, held=lambda: self.held)

    def found(self, name: str, model_version: str = "") -> Served | ServedPipeline:
        """A graph or a pipeline. Raises Refusal if there is no such model or version."""
        found = self.models.get(name) or self.pipelines.get(name)
        if found is None:
            raise Refusal(Reason.UNKNOWN, f"there is no model {name[:80]!r}")
        current_exchange().model = name
        if model_version not in ("", VERSION):
            raise Refusal(Reason.UNKNOWN, f"{name} has no version {model_version[:20]!r}, only {VERSION}")
        return found

    def model(self, name: str, model_version: str = "") -> Served:
        """A graph, which takes tensors. Raises Refusal if there is none."""
        found = self.found(name, model_version)
        if isinstance(found, ServedPipeline):
            members = ", ".join(found.pipeline.names)
            raise Refusal(
                Reason.INVALID,
                f"{name} is a pipeline and takes no tensors: ask its members ({members}), or POST an image file to "
                f"/predict/{name}",
            )
        return found

    def predictor(
        self, name: str, *, deadline: float, stopped: Callable[[], bool], threshold: float | None = None
    ) -> Predictor:
        """What answers image files for `name`, through the queues of its graphs. Raises Refusal."""
        found = self.found(name)

        def queued(served: Served) -> BatchingBackend:
            return BatchingBackend(served.batcher, deadline=deadline, stopped=stopped)

        if isinstance(found, Served):
            if threshold is not None:
                require_threshold(found.metadata)
            return Predictor(queued(found), threshold=threshold)
        members = {role: Predictor(queued(self.models[one.name])) for role, one in found.pipeline.members.items()}
        return Cascade.of(name, members, threshold=threshold)

    def start_decoders(self) -> None:
        """Have the processes that read image files at hand before the first one comes; does not wait for them."""
        if self.decoders is not None:
            self.uploads.submit(self.decoders.start)

    def prepare(
        self, predictor: Predictor, path: Path, *, deadline: float, stopped: Callable[[], bool] = lambda: False
    ) -> Prepared:
        """Read and prepare a file from outside, under the settings' limits and, where the system allows it, in a
        process of its own. Raises what `Decoders.prepare` raises."""
        if self.decoders is not None:
            return self.decoders.prepare(predictor, path, deadline=deadline, stopped=stopped)
        with limited(self.settings.limits):
            return predictor.prepare(path)

    async def read_question(self, body: memoryview, header: int | None) -> Question:
        """`medzoo.runtime.protocol.tensors.read_question` of long JSON, by a decoder. Raises Refusal and UserError."""
        if self.decoders is None:
            return await asyncio.to_thread(read_question, body, header)
        if self.uploading >= 2 * self.settings.uploads:
            raise Refusal(Reason.FULL, "enough long requests are in hand already, send tensors as bytes or try later")
        deadline = time.monotonic() + self.settings.timeout
        self.uploading += 1
        task = asyncio.get_running_loop().run_in_executor(self.uploads, self._read_question, body, header, deadline)
        task.add_done_callback(self._read)
        try:
            return await asyncio.shield(task)
        except DeadlineError as error:
            seconds = self.settings.timeout
            raise Refusal(Reason.LATE, f"was not read within {seconds:g} seconds") from error
        except ClosedError as error:
            raise Refusal(Reason.STOPPING, "the server is stopping") from error

    def _read_question(self, body: memoryview, header: int | None, deadline: float) -> Question:
        assert self.decoders is not None
        return self.decoders.question(body, header, deadline=deadline)

    def _read(self, task: asyncio.Future[Any]) -> None:
        self.uploading -= 1
        if not task.cancelled():
            task.exception()

    @property
    def names(self) -> tuple[str, ...]:
        """Of graphs and pipelines."""
        return (*self.models, *self.pipelines)

    def digests(self) -> dict[str, str | dict[str, str]]:
        """The SHA-256 of each model's file by the model's name; of a pipeline, those of its graphs."""
        graphs = {backend.metadata.name: backend.digest() for backend in self._backends}
        pipelines = {
            name: {one.name: graphs[one.name] for one in found.pipeline.members.values()}
            for name, found in self.pipelines.items()
        }
        return {**graphs, **pipelines}

    def index(self) -> list[dict[str, str]]:
        """The repository index."""
        state = "UNAVAILABLE" if self.stopping else "READY"
        return [{"name": name, "version": VERSION, "state": state, "reason": ""} for name in self.names]

    @contextmanager
    def hold(self, size: int = 0) -> Iterator[Holding]:
        """Count `size` bytes as held, and those that `Holding.grow` adds. Raises what that raises."""
        holding = Holding(self)
        try:
            holding.grow(size)
            yield holding
        finally:
            self.held -= holding.size

    @contextmanager
    def request(self, model: str, protocol: str) -> Iterator[Told]:
        """Around everything done for one request: counts and logs it, as `Told` says it ended. Raises only Refusal."""
        started = time.perf_counter()
        told = Told()
        self.open += 1
        try:
            if self.stopping:
                raise Refusal(Reason.STOPPING, "the server is stopping")
            yield told
        except Refusal as refusal:
            told.outcome = refusal.reason.word
            raise
        except UserError as error:
            told.outcome = Reason.INVALID.word
            raise Refusal(Reason.INVALID, str(error).replace("\n", "; ")) from error
        except asyncio.CancelledError:
            told.outcome = Reason.CANCELLED.word
            raise
        except Exception as error:
            told.outcome = Reason.INTERNAL.word
            log("failed", error=error)
            raise Refusal(Reason.INTERNAL, "the server failed, its log says where") from error
        finally:
            self.open -= 1
            seconds = time.perf_counter() - started
            # A name that no model has came from outside: it goes neither into labels nor into the log.
            name = model if model in self.names else ""
            exchange = current_exchange()
            exchange.outcome = told.outcome
            self.meter.ended(name, protocol, told.outcome, seconds, client=exchange.client)
            facts: dict[str, Any] = {
                "request": exchange.id,
                "client": exchange.client,
                "model": name,
                "protocol": protocol,
            }
            log("request", **facts, outcome=told.outcome, ms=round(seconds * 1000, 2))

    async def infer(
        self, served: Served, question: Question, *, timeout: float | None = None, threshold: float | None = None
    ) -> Answer:
        """Run a question. Cancelled, it is dropped if it has not begun. Raises Refusal.

        `threshold`: of a detector, leaves out the boxes whose score is below it.
        """
        require_known(question.parameters, INFERENCE, kind="parameter")
        served.check(question)
        wanted = question.outputs
        if threshold is not None:
            require_tensors_with_threshold(served.metadata)
            if wanted is not None:
                wanted = (*wanted, *(name for name in NEEDED if name not in wanted))
        seconds = min(self.settings.timeout, timeout if timeout is not None else self.settings.timeout)
        try:
            future = served.batcher.submit(question.inputs, wanted, deadline=time.monotonic() + max(0.0, seconds))
        except QueueFullError as error:
            raise Refusal(Reason.FULL, f"{served.batcher.max_queue} requests wait already, try again later") from error
        except ClosedError as error:
            raise Refusal(Reason.STOPPING, "the server is stopping") from error
        try:
            async with asyncio.timeout(seconds):
                answer = await asyncio.wrap_future(future)
        except (TimeoutError, DeadlineError) as error:
            raise Refusal(Reason.LATE, f"was not answered within {seconds:g} seconds") from error
        self.meter.ran(served.name, waited=answer.waited, ran=answer.ran, rows=answer.rows)
        if threshold is None:
            return answer
        outputs = above_threshold(answer.outputs, threshold)
        return replace(answer, outputs={name: outputs[name] for name in question.outputs or outputs})

    async def drain(self) -> int:
        """Refuse what comes, wait for what is in hand as long as the settings allow; how many were left."""
        self.stopping = True
        end = time.monotonic() + self.settings.drain
        while self.open and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return self.open

    def close(self) -> None:
        """Stop the models' threads."""
        for served in self.models.values():
            served.batcher.close()
        self.uploads.shutdown(wait=False, cancel_futures=True)
        if self.decoders is not None:
            self.decoders.close()
        self.spool.close()


def _check_array(spec: TensorSpec, array: Array) -> None:
    kind = datatype(array.dtype)
    if kind != spec.datatype:
        raise Refusal(Reason.INVALID, f"the input {spec.name!r} is {kind}, it must be {spec.datatype}")
    fits = len(array.shape) == len(spec.shape) and all(
        n > 0 and (want in (-1, n)) for n, want in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise Refusal(
            Reason.INVALID,
            f"the input {spec.name!r} has shape {list(array.shape)}, it must be {list(spec.shape)} (-1: any but 0)",
        )
