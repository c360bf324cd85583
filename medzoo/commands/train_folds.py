"""`medzoo train --folds K`: K trainings, each tested on its own fold, as processes side by side where there is room."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_recipe
from medzoo.data.catalog import Catalog
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.metrics import Metric, Scores, read_scores, restore_records
from medzoo.metrics.scores import FILE
from medzoo.recipe import load_recipe
from medzoo.report.summary import Console
from medzoo.training.processes import INTERRUPTED, REQUEUE, ending_signals, is_restarted
from medzoo.training.run_folder import lock_run

# A terminal sends Ctrl-C to all processes of a group: the folds are told by this one alone, so once.
_OWN_GROUP: Mapping[str, Any] = {} if os.name == "nt" else {"start_new_session": True}
_ROOM = 3 << 30  # bytes of free memory that a training is given


@dataclass(frozen=True)
class CrossValidation:
    """The folder with fold-0, fold-1, ... and the metrics over all items, each predicted by the model of its fold."""

    folder: Path
    metrics: Sequence[Mapping[str, Any]]


def cross_validate(
    recipe: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    folds: int,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    jobs: int = 0,
    console: Console | None = None,
) -> CrossValidation:
    """Train `folds` models in `out`/fold-K (default runs/NAME-folds), and pool their answers.

    Every item is tested once, by the model that saw neither it nor its group; the next fold validates. `jobs`: how
    many run at once (0: as there are cores, free memory and GPUs). `resume`: finished folds are kept, others go on.
    Raises UserError if a fold fails, with what it said; the others end first. SIGTERM is passed on: each fold saves
    its state, and the command ends as a single training does, for a scheduler to requeue.
    """
    console = console or Console(stderr=True)
    given = [f"{k}={json.dumps(v)}" for k, v in overrides.items()] if isinstance(overrides, Mapping) else [*overrides]
    source = find_recipe(recipe)
    mine = [*given, f"data.split.folds={folds}", "data.split.test=null"]
    loaded = load_recipe(source, [*mine, "data.split.fold=0"], catalog=Catalog())
    folder = Path(out) if out is not None else Path("runs") / f"{loaded.name}-folds"
    resume = resume or is_restarted()
    places = [folder / f"fold-{k}" for k in range(folds)]
    with lock_run(folder):
        waiting = [k for k in range(folds) if not (resume and _finished(places[k]))]
        at_once = min(jobs or _parallel_folds(), max(1, len(waiting)))
        console.print(f"{len(waiting)} of {folds} folds to train, {at_once} at a time")
        options = [*(["--resume"] if resume else []), *(["--force"] if force else [])]
        failed: dict[int, str] = {}
        running: dict[int, subprocess.Popen[str]] = {}
        with _forward_signals(running) as received:
            while running or (waiting and not received):
                while waiting and not received and len(running) < at_once:
                    k = waiting.pop(0)
                    command = [sys.executable, "-m", "medzoo", "train", str(source), *mine, f"data.split.fold={k}"]
                    running[k] = _start([*command, "-o", str(places[k]), *options], k, at_once, places[k])
                for k in [k for k, process in running.items() if process.poll() is not None]:
                    code = running.pop(k).returncode
                    if code in (REQUEUE, INTERRUPTED) or (code and received):
                        console.print(f"fold {k} was stopped")
                        received.append(code)
                        continue
                    console.print(f"fold {k} failed" if code else f"fold {k} ended")
                    if code:
                        failed[k] = _last_line(places[k])
                time.sleep(0.2)
    if received:
        by_hand = signal.SIGINT in received or INTERRUPTED in received
        word = "Ctrl-C" if by_hand else "SIGTERM"
        console.print(f"{word}: the states of the folds are saved; go on with --resume")
        raise SystemExit(INTERRUPTED if by_hand else REQUEUE)
    if failed:
        k, message = next(iter(failed.items()))
        raise UserError(
            f"fold {k} of {folds} failed: {message}", str(places[k]), "fix it, then run the same command with --resume"
        )
    metrics = [metric.to_dict() for metric in pooled_metrics(places)]
    document = {
        "recipe": loaded.name,
        "folds": folds,
        "figures": metrics,
        "by_fold": [ModelFolder.open(place).manifest["metrics"]["figures"] for place in places],
    }
    raw = (json.dumps(document, indent=1) + "\n").encode()
    atomic_write(folder / "cross-validation.json", lambda handle: handle.write(raw))
    return CrossValidation(folder, metrics)


def pooled_metrics(folders: Sequence[Path]) -> list[Metric]:
    """Metrics over the test items of all folders together, as if one model had predicted them."""
    parts = [read_scores(ModelFolder.open(folder).file(FILE)) for folder in folders]
    everything = Scores(parts[0].scope)
    for part in parts:
        for protocol, scores in part.protocols.items():
            restore_records(everything.accumulator_of(protocol), scores.records())
    return everything.metrics()


@contextmanager
def _forward_signals(running: Mapping[int, subprocess.Popen[str]]) -> Iterator[list[int]]:
    """Pass the signals that end this process on to the trainings, and list them; end all if the block is left early."""
    received: list[int] = []

    def forward(number: int, _: object) -> None:
        again = number == signal.SIGINT and number in received
        received.append(number)
        for process in running.values():
            process.send_signal(signal.SIGKILL if again else number)
        if again:
            os._exit(INTERRUPTED)

    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, forward) for number in (*ending_signals(), signal.SIGINT)} if main else {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in running.values():
            process.terminate()


def _start(command: list[str], fold: int, at_once: int, place: Path) -> subprocess.Popen[str]:
    (place / "training").mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if at_once > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, _cores() // at_once)))
        if (devices := _gpus()) > 1:
            environment["CUDA_VISIBLE_DEVICES"] = str(fold % devices)
    log = (place / "training" / "log.txt").open("w")
    with log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, text=True, **_OWN_GROUP)


def _finished(place: Path) -> bool:
    try:
        ModelFolder.open(place)
    except UserError:
        return False
    return True


def _last_line(place: Path) -> str:
    lines = [line for line in (place / "training" / "log.txt").read_text(errors="replace").splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("error")), lines[-1] if lines else "no message")


def _parallel_folds() -> int:
    """Number of trainings that fit side by side: one a GPU, else one a core, as far as free memory goes."""
    devices = _gpus()
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(1, min(devices or _cores(), free // _ROOM))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
