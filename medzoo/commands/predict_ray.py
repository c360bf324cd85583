"""`medzoo predict --engine ray`: the same answers and files as on one machine, by the workers of a Ray cluster.

Ray Data hands out the inputs, starts a worker again that died, and asks again what it had not answered. An
answer's files have the same names whoever writes them and appear whole, so what is done twice is there once.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from medzoo.commands.output_names import output_names, refuse_overwrite
from medzoo.commands.predict import write_result
from medzoo.errors import UserError, missing_extra
from medzoo.io.atomic import remove_unfinished

_INPUTS = 8  # that a worker is handed at once, and asked again if it dies


def predict_on_ray(
    model: str, inputs: Sequence[str], *, out: Path, pictures: bool = True, workers: int | None = None, **options: Any
) -> Iterator[dict[str, Any]]:
    """Predict on a Ray cluster: yields the documents of `predict --json` in order. `options` go to `medzoo.load`.

    Runs on the cluster that $RAY_ADDRESS names, else on one that is started here for as long as it takes. On a
    cluster, model, inputs and `out` are paths that every node sees. `workers`: by default one for each GPU, or
    CPU, of the cluster. Raises UserError if Ray is not installed, or an input was not answered exactly once.
    """
    try:
        import ray
    except ImportError as error:
        raise missing_extra("ray", "ray") from error
    if not inputs:
        return
    names = output_names(inputs)
    refuse_overwrite(inputs, [out / name for name in names], pictures=pictures)
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR", configure_logging=False)
    try:
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0)) if options.get("device", "auto") != "cpu" else 0
        count = workers or gpus or max(1, int(resources.get("CPU", 1)))
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.verbose_progress = False
        bases = [str((out / name).absolute()) for name in names]
        rows = [
            # As JSON: the columns of Ray hold no name that is not UTF-8.
            {"number": n, "input": json.dumps(text), "base": json.dumps(base)}
            for n, (text, base) in enumerate(zip(inputs, bases, strict=True))
        ]
        answered = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // _INPUTS)).map_batches(
            Worker,
            fn_constructor_args=(model, pictures, options),
            batch_size=_INPUTS,
            concurrency=min(count, -(-len(rows) // _INPUTS)),
            num_gpus=1 if gpus else None,
        )
        predictions = in_order(answered.iter_rows(), len(rows))
        while True:
            # Ray tells of a worker's death on stdout, where only results belong.
            with contextlib.redirect_stdout(sys.stderr):
                prediction = next(predictions, None)
            if prediction is None:
                break
            yield prediction
        remove_unfinished(map(Path, bases))  # of workers that were killed as they wrote
    finally:
        if started:
            with contextlib.redirect_stdout(sys.stderr):
                ray.shutdown()


def in_order(rows: Iterator[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    """The answers of rows that come in any order, by number. Raises UserError if one is missing or comes twice."""
    early: dict[int, dict[str, Any]] = {}
    wanted = 0
    for row in rows:
        number = int(row["number"])
        if number < wanted or number in early:
            raise UserError("has two results", where=json.loads(row["answer"])["input"])
        early[number] = json.loads(row["answer"])
        while wanted in early:
            yield early.pop(wanted)
            wanted += 1
    if wanted != count:
        raise UserError(f"{count - wanted - len(early)} of {count} inputs have no result", where="--engine ray")


class Worker:
    """One process of the cluster with the model loaded."""

    def __init__(self, model: str, pictures: bool, options: dict[str, Any]) -> None:
        from medzoo.loading.load import load

        self.predictor = load(model, **options)
        self.pictures = pictures

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ray's batch: columns by name."""
        bases = [Path(json.loads(str(base))) for base in batch["base"]]
        inputs = [json.loads(str(text)) for text in batch["input"]]
        results = self.predictor.stream(
            inputs, finish=lambda number, result: write_result(result, bases[number], pictures=self.pictures)
        )
        predictions = [json.dumps(result.to_dict(), default=str) for result in results]
        return {"number": batch["number"], "answer": predictions}
