"""The loss of one of several processes, as the others find out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch.distributed as dist

from medzoo.errors import UserError
from medzoo.training import process_monitor
from medzoo.training.process_monitor import _is_lost_connection, _name_lost


class Store(dict[str, bytes]):
    """The part of torch's store that is used here; `broken`: its host is gone."""

    broken = False

    def set(self, key: str, value: str) -> None:
        if self.broken:
            raise dist.DistNetworkError("Connection reset by peer")
        self[key] = value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self for key in keys)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_monitor, "_WAIT", 0.3)
    monkeypatch.setattr(process_monitor, "_LOOK", 0.05)


def who(store: Store, *, rank: int = 1, world: int = 4, started: dict[int, Any] | None = None) -> str:
    return _name_lost(store, rank=rank, world=world, started=started or {})


def test_who_did_not_sign_is_gone() -> None:
    store = Store({"medzoo/here/0": b"", "medzoo/here/3": b""})
    assert who(store) == "process 2 of 4 is gone"
    assert "medzoo/here/1" in store
    del store["medzoo/here/3"]
    assert who(store) == "process 2 and 3 of 4 is gone"


def test_who_left_a_line_is_quoted() -> None:
    store = Store({"medzoo/here/0": b"", "medzoo/ended/3": b"p05.png: is truncated"})
    assert who(store) == "process 3 of 4 ended: p05.png: is truncated"


def test_who_was_started_here_is_known_by_how_it_ended() -> None:
    started = {1: SimpleNamespace(poll=lambda: None), 2: SimpleNamespace(poll=lambda: -9, returncode=-9)}
    assert who(Store(), rank=0, world=3, started=started) == "process 2 of 3 was ended by SIGKILL"


def test_without_the_store_the_first_is_gone() -> None:
    store = Store()
    store.broken = True
    assert who(store) == "process 0 of 4 is gone"


@pytest.mark.parametrize(
    ("error", "lost_connection"),
    [
        (RuntimeError("[pair.cc:561] Connection closed by peer [127.0.0.1]:62138."), True),
        (dist.DistBackendError("NCCL communicator was aborted"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (UserError("the server does not answer: Connection reset by peer"), False),
        (ValueError("gloo"), False),
    ],
)
def test_only_a_connection_that_broke_is_blamed_on_others(error: Exception, lost_connection: bool) -> None:
    assert _is_lost_connection(error) is lost_connection
