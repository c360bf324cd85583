"""Prediction of uploaded image files, with the JSON of `medzoo predict --json`; masks and pictures as data URLs."""

from __future__ import annotations

import asyncio
import base64
import re
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from medzoo.errors import UnfamiliarError, UserError
from medzoo.io.formats import SUFFIXES, suffix
from medzoo.results import Failure, Result, Segmentation
from medzoo.runtime.backends.batching import ClosedError, DeadlineError
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.serve.inference_error import ErrorCode, InferenceError
from medzoo.serve.logs import log
from medzoo.serve.parameters import read_flag, read_threshold, read_tile
from medzoo.serve.repository import ModelRepository
from medzoo.serve.spool import ScratchFiles

_MOST_FILES = 4096


@dataclass(frozen=True)
class Upload:
    """An uploaded file: its name and its bytes."""

    name: str
    raw: bytes | memoryview


@dataclass(frozen=True)
class Options:
    """Options of an upload.

    `series`: the files are one DICOM series. `overlay`: also return a picture of each result. `anyway`: answer images
    that are not what the model was trained on. `threshold`, `tile`: see Predictor; a tile is "auto", or its height and
    width as "512,640".
    """

    series: bool = False
    overlay: bool = False
    anyway: bool = False
    threshold: float | None = None
    tile: bool | tuple[int, int] | None = None

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Options:
        """Parse options from a query or a form. Raises InferenceError that names the invalid one."""
        return cls(
            series=read_flag(given, "series"),
            overlay=read_flag(given, "overlay"),
            anyway=read_flag(given, "anyway"),
            threshold=read_threshold(given, text=True),
            tile=read_tile(given),
        )


OPTIONS = tuple(field.name for field in fields(Options))


async def predict_uploads(
    repository: ModelRepository, model: str, files: Sequence[Upload], options: Options
) -> tuple[list[dict[str, Any]], bool]:
    """Predict uploaded files; return the list of `predict --json` and True if all succeeded. Raises InferenceError."""
    if not 0 < len(files) <= _MOST_FILES:
        raise InferenceError(ErrorCode.INVALID, f"a request must contain 1 to {_MOST_FILES} files")
    if repository.active_uploads >= 2 * repository.settings.uploads:
        raise InferenceError(ErrorCode.FULL, "too many image files are being processed; try again later")
    gone = threading.Event()
    deadline = time.monotonic() + repository.settings.timeout
    predictor = repository.predictor(model, deadline=deadline, stopped=gone.is_set, threshold=options.threshold)
    if options.tile is not None:
        predictor.tile_size(options.tile)  # a model without tiles refuses them once, not in the place of each file
    repository.active_uploads += 1

    def prepare(path: Path) -> Prepared:
        return repository.prepare(predictor, path, deadline=deadline, stopped=gone.is_set, tile=options.tile)

    work = partial(predict_files, spool=repository.spool.path, observe=repository.drift[model].observe)
    task = asyncio.get_running_loop().run_in_executor(repository.upload_pool, work, predictor, files, options, prepare)

    def ended(_: object) -> None:
        repository.active_uploads -= 1

    task.add_done_callback(ended)
    try:
        async with asyncio.timeout(repository.settings.timeout):
            return await asyncio.shield(task)
    except (TimeoutError, DeadlineError) as error:
        raise InferenceError(
            ErrorCode.LATE, f"the request was not processed within {repository.settings.timeout:g} seconds"
        ) from error
    except ClosedError as error:
        raise InferenceError(ErrorCode.STOPPING, "the server is stopping") from error
    finally:
        # The decoder is killed, and the thread stops before its next run of the graph.
        gone.set()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


def predict_files(
    predictor: Predictor,
    files: Sequence[Upload],
    options: Options,
    prepare: Callable[[Path], Prepared],
    spool: Path | None = None,
    observe: Callable[[Result | None, Any], None] = lambda result, familiar: None,
) -> tuple[list[dict[str, Any]], bool]:
    """Predict files; return the list of `predict --json` and True if all succeeded.

    The files are written to `spool`, or the system's temporary folder; `prepare` reads them. `observe` is told each
    result and the guard's verdict, or the verdict alone where that refused the file.
    """
    with ExitStack() as stack:
        if spool is None:
            spool = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="medzoo-upload-")))
        scratch = stack.enter_context(ScratchFiles(spool))
        if options.series:
            series = scratch.folder()
            for number, file in enumerate(files):
                (series / f"{number:04}.dcm").write_bytes(file.raw)
            inputs = [(series, _shown(files[0].name))]
        else:
            inputs = [(scratch.write(file.raw, _suffix(file.name)), _shown(file.name)) for file in files]
        results = []
        for path, shown in inputs:
            try:
                results.append(_one(predictor, prepare, path, shown, scratch, options, observe))
            except (ClosedError, DeadlineError, InferenceError):
                raise
            except Exception as error:
                if len(inputs) == 1:
                    raise
                # An internal error must not fail the other files; its message is not shown, as it may quote the file.
                log("failed", error=error)
                results.append({"input": shown, "error": f"{shown}: could not be processed ({type(error).__name__})"})
    return results, not any("error" in answer for answer in results)


def _one(
    predictor: Predictor,
    prepare: Callable[[Path], Prepared],
    path: Path,
    shown: str,
    scratch: ScratchFiles,
    options: Options,
    observe: Callable[[Result | None, Any], None],
) -> dict[str, Any]:
    try:
        prepared = prepare(path)
        source = prepared.source.replace(source=shown)
        prepared = replace(prepared, name=shown, source=source, anyway=options.anyway)
        result: Result = predictor.predict_prepared(prepared)
        observe(result, result.familiar)
        return _with_files(result, scratch, options)
    except UserError as error:
        if isinstance(error, UnfamiliarError):
            observe(None, error.familiar)
        words = str(error).replace("\n", "; ").replace(str(path), shown)
        return Failure(shown, error).to_dict() | {"error": words.replace(str(scratch.parent), "")}


def _with_files(result: Result, scratch: ScratchFiles, options: Options) -> dict[str, Any]:
    answer = result.to_dict()
    if isinstance(result, Segmentation):
        kind, ending = ("image/png", ".png") if result.image.affine is None else ("application/gzip", ".nii.gz")
        mask = scratch.path(ending)
        result.save(mask)
        answer["mask"] = _data_url(kind, mask.read_bytes())
    if options.overlay:
        answer["overlay"] = _data_url("image/png", Path(result.plot(scratch.path(".png"))).read_bytes())
    return answer


def _data_url(kind: str, raw: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(raw).decode()}"


def _suffix(name: str) -> str:
    """Return the suffix of a client's file name if it is known; nothing else of the name reaches the disk."""
    known = suffix(PurePosixPath(name))
    return known if known in SUFFIXES else ""


def _shown(name: str) -> str:
    """Sanitise a client's file name for the response: no folders, no control characters, limited length."""
    last = PureWindowsPath(PurePosixPath(name).name).name
    return re.sub(r"[\x00-\x1f\x7f]", "", last)[:200] or "upload"
