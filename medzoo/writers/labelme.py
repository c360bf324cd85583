"""Format `labelme`: findings on pictures as LabelMe's JSON files, which it opens beside the picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medzoo.escape import json_text
from medzoo.io.atomic import atomic_write
from medzoo.results import Result
from medzoo.writer import Writer
from medzoo.writers.yolo import outlined


class LabelMeWriter(Writer):
    """NAME.json of each picture: a rectangle for each box, a polygon for each mask; the score is in `description`.

    `imagePath` leads from the file to the picture; with --deidentify it is empty.
    """

    @classmethod
    def suffixes(cls, task: str) -> Sequence[str]:
        """See Writer.suffixes."""
        return (".json",)

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        shapes: list[dict[str, Any]] = []
        size = (0, 0)
        for found in outlined(result):
            size = found.size
            ring = found.ring
            x0, y0, x1, y1 = (float(v) for v in found.box)
            points = [[x0, y0], [x1, y1]] if ring is None else ring.tolist()
            shape: dict[str, Any] = {"label": found.label, "points": points, "group_id": None, "flags": {}}
            shape["shape_type"] = "rectangle" if ring is None else "polygon"
            shapes.append({**shape, "description": "" if found.score is None else f"score {found.score:.3f}"})
        assert result.image is not None
        size = (result.image.shape[0], result.image.shape[1])
        source = result.image.source
        named = "" if self.options.deidentify is not None or not source else os.path.relpath(source, base.parent)
        document: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes}
        document |= {"imagePath": named.replace("\\", "/")}
        document |= {"imageData": None, "imageHeight": size[0], "imageWidth": size[1]}
        text = json_text(document, indent=1) + "\n"
        atomic_write(base.with_name(f"{base.name}.json"), lambda handle: handle.write(text.encode()))
        return result


ENTRY = LabelMeWriter
