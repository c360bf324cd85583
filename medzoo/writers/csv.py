"""Format `csv`: all results in one table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medzoo.escape import csv_cell, escape_formula
from medzoo.io.atomic import atomic_write
from medzoo.results import Classification, Detections, Failure, Result, Segmentation
from medzoo.writer import Writer, WriterOptions


class CsvWriter(Writer):
    """All results in FOLDER/predictions.csv: a row for each box, each label of a mask, each label of a class; one row
    for an input in which nothing was found, and one with a column `error` for an input that was not answered.

    Text is printable (see `escaped`), and none of it is a formula to a spreadsheet (see `csv_cell`).
    """

    together = True
    summaries = ("predictions.csv",)

    def __init__(self, options: WriterOptions) -> None:
        super().__init__(options)
        self.path = options.folder / self.summaries[0]
        self.rows: list[dict[str, Any]] = []

    def write(self, result: Result, base: Path) -> Result:
        """See Writer.write."""
        head = {"input": csv_cell(result.input), "model": csv_cell(result.model)}
        rows: list[dict[str, Any]] = []
        if isinstance(result, Classification):
            rows += [head | {"label": csv_cell(k), "probability": f"{p:.6f}"} for k, p in result.probabilities.items()]
        elif isinstance(result, Segmentation):
            ml = result.volumes_ml
            unit, sizes = ("area_px", result.counts) if ml is None else ("volume_ml", ml)
            rows += [head | {"label": csv_cell(k), unit: f"{v:.6g}"} for k, v in sizes.items()]
            if self.options.components:
                rows += [head | _printed(one) for one in result.to_rows()]
        elif isinstance(result, Detections):
            rows += [head | _printed(one) for one in result.to_rows()]
        self.rows += rows or [head]
        return result

    def fail(self, failure: Failure, name: str) -> None:
        """See Writer.fail: a row that says why."""
        # The words are one printable line already.
        words = failure.to_dict()["error"]
        self.rows.append(
            {"input": csv_cell(name), "model": csv_cell(self.options.model), "error": escape_formula(words)}
        )

    def close(self) -> None:
        """See Writer.close."""
        found = dict.fromkeys(key for row in self.rows for key in row)
        columns = [*dict.fromkeys(["input", "model", "label", *(key for key in found if key != "error")])]
        columns += ["error"] if "error" in found else []
        text = io.StringIO()
        table = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        atomic_write(self.path, lambda handle: handle.write(text.getvalue().encode()))


def _printed(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its label as a cell and truth values in lower case."""
    cells = {key: str(value).lower() if isinstance(value, bool) else value for key, value in row.items()}
    return cells | {"label": csv_cell(row["label"])}


ENTRY = CsvWriter
