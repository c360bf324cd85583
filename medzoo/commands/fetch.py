"""`medzoo fetch`: download released models, verified by the index; and write that index."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from medzoo.artifact.index import INDEX, PIN, Index, build_index, pin_line, pinned_digest, released_index
from medzoo.artifact.locate import fetched_folder
from medzoo.artifact.source import DEADLINE, MIN_RATE, FetchLimits, open_source
from medzoo.artifact.store import Store, read_index
from medzoo.errors import UserError
from medzoo.io.atomic import atomic_write
from medzoo.io.durable import sync_folder
from medzoo.report.summary import Console

BASE = "MEDZOO_FETCH_FROM"


def fetch(
    models: Sequence[str],
    *,
    base: str | Path | None = None,
    index_sha256: str | None = None,
    deadline: float = DEADLINE,
    min_rate: float = MIN_RATE,
    console: Console | None = None,
) -> dict[str, Path]:
    """Bring `models` (none: all of the index) from `base` to the cache; name to folder.

    `base`: an HTTP(S) address, a folder or an archive; default $MEDZOO_FETCH_FROM. `index_sha256`: trust this
    index in place of the one that the package was released with. `deadline`: seconds that all of it may take from a
    server; `min_rate`: bytes a second, over 20 seconds, that it must send at least. What is there
    already is not brought again. Raises UserError that names what is not as the index says.
    """
    place = base or os.environ.get(BASE)
    if not place:
        raise UserError(
            "no zoo to fetch from is configured",
            where="--from",
            hint=f"give an address, a folder or an archive, or set {BASE}",
        )
    source = open_source(place, pace=FetchLimits(deadline=deadline, min_rate=min_rate))
    index = read_index(source, pin=(index_sha256 or pinned_digest()).lower(), where=str(place))
    unknown = [name for name in models if name not in index.models]
    if unknown:
        close = difflib.get_close_matches(unknown[0], index.models, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(index.models)}"
        raise UserError("is not in the index", where=unknown[0], hint=hint)
    found = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console or Console(stderr=True)) as progress:
        for name in models or index.models:
            bar = progress.add_task(name, total=sum(one.bytes for one in index.models[name]))
            found[name] = Store(_folder(index, name)).fetch(source, index, name, watch=partial(progress.advance, bar))
    return found


def _folder(index: Index, name: str) -> Path:
    """The folder to fetch a model to: another index's model of a released name goes apart, to be loaded by path."""
    known = released_index().models
    if name in known and set(known[name]) != set(index.models[name]):
        return fetched_folder().with_name(f"models-{index.digest[:12]}")
    return fetched_folder()


def write_index(zoo: Path) -> Path:
    """zoo/index.json anew, and its digest into the package. Raises UserError for a folder that is not whole."""
    raw = build_index(zoo)
    atomic_write(PIN, lambda file: file.write(pin_line(raw)))
    sync_folder(PIN.parent)
    return atomic_write(zoo / INDEX, lambda file: file.write(raw))
