"""One of two processes that train LeNet on toys; started by torchrun, or by hand without it.

    processes.py FOLDER [--devices N] [--die RANK [--kill]] [--batch B] [--strategy S] [--resume]

Writes the weights and what validation found to FOLDER/weights.pt, and FOLDER/written-by-RANK for each process
that reached the end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path

import torch
from rich.console import Console

from medzoo.errors import UserError
from medzoo.inputs.batches import Batch
from medzoo.inputs.images import ImageBatches, OrderedImages
from medzoo.inputs.pictures import Pictures
from medzoo.models.lenet import LeNet, LeNetParams
from medzoo.nn.net import Spec
from medzoo.recipe import TrainSection
from medzoo.training.fit import fit_gradient
from tests.unit.training.pictures_toys import LABELS, Toys


class Failing(ImageBatches):
    """Cannot make the third batch in one of the processes, or is killed there."""

    die = -1
    kill = False

    def batch(self, epoch: int, step: int, *, rank: int = 0, world: int = 1) -> Batch:
        if rank == self.die and step == 2:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise UserError("is truncated", where="p05.png")
        return super().batch(epoch, step, rank=rank, world=world)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--die", type=int, default=-1)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--batch", type=int, default=6)
    parser.add_argument("--strategy", default="ddp")
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = TrainSection(
        epochs=2,
        batch=asked.batch,
        lr=1e-2,
        optimizer="sgd",
        devices=asked.devices,
        strategy=asked.strategy if asked.devices > 1 else "auto",
        monitor="auc",
        class_weights="balanced",
        mixup=0.3,
    )
    data = Toys(31)
    torch.manual_seed(0)
    net = LeNet(LeNetParams(variant="full"), Spec("classify", LABELS))
    items = data.items()
    # Seven validation pictures in batches of four: the shares of two processes are uneven.
    parts = [Pictures(data, part, (), labels=LABELS, channels=1, size=net.canvas) for part in (items[:-7], items[-7:])]
    train = Failing(parts[0], batch=settings.batch, seed=0, mixup=settings.mixup)
    train.die, train.kill = asked.die, asked.kill
    val = OrderedImages(parts[1], batch=4)
    report = fit_gradient(
        net, settings, train, val, folder=asked.folder / "work", console=Console(quiet=True), resume=asked.resume
    )
    asked.folder.mkdir(parents=True, exist_ok=True)
    (asked.folder / f"written-by-{os.environ.get('RANK', os.environ.get('LOCAL_RANK', '0'))}").touch()
    torch.save(net.state_dict(), asked.folder / "weights.pt")
    curve = [row[2] for row in report.curve if row[2] is not None]
    (asked.folder / "report.json").write_text(json.dumps({"val": curve, "best": report.best, "steps": report.steps}))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:  # as the command line says it
        sys.exit(f"error: {error}")
