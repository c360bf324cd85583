"""Format `yolo`: findings on pictures as Ultralytics' text files, to correct and to train on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from medzoo.errors import UserError
from medzoo.imaging.polygons import one_ring, polygons
from medzoo.io.atomic import atomic_write
from medzoo.results import Detections, Result, Segmentation
from medzoo.types import Array
from medzoo.writer import Writer, WriterOptions


class YoloWriter(Writer):
    """NAME.txt of each picture: class, then centre and size of a box, or corners of a polygon where there is a mask, as
    shares of width and height; FOLDER/classes.txt names the classes. Scores are left out: these are labels.
    """

    summaries = ("classes.txt",)

    def __init__(self, options: WriterOptions) -> None:
        super().__init__(options)
        self.labels = options.labels

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return (".txt",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        lines = []
        for found in outlined(result):
            height, width = found.size
            if found.ring is not None:
                values = (found.ring / [width, height]).ravel()
            else:
                x0, y0, x1, y1 = found.box
                values = np.array(
                    [(x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height]
                )
            lines.append(" ".join([str(found.number), *(f"{v:.9g}" for v in values)]))
        text = "".join(f"{line}\n" for line in lines)
        atomic_write(base.with_name(f"{base.name}.txt"), lambda handle: handle.write(text.encode()))
        return result

    def close(self) -> None:
        """See Writer.close."""
        labels = self.labels[1:] if self.options.task == "segment" else self.labels
        text = "".join(f"{label}\n" for label in labels)
        atomic_write(self.options.folder / self.summaries[0], lambda handle: handle.write(text.encode()))


class Outlined:
    """One finding on a picture: `number` and `label` of its class, `score` (None: of a segmentation), `box` (4,),
    `mask` of the whole picture or None, and the picture's `size` (H, W)."""

    def __init__(
        self, number: int, label: str, score: float | None, box: Array, mask: Array | None, size: tuple[int, int]
    ) -> None:
        self.number, self.label, self.score, self.box, self.mask, self.size = number, label, score, box, mask, size

    @property
    def ring(self) -> Array | None:
        """Its outline as one ring; None of a box."""
        return None if self.mask is None else one_ring(polygons(self.mask)).astype(float)


def outlined(result: Result) -> Iterator[Outlined]:
    """The findings of a result: detections, or the connected parts of labels. Raises UserError for volumes, classes."""
    if not isinstance(result, Segmentation | Detections) or result.image is None or result.image.affine is not None:
        raise UserError("holds boxes and masks of pictures alone", result.input, "use --format auto or csv")
    size = (result.image.shape[0], result.image.shape[1])
    if isinstance(result, Segmentation):
        for value, label in enumerate(result.labels[1:], 1):
            yield from _parts(result.mask == value, value - 1, label, size)
        return
    for n in np.argsort(-np.asarray(result.scores), kind="stable"):
        mask = None
        if result.masks is not None:
            (y, x), crop = result.masks.crop(int(n))
            mask = np.zeros(size, bool)
            mask[y : y + crop.shape[0], x : x + crop.shape[1]] = crop
            mask = mask if mask.any() else None
        number = int(result.classes[n])
        yield Outlined(
            number, result.labels[number], float(result.scores[n]), result.boxes[n].astype(float), mask, size
        )


def _parts(mask: Array, number: int, label: str, size: tuple[int, int]) -> Iterator[Outlined]:
    from scipy.ndimage import find_objects
    from scipy.ndimage import label as connected

    numbers, _ = connected(mask, np.ones((3, 3)))
    for k, place in enumerate(find_objects(numbers), 1):
        box = np.array([place[1].start, place[0].start, place[1].stop, place[0].stop], float)
        yield Outlined(number, label, None, box, numbers == k, size)


ENTRY = YoloWriter
