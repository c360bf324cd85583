"""`medzoo train --engine ray`: one training by the workers of a Ray cluster (TorchTrainer, Lightning inside).

Each worker is one process of data parallel training and runs what `medzoo train` runs. When one dies, Ray starts all
of them again and they go on from the newest whole state in the run's folder, which every node must see. The process
that was asked holds the folder, shows what the first worker says, and hands on what it refuses.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder
from medzoo.artifact.locate import find_recipe
from medzoo.commands.train import Run, check_writable, train
from medzoo.data.catalog import Catalog
from medzoo.errors import Fault, UserError, missing_extra
from medzoo.io.atomic import atomic_write
from medzoo.recipe import Recipe, load_recipe
from medzoo.report.summary import Console
from medzoo.training.run_folder import lock_run

RESTARTS = 5  # of the workers, in one command
_WORDS, _REFUSED = "ray-log.txt", "refused.json"  # in the run's training folder
_KEPT = ("MEDZOO_DATA", "MEDZOO_CACHE", "MEDZOO_CACHE_GB", "PYTHONPATH")  # of this process's environment


def train_on_ray(
    recipe: str | Path,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    console: Console | None = None,
) -> Run:
    """Train a recipe on the cluster that $RAY_ADDRESS names, else on one that is started here for as long as it takes.

    `train.devices` times `train.nodes` workers; with "auto" one for each GPU of the cluster, without any one a node.
    Raises UserError if Ray is not installed, for whatever a worker refuses, or when workers died too often.
    """
    try:
        import ray
        import ray.train.torch
        from ray.train import FailureConfig, RunConfig, ScalingConfig
    except ImportError as error:
        raise missing_extra("ray", "ray") from error
    console = console or Console(stderr=True)
    given = [f"{k}={json.dumps(v)}" for k, v in overrides.items()] if isinstance(overrides, Mapping) else [*overrides]
    source = find_recipe(recipe)
    loaded = load_recipe(source, overrides, catalog=Catalog())
    folder = (Path(out) if out is not None else Path("runs") / loaded.name).absolute()
    check_writable(folder)
    if loaded.members:
        raise UserError(
            "a pipeline trains nothing, so it needs no cluster", where=loaded.source, hint="use --engine local"
        )
    work = folder / "training"
    with lock_run(folder), _cluster(ray):
        if not resume:
            _start_over(work)
        for name in (_WORDS, _REFUSED):
            (work / name).unlink(missing_ok=True)
        workers, gpu, cores = _share(ray.cluster_resources(), loaded, nodes=len(ray.nodes()))
        console.print(
            f"[bold]{loaded.name}[/]: {workers} workers of Ray Train, {'a GPU' if gpu else f'{cores} CPU'} each"
        )
        trainer = ray.train.torch.TorchTrainer(
            _train_worker,
            train_loop_config={
                "recipe": str(Path(source).absolute()),
                "overrides": given,
                "folder": str(folder),
                "resume": resume,
                "force": force,
                "here": str(Path.cwd()),
                "threads": cores,
            },
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=gpu, resources_per_worker=None if gpu else {"CPU": cores}
            ),
            run_config=RunConfig(
                name="ray", storage_path=str(work), failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        )
        with _tail_log(work / _WORDS, console), contextlib.redirect_stdout(sys.stderr):
            try:
                trainer.fit()
            except Exception as error:  # Ray wraps what its workers raise, in kinds that change with its versions
                _raise_worker_error(work)
                raise UserError(
                    f"the workers failed {RESTARTS + 1} times, the last checkpoint is kept: {_last_line(error)}",
                    where=str(work / _WORDS),
                    hint="fix it, then run the same command with --resume",
                ) from error
        _raise_worker_error(work)
        shutil.rmtree(work / "ray", ignore_errors=True)
    return Run(folder, ModelFolder.open(folder).manifest)


def _train_worker(config: Mapping[str, Any]) -> None:
    """Run in each worker; its errors are left for the process that started the training."""
    import torch

    from medzoo.training.launch import launch_ray_worker
    from medzoo.training.process_monitor import LostProcessError

    os.chdir(config["here"])
    torch.set_num_threads(int(config["threads"]))
    work = Path(config["folder"]) / "training"
    if (work / _REFUSED).is_file():
        return  # started again after a refusal: there is nothing to try again
    first = os.environ.get("RANK", "0") == "0"
    with (work / _WORDS if first else Path(os.devnull)).open("a") as words:
        try:
            train(
                config["recipe"],
                config["overrides"],
                out=config["folder"],
                # What an earlier run left is gone, unless this one is to go on: what is there was begun by this one.
                resume=bool(config["resume"]) or (work / "run.json").is_file(),
                force=bool(config["force"]),
                console=Console(file=words, width=200),
                launcher=launch_ray_worker,
            )
        except LostProcessError as error:
            raise RuntimeError(str(error)) from error  # Ray starts all of them again
        except UserError as error:
            raw = json.dumps([[f.message, f.where, f.hint] for f in error.faults]).encode()
            atomic_write(work / _REFUSED, lambda handle: handle.write(raw))
            raise
        except SystemExit as ended:  # all but the first worker, when the training is over
            if ended.code:
                raise RuntimeError(f"a worker was told to stop ({ended.code})") from ended


def _start_over(work: Path) -> None:
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "lock":
            path.unlink()


@contextlib.contextmanager
def _cluster(ray: Any) -> Iterator[None]:
    """A connection to Ray, ended if it was begun here. Ray's own words stay off stdout."""
    if ray.is_initialized():
        yield
        return
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    with contextlib.redirect_stdout(sys.stderr):
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            configure_logging=False,
            runtime_env={"env_vars": environment} if "RAY_ADDRESS" in os.environ else None,
        )
    try:
        yield
    finally:
        with contextlib.redirect_stdout(sys.stderr):
            ray.shutdown()


def _share(resources: Mapping[str, float], recipe: Recipe, *, nodes: int) -> tuple[int, bool, int]:
    """Number of workers, True if each has a GPU, and the cores of each. Raises UserError for more than there are."""
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 1))
    asked = recipe.train.devices
    count = (gpus or nodes) if asked == "auto" else asked * recipe.train.nodes
    if count > (gpus or cpus):
        raise UserError(
            f"{count} workers were requested, but the cluster has {gpus or cpus} {'GPUs' if gpus else 'cores'}",
            where="train.devices",
            hint="request fewer, or set $RAY_ADDRESS to a larger cluster",
        )
    return count, bool(gpus), max(1, cpus // count)


def _raise_worker_error(work: Path) -> None:
    """Raise the error of a worker as if it had been raised here."""
    path = work / _REFUSED
    if path.is_file():
        raise UserError.of([Fault(*fault) for fault in json.loads(path.read_text())])


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


@contextlib.contextmanager
def _tail_log(path: Path, console: Console) -> Iterator[None]:
    """Print what is appended to `path` as long as the block runs."""
    over = threading.Event()

    def follow() -> None:
        place = 0
        while True:
            last = over.is_set()
            if path.is_file():
                with path.open("rb") as file:
                    file.seek(place)
                    new = file.read()
                whole = new[: new.rfind(b"\n") + 1]
                place += len(whole)
                for line in whole.decode(errors="replace").splitlines():
                    console.print(line, markup=False, highlight=False)
            if last:
                return
            time.sleep(0.2)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
