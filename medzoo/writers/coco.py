"""Format `coco`: all results on pictures as one COCO dataset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.boxes import mask_to_box
from medzoo.errors import UserError
from medzoo.escape import json_text
from medzoo.io.atomic import atomic_write
from medzoo.io.coco_ids import CocoIds
from medzoo.io.run_lengths import decompressed, run_lengths
from medzoo.results import Detections, Result, Segmentation
from medzoo.task import task_of
from medzoo.writer import Writer, WriterOptions


class CocoWriter(Writer):
    """All results on pictures in FOLDER/predictions.json, a data set of COCO: boxes with scores, masks as run lengths
    (COCO's own format, column by column).

    `ids`: of images and categories, from the annotation file that the results are for; else numbers from 1 on. With
    `ids`, FOLDER/results.json is COCO's list of results, which `pycocotools` loads (COCO.loadRes) against that file.
    """

    together = True
    summaries = ("predictions.json", "results.json")
    takes_annotations = True

    def __init__(self, options: WriterOptions) -> None:
        super().__init__(options)
        self.path, self.results = (options.folder / name for name in self.summaries)
        self.ids: CocoIds | None = None
        if options.annotations is not None:
            if options.deidentify is not None:
                raise UserError(
                    "tells which image each result belongs to", "--annotations", "leave it out with --deidentify"
                )
            labels = options.labels[1:] if task_of(options.task).gives_mask else options.labels
            self.ids = CocoIds.read(options.annotations, labels)
        self.images: list[Mapping[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.labels: tuple[str, ...] = ()

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        if not isinstance(result, Segmentation | Detections) or result.image.affine is not None:
            raise UserError("COCO holds boxes and masks of pictures alone", result.input, "use --format auto or csv")
        height, width = result.image.shape
        image: Mapping[str, Any] = {"id": len(self.images) + 1, "file_name": result.input}
        image = {**image, "height": height, "width": width}
        if self.ids is not None:
            image = self.ids.image(result.image.source or result.input, (height, width))
            if any(one["id"] == image["id"] for one in self.images):
                raise UserError(f"is the image {image['file_name']!r}, which already has a result", result.input)
        wanted = result.labels[1:] if isinstance(result, Segmentation) else result.labels
        self.labels = tuple(wanted)
        found = [*self._found(result, wanted)]  # all of it, or nothing
        self.images.append(image)
        for number, one in enumerate(found, len(self.annotations) + 1):
            self.annotations.append({"id": number, "image_id": image["id"], **one})
        return result

    def _found(self, result: Segmentation | Detections, labels: Sequence[str]) -> Iterator[dict[str, Any]]:
        height, width = result.image.shape
        if isinstance(result, Detections):
            for one in result.to_dict()["detections"]:
                x0, y0, x1, y1 = one["box"]
                box = [x0, y0, x1 - x0, y1 - y0]
                more, area = {"score": one["score"]}, (x1 - x0) * (y1 - y0)
                if "mask" in one:
                    more, area = more | {"segmentation": one["mask"]}, float(_area(one["mask"]["counts"], result.input))
                yield self._annotation(one["label"], box, area, **more)
            return
        for value, label in enumerate(labels, 1):
            mask = result.mask == value
            bounds = mask_to_box(mask)
            if bounds is None:
                continue
            x0, y0, x1, y1 = map(float, bounds)
            runs = {"size": [height, width], "counts": run_lengths(mask)}
            yield self._annotation(label, [x0, y0, x1 - x0, y1 - y0], float(mask.sum()), segmentation=runs)

    def _annotation(self, label: str, box: list[float], area: float, **more: Any) -> dict[str, Any]:
        return {
            "category_id": self.labels.index(label) + 1 if self.ids is None else self.ids.category(label),
            "bbox": [round(v, 3) for v in box],
            "area": round(area, 3),
            # Uncompressed run lengths are COCO's form of a crowd; what has a score is one object.
            "iscrowd": int("segmentation" in more and "score" not in more),
            **more,
        }

    def close(self) -> None:
        """See Writer.close."""
        categories: Sequence[Any] = [{"id": n, "name": label} for n, label in enumerate(self.labels, 1)]
        if self.ids is not None:
            categories = self.ids.categories
        document = {"images": self.images, "annotations": self.annotations, "categories": categories}
        _write_json(self.path, document)
        if self.ids is not None:
            kept = ("image_id", "category_id", "bbox", "segmentation", "score")
            # A mask of a label has no score of its own, and an evaluation needs one.
            rows = [{"score": 1.0} | {key: one[key] for key in kept if key in one} for one in self.annotations]
            _write_json(self.results, rows)

    def notes(self) -> Sequence[str]:
        """See Writer.notes."""
        if self.ids is None or self.annotations:
            return ()
        return (
            "nothing was found, so results.json is an empty list, which pycocotools' loadRes cannot load: "
            "give COCOeval COCO('predictions.json') in its place",
        )


def _area(counts: str, where: str) -> int:
    return sum(decompressed(counts, where=where)[1::2])


def _write_json(path: Path, document: Any) -> None:
    text = json_text(document) + "\n"
    atomic_write(path, lambda handle: handle.write(text.encode()))


ENTRY = CocoWriter
