"""Format `labelstudio`: findings on pictures as pre-annotations that Label Studio imports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medzoo.escape import json_text
from medzoo.io.atomic import atomic_write
from medzoo.io.brush_lengths import encode_brush
from medzoo.results import Result
from medzoo.writer import Writer, WriterOptions
from medzoo.writers.yolo import Outlined, outlined


class LabelStudioWriter(Writer):
    """All results in FOLDER/labelstudio.json: a task a picture, with a prediction of rectangles and brush strokes.

    Pictures are named as /data/local-files/?d=PATH, as Label Studio serves local files. The project's labels are tagged
    `label` on the picture `image`: <RectangleLabels name="label" toName="image"> or BrushLabels.
    """

    together = True
    summaries = ("labelstudio.json",)

    def __init__(self, options: WriterOptions) -> None:
        super().__init__(options)
        self.tasks: list[dict[str, Any]] = []

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        rows = [_result(found, number) for number, found in enumerate(outlined(result), 1)]
        scores = [row["score"] for row in rows if "score" in row]
        prediction = {"model_version": self.options.model, "result": rows}
        prediction |= {"score": sum(scores) / len(scores)} if scores else {}
        hidden = self.options.deidentify is not None
        assert result.image is not None
        named = result.input if hidden or not result.image.source else Path(result.image.source).as_posix()
        picture = f"/data/local-files/?d={named.lstrip('/')}"
        self.tasks.append({"data": {"image": picture}, "predictions": [prediction]})
        return result

    def close(self) -> None:
        """See Writer.close."""
        text = json_text(self.tasks, indent=1) + "\n"
        atomic_write(self.options.folder / self.summaries[0], lambda handle: handle.write(text.encode()))


def _result(found: Outlined, number: int) -> dict[str, Any]:
    height, width = found.size
    row: dict[str, Any] = {"id": f"r{number}", "from_name": "label", "to_name": "image", "image_rotation": 0}
    row |= {"original_width": width, "original_height": height}
    row |= {} if found.score is None else {"score": round(found.score, 6)}
    if found.mask is not None:
        value: dict[str, Any] = {"format": "rle", "rle": encode_brush(found.mask), "brushlabels": [found.label]}
        return {**row, "type": "brushlabels", "value": value}
    x0, y0, x1, y1 = (float(v) for v in found.box)
    value = {"x": 100 * x0 / width, "y": 100 * y0 / height, "width": 100 * (x1 - x0) / width}
    value |= {"height": 100 * (y1 - y0) / height, "rotation": 0, "rectanglelabels": [found.label]}
    return {**row, "type": "rectanglelabels", "value": value}


ENTRY = LabelStudioWriter
