"""The Predictor: one predict over every family and every backend.

read -> channels -> host steps -> graph -> decode -> the answer on the input's own grid. The same class
answers in Python, on the command line, in evaluation and on a server's client side.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from medzoo.errors import UserError
from medzoo.io.channels import to_channels
from medzoo.io.read import read_image
from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.results import Classification, Detections, Result, Segmentation
from medzoo.runtime.backend import Backend
from medzoo.runtime.slices import segment_array
from medzoo.types import Frame, Image

_AHEAD = 2  # inputs decoded while the graph runs: enough to hide reading, few enough to bound memory


@dataclass(frozen=True, eq=False)
class Prepared:
    """An input after the host steps: the source image, the array the graph takes, and the way back."""

    name: str
    source: Image
    image: Image
    frame: Frame


@dataclass(frozen=True)
class Failure:
    """Stands in a stream in the place of an input that cannot be answered."""

    input: str
    error: UserError

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`."""
        return {"input": self.input, "error": str(self.error).replace("\n", "; ")}


class Predictor:
    """Answers images with one backend. `threshold` replaces the operating threshold that the model stores."""

    def __init__(self, backend: Backend, *, threshold: float | None = None) -> None:
        self.backend = backend
        self.metadata = backend.metadata
        self.steps = parse_steps(self.metadata.host)
        stored = self.metadata.operating_point
        self.threshold = threshold if threshold is not None else (stored.threshold if stored else 0.0)

    @overload
    def predict(self, source: list[Any] | tuple[Any, ...] | Iterator[Any], **options: Any) -> Iterator[Result]: ...

    @overload
    def predict(self, source: Any, **options: Any) -> Result: ...

    def predict(self, source: Any, **options: Any) -> Result | Iterator[Result]:
        """One input (path, array, nibabel image, pydicom dataset, DICOM folder) gives one result; a list,
        tuple or iterator gives a generator of results in order. Raises UserError for an input that cannot
        be answered."""
        if isinstance(source, list | tuple | Iterator):
            return self._all(source, **options)
        return self.answer(self.prepare(source, **options))

    def _all(self, sources: Iterable[Any], **options: Any) -> Iterator[Result]:
        for result in self.stream(sources, **options):
            if isinstance(result, Failure):
                raise result.error
            yield result

    def stream(self, sources: Iterable[Any], **options: Any) -> Iterator[Result | Failure]:
        """Results in order, a Failure in the place of an input that cannot be answered; reads ahead."""
        rest = iter(sources)
        with ThreadPoolExecutor(1, thread_name_prefix="medzoo-read") as pool:
            waiting: list[tuple[Any, Future[Prepared]]] = [
                (source, pool.submit(self.prepare, source, **options)) for source in islice(rest, _AHEAD)
            ]
            while waiting:
                source, future = waiting.pop(0)
                try:
                    result: Result | Failure = self.answer(future.result())
                except UserError as error:
                    result = Failure(input=_name(source), error=error)
                waiting += [(s, pool.submit(self.prepare, s, **options)) for s in islice(rest, 1)]
                yield result

    def prepare(self, source: Any, **options: Any) -> Prepared:
        """Read one input and take the host steps."""
        image = source if isinstance(source, Image) else read_image(source)
        image = to_channels(image, self.metadata.geometry.channels)
        prepared, frame = apply_steps(image, self.steps)
        prepared = prepared.replace(array=np.asarray(prepared.array, np.float32))
        return Prepared(_name(source), image, prepared, frame)

    def answer(self, prepared: Prepared) -> Result:
        """Run the graph on a prepared input and bring the answer back to the input's own grid."""
        start = time.perf_counter()
        task = self.metadata.task
        if task == "segment":
            return self._segment(prepared, start)
        return self._classify(prepared, start) if task == "classify" else self._detect(prepared, start)

    def _common(self, prepared: Prepared, start: float) -> dict[str, Any]:
        return {
            "input": prepared.name,
            "model": self.metadata.name,
            "image": prepared.source,
            "seconds": time.perf_counter() - start,
        }

    def _segment(self, prepared: Prepared, start: float) -> Segmentation:
        slab = 1 if self.backend.device == "cpu" else 16
        labels = segment_array(self.backend, prepared.image.array, slab=slab)
        mask = prepared.frame.mask_to_source(labels)
        return Segmentation(mask=mask, labels=self.metadata.labels, **self._common(prepared, start))

    def _classify(self, prepared: Prepared, start: float) -> Classification:
        name = self.metadata.inputs[0]
        values = self.backend.run({name: prepared.image.array[None]}, ["probabilities"])["probabilities"][0]
        probabilities = {label: float(p) for label, p in zip(self.metadata.labels, values, strict=True)}
        return Classification(
            label=self._label(probabilities), probabilities=probabilities, **self._common(prepared, start)
        )

    def _label(self, probabilities: dict[str, float]) -> str:
        """The likeliest label; of two, the second ("positive") one from the operating threshold on."""
        if len(self.metadata.labels) == 2 and self.threshold > 0:
            negative, positive = self.metadata.labels
            return positive if probabilities[positive] >= self.threshold else negative
        return max(probabilities, key=probabilities.__getitem__)

    def _detect(self, prepared: Prepared, start: float) -> Detections:
        raw = self.backend.run({"image": prepared.image.array[None]})
        kept = int(raw["count"][0])
        scores = raw["scores"][0, :kept]
        above = scores >= self.threshold
        boxes = prepared.frame.boxes_to_source(raw["boxes"][0, :kept][above])
        return Detections(
            boxes=boxes,
            scores=scores[above],
            classes=raw["labels"][0, :kept][above],
            labels=self.metadata.labels,
            **self._common(prepared, start),
        )


def _name(source: Any) -> str:
    """What a result calls its input: a path exactly as it was typed, or what kind of object it was."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, Image):
        return source.source or "image"
    return type(source).__name__
