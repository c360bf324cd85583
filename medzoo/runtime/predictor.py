"""The Predictor: one predict for every task and every backend.

read -> channels -> host steps -> graph -> decode -> result on the source grid. The same class predicts in Python, on
the command line, in evaluation and on a server's client side.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, overload

import numpy as np

from medzoo.errors import UserError, as_user_error
from medzoo.io.array import from_array, is_array, to_array
from medzoo.io.channels import to_channels
from medzoo.io.contours import read_outline
from medzoo.io.file_object import is_file_object, name_of
from medzoo.io.read import read_image, read_labels
from medzoo.io.sequences import read_phases, read_sequences
from medzoo.io.snapshot import file_version, snapshot
from medzoo.preprocess.extras import MASS_HINT, MassHint
from medzoo.preprocess.steps import apply_steps, parse_steps
from medzoo.results import Failure, Result
from medzoo.runtime.backends import Backend
from medzoo.runtime.backends.batching import BatchingBackend
from medzoo.runtime.decode.tiles import check_tile, needs_tiles
from medzoo.runtime.familiarity import ANYWAY, EmbeddingTap, embed, in_one_run, judge, refuse, unsure_note
from medzoo.runtime.metadata import check_threshold
from medzoo.runtime.prepared import Prepared, downscale_notes
from medzoo.runtime.stream import StreamConfig, make_batcher, map_in_order
from medzoo.runtime.time_limit import TimeLimitError, time_limit
from medzoo.runtime.value_range import trained_range
from medzoo.task import task_of
from medzoo.types import Array, Image

_OF_VOLUMES = frozenset({"orient", "spacing", "crop-foreground", "tissue-levels", "n4", "suv"})
"""Host steps that apply to volumes only."""


class Predictor:
    """Predicts images with one backend. `threshold` overrides the operating threshold stored in the model.

    `time_limit`: seconds that graphs may compute per input before TimeLimitError is raised; None for no limit.
    """

    time_limit: float | None = None
    anyway: bool = False
    """Answer every input, also one that the model's guard does not know; as the option `anyway` of one prediction."""
    progress: Callable[[str, int, int], None] | None = None
    """Called with input, done and total runs of the graph while a volume is predicted, from the thread that does it."""
    reopen: Callable[[], Predictor] | None = None
    """Opens the same model in another process; pickled in place of the backend, and set by `medzoo.load`."""

    def __init__(self, backend: Backend, *, threshold: float | None = None) -> None:
        self.backend = backend
        self.metadata = backend.metadata
        self.task = task_of(self.metadata.task)
        self.steps = parse_steps(self.metadata.host)
        stored = self.metadata.operating_point
        self._threshold = stored.threshold if stored else 0.0
        if threshold is not None:
            self.threshold = threshold

    @property
    def threshold(self) -> float:
        """Lowest score of a reported object, or lowest probability at which the second of two labels is predicted.

        Setting it raises UserError unless it is a number from 0 to 1.
        """
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self._threshold = check_threshold(value)

    def __copy__(self) -> Self:
        """Copy the predictor, sharing the backend."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle path and digest of the model and the settings; no weights, no code."""
        if self.reopen is None:
            raise TypeError("a Predictor of an in-memory backend cannot be pickled; use one from medzoo.load")
        return _reopen, (self.reopen, self._threshold, self.time_limit)

    @overload
    def predict(
        self, source: list[Any] | tuple[Any, ...] | Iterator[Any], **options: Any
    ) -> Iterator[Result | Failure]: ...

    @overload
    def predict(self, source: Any, **options: Any) -> Result: ...

    def predict(self, source: Any, **options: Any) -> Result | Iterator[Result | Failure]:
        """One input gives one result; a list, tuple or iterator of inputs gives a generator of results in order.

        An input is a path, a DICOM folder, the bytes of a file, a file opened with "rb", a picture of Pillow, a nibabel
        image, a pydicom dataset, or an array: NumPy's, or an object that turns into one (a torch tensor on the CPU).
        A picture as an array is (H, W), (H, W, C) or (C, H, W), its colours red, green, blue, and opacity if there are
        four; with `bgr=True` blue, green, red, as OpenCV reads them. Its values are those of a file (0 to 255 in most),
        in any type; see medzoo.runtime.value_range for others. An iterator may reuse one array or picture for all
        inputs: what it holds when it is handed out is answered. `mask`, `box`: see `prepare`.
        `anyway`: answer an input also if the model's guard finds that it is not of the kind it was trained on
        (`result.familiar`), which is an UnfamiliarError otherwise.

        Raises UserError for one input that cannot be answered; among many, a Failure stands in its place
        (`result.error` is then not None) and the others are answered. A `threshold` belongs to `medzoo.load`.

        >>> model = medzoo.load("breast-lesion-rcnn")
        >>> [len(result) for result in model.predict(["phantom.png", "phantom.png"])]
        [1, 1]
        """
        if isinstance(source, list | tuple | Iterator) and not is_file_object(source):
            return self.stream(source, **options)
        return self.predict_prepared(replace(self.prepare(snapshot(source), **options), name=_name(source)))

    def stream(
        self,
        sources: Iterable[Any],
        *,
        finish: Callable[[int, Result], Result] | None = None,
        batch: int | None = None,
        delay: float | None = None,
        **options: Any,
    ) -> Iterator[Result | Failure]:
        """Results in order, a Failure in the place of an input that cannot be answered; see medzoo.runtime.stream.

        `finish`: done with each result and its number as well, such as writing it, while others run; what it raises
        makes a Failure of the result.
        `batch`: inputs of one size that run together, `delay`: seconds that one waits for others; by default
        what suits the device.
        """
        config = StreamConfig.for_backend(self.backend, batch=batch, delay=delay)
        batcher = make_batcher(self.backend, config)
        within = self.with_backend(BatchingBackend(batcher))

        def taken() -> Iterator[tuple[str, Any, object]]:
            for source in sources:
                # Whoever hands out the inputs may fill the same memory or file anew before this one's turn.
                try:
                    yield _name(source), snapshot(source), file_version(source)
                except Exception as error:  # of any library that the object comes from
                    yield _name(source), as_user_error(error, _name(source)), None

        def work(number: int, source: tuple[str, Any, object]) -> tuple[Result | Failure, int]:
            name, held, version = source
            try:
                if isinstance(held, UserError):
                    raise held
                prepared = replace(within.prepare(held, **options), name=name)
                if file_version(held) != version:
                    way = "write each image to its own file, or yield arrays"
                    raise UserError("the file changed before it was read", name, way)
                result = within.predict_prepared(prepared)
                size = prepared.source.array.nbytes + prepared.image.array.nbytes
                return (finish(number, result) if finish is not None else result), size
            except Exception as error:  # whatever one input causes must not cost the others their answers
                return Failure(input=name, error=as_user_error(error, name)), 0

        try:
            yield from map_in_order(work, taken(), threads=config.threads)
        finally:
            batcher.close()

    def with_backend(self, backend: Backend) -> Predictor:
        """Copy the predictor with another backend."""
        other = copy.copy(self)
        other.backend = backend
        return other

    @property
    def accepts_outline(self) -> bool:
        """True if the model measures a mass, so that `mask` or `box` may mark it."""
        return any(step.measures and not step.outlines_only for step in self.steps)

    @property
    def only_pictures(self) -> bool:
        """True if an image that is still a volume after the host steps is rejected.

        A detector may have learnt from single slices, but not from volumes whose axes no step brought into order.
        """
        metadata, geometry = self.metadata, self.metadata.geometry
        if metadata.inputs[0] != "image" or geometry.dims != 2:
            return False
        return self.task.only_pictures(metadata, has_steps=bool(self.steps))

    def prepare(
        self,
        source: Any,
        *,
        mask: Any = None,
        box: Any = None,
        bgr: bool = False,
        tile: Any = None,
        anyway: bool = False,
    ) -> Prepared:
        """Read one input and take the host steps; of a model of several sequences see `read_sequences`.

        `mask`: an outline drawn on the image (a path, or an array (H, W)); `box`: [x0, y0, x1, y1] around a mass;
        for models that measure one. `bgr`: the colours of an array are blue, green, red. `tile`: height and width in
        pixels of the tiles in which a detector looks at a picture that is larger, one after another and each at its own
        resolution; True for the size that its graph sees. An object is found whole if it is no larger than half a tile.
        By default a detector made for it does so with pictures much larger than its tiles; False: it never does.
        `anyway`: see `predict`.
        """
        size = self.tile_size(tile)
        image = self._in_range(self._read(source, bgr=bgr))
        if self.metadata.phases and image.affine is not None and len(image.array) > 1:
            one_each = (image.replace(array=image.array[[phase]]) for phase in range(len(image.array)))
            phases = [self.prepare(phase, mask=mask, box=box, tile=tile, anyway=anyway) for phase in one_each]
            return replace(phases[0], name=_name(source), phases=tuple(phases))
        image = to_channels(image, self.metadata.geometry.channels)
        extras = {} if mask is None and box is None else {MASS_HINT: self._hint(image, mask, box)}
        state = apply_steps(image, self.steps, extras=extras)
        if tile is None:
            size = self._own_tile(state.image.array)
        if self.only_pictures and state.image.array.ndim > 3:
            raise UserError(
                f"this is a volume; {self.metadata.name} takes 2D pictures", image.source, "pass one slice as a picture"
            )
        prepared = Prepared(_name(source), image, state.image, state.transform, size, state.extras, anyway=anyway)
        return self.to_input(prepared)

    def _own_tile(self, array: Array) -> tuple[int, int] | None:
        """The tile size of a detector made for tiles, for a prepared picture that needs them."""
        side = self.metadata.geometry.tile
        if side is None or not self.task.gives_boxes or array.ndim != 3 or not needs_tiles(array.shape[1:], side):
            return None
        return side, side

    def to_input(self, prepared: Prepared) -> Prepared:
        """Convert the images to float32, as graphs take them; tiles are converted one by one."""
        array = np.asarray(prepared.image.array, np.float32 if prepared.tile is None else None)
        image, phases = prepared.image.replace(array=array), tuple(map(self.to_input, prepared.phases))
        return replace(prepared, image=image, phases=phases)

    def tile_size(self, tile: Any) -> tuple[int, int] | None:
        """Return the height and width of tiles asked for as in `prepare`; None for no tiles. Raises UserError."""
        if tile is None or tile is False:
            return None
        if not self.task.gives_boxes or not self.only_pictures or self.metadata.inputs != ("image",):
            way = "only detectors of unprocessed pictures do"
            raise UserError(f"{self.metadata.name} does not support tiles", "tile", way)
        return check_tile(tile, self.canvas)

    @property
    def canvas(self) -> tuple[int, int] | None:
        """Height and width into which the graph fits pictures; None if it does not, or if unknown."""
        found: tuple[int, int] | None = getattr(self.backend, "canvas", None)
        return found

    def _read(self, source: Any, *, bgr: bool) -> Image:
        if is_array(source) and not any(step.outlines_only for step in self.steps) and (bgr or self._takes_pictures):
            return from_array(source, kind="picture" if self._takes_pictures else None, bgr=bgr)
        if bgr:
            raise UserError(
                "bgr applies to arrays only",
                _name(source),
                "omit it: files and Pillow images know their channel order",
            )
        if isinstance(source, Image):
            return source
        if any(step.outlines_only for step in self.steps):
            return read_outline(source)
        if self.metadata.phases:
            return read_phases(source)
        channels = self.metadata.geometry.channels
        return read_image(source) if channels == 1 else read_sequences(source, channels)

    @property
    def _takes_pictures(self) -> bool:
        """True if an array of three axes must be a picture: no step uses a volume's axes or spacing."""
        return self.task.arrays_are_pictures(self.metadata) and not any(step.op in _OF_VOLUMES for step in self.steps)

    def _in_range(self, image: Image) -> Image:
        """Convert the image to the value range of training; see medzoo.runtime.value_range."""
        values = trained_range(self.metadata, self.steps)
        if values is None:
            return image
        return values.convert(image) if image.affine is None else values.check_volume(image)

    def _hint(self, image: Image, mask: Any, box: Any) -> MassHint:
        if not self.accepts_outline:
            raise UserError("this model does not accept a mask or a box", where=image.source, hint="leave them out")
        if mask is not None and box is not None:
            raise UserError("got both a mask and a box", where=image.source, hint="pass only one of them")
        if isinstance(mask, MassHint):
            return mask
        if mask is not None:
            drawn = is_array(mask)
            outline = to_array(mask, where="mask") if drawn else read_labels(mask).array[0]
            named = image.source if drawn else _name(mask)
            if outline.shape == image.shape and len(values := np.unique(outline)) > 2:
                way = "draw the mass in one value on 0, and save it without loss (PNG, not JPEG)"
                raise UserError(f"not a mask: it has {len(values)} different values", where=named, hint=way)
            if outline.shape == image.shape and outline.all():
                raise UserError("not a mask: it covers the whole image", where=named, hint="use 0 for the background")
            return MassHint(mask=outline)
        x0, y0, x1, y1 = (float(v) for v in box)
        height, width = image.shape[:2]
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise UserError(
                f"the box {[x0, y0, x1, y1]} is not x0,y0,x1,y1 within the {width} x {height} image",
                where=image.source,
            )
        return MassHint(box=(x0, y0, x1, y1))

    def predict_prepared(self, prepared: Prepared) -> Result:
        """Run the graph on a prepared input; return the result on the source grid."""
        start = time.perf_counter()
        try:
            with time_limit(self.time_limit):
                return self._decode(prepared, start)
        except TimeLimitError as error:
            if self.time_limit is None:  # a limit around this call
                raise
            raise TimeLimitError(
                f"{self.metadata.name} exceeded its time limit of {self.time_limit:g} seconds",
                where=prepared.name,
                hint="raise the time limit; a graph that never ends is damaged or malicious",
            ) from error

    def _decode(self, prepared: Prepared, start: float) -> Result:
        guard = self.metadata.guard
        if guard is None:
            plain: Result = self.task.decode(self, prepared, start)
            return plain
        tap = EmbeddingTap(self.backend)
        result: Result = self.task.decode(self.with_backend(tap), prepared, start)
        embedding = tap.embedding if in_one_run(prepared) else embed(self.backend, prepared)
        familiar = judge(guard, embedding, prepared)
        if not (self.anyway or prepared.anyway or os.environ.get(ANYWAY) == "1"):
            refuse(familiar, model=self.metadata.name, where=prepared.name)
        seconds = time.perf_counter() - start
        return replace(result, familiar=familiar, seconds=seconds, notes=(*result.notes, *unsure_note(familiar)))

    def common_fields(self, prepared: Prepared, start: float) -> dict[str, Any]:
        """Return the fields that results of every task share."""
        return {
            "input": prepared.name,
            "model": self.metadata.name,
            "task": self.metadata.task,
            "image": prepared.source,
            "seconds": time.perf_counter() - start,
            "notes": (*prepared.source.meta.get("notes", ()), *downscale_notes(prepared, self)),
        }


def _reopen(reopen: Callable[[], Predictor], threshold: float, time_limit: float | None) -> Predictor:
    """Rebuild a pickled Predictor. Raises UserError, see `reopen`."""
    predictor = reopen()
    predictor._threshold, predictor.time_limit = threshold, time_limit
    return predictor


def _name(source: Any) -> str:
    """Return the name of an input in results: its path as given, or the type of the object."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, Image):
        return source.source or "image"
    return name_of(source) if is_file_object(source) else type(source).__name__
