"""Limits on the number of gRPC connections, in total and per client address.

gRPC accepts connections in its own threads and has no such limit. The server therefore looks at its own descriptors
several times a second and shuts the surplus down, which gRPC sees as the client's end: first connections without a
call, longest idle first, then the newest ones.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from medzoo.serve.logs import log
from medzoo.serve.settings import Settings

_EVERY = 0.25  # seconds between two looks
_FOLDERS = ("/proc/self/fd", "/dev/fd")


@dataclass
class Connection:
    """An open connection: its descriptor and inode, the client's address and port, and when it was last used."""

    descriptor: int
    inode: int
    address: str
    port: int
    used: float


class GrpcConnections:
    """The gRPC connections of a server. `port` returns the port that they are made to."""

    def __init__(self, settings: Settings, port: Callable[[], int | None]) -> None:
        self._most, self._most_of_client = settings.max_connections, settings.max_client_connections
        self._port = port
        self._calls: Counter[tuple[str, int]] = Counter()
        self._known: dict[tuple[int, int], Connection | None] = {}
        self._folder = next((Path(folder) for folder in _FOLDERS if Path(folder).is_dir()), None)

    @contextmanager
    def call(self, peer: tuple[str, int] | None) -> Iterator[None]:
        """Count a call of the client at an address and port while the block runs."""
        if peer is None:
            yield
            return
        self._calls[peer] += 1
        try:
            yield
        finally:
            self._calls[peer] -= 1
            if not self._calls[peer]:
                del self._calls[peer]

    async def watch(self) -> None:
        """Close surplus connections, until cancelled."""
        if self._folder is None or not hasattr(os, "dup"):
            return
        while True:
            await asyncio.sleep(_EVERY)
            with suppress(OSError):
                if sum(1 for _ in self._folder.iterdir()) > min(self._most, self._most_of_client):
                    self.close_surplus()

    def close_surplus(self) -> int:
        """Close the connections that are too many; return their number."""
        connections = self._look()
        closed = choose_surplus(connections, self._calls, most=self._most, most_of_client=self._most_of_client)
        for connection in closed:
            _shut(connection)
        if closed:
            log("grpc connections closed", closed=len(closed), open=len(connections) - len(closed))
        return len(closed)

    def _look(self) -> list[Connection]:
        """List the open connections to the port, longest unused first."""
        assert self._folder is not None
        now, port = time.monotonic(), self._port()
        seen: dict[tuple[int, int], Connection | None] = {}
        for entry in self._folder.iterdir():
            with suppress(OSError, ValueError):
                descriptor = int(entry.name)
                status = os.fstat(descriptor)
                if not stat.S_ISSOCK(status.st_mode):
                    continue
                key = descriptor, status.st_ino
                seen[key] = found = (
                    self._known[key] if key in self._known else _connection(descriptor, status.st_ino, port, now)
                )
                if found is not None and (found.address, found.port) in self._calls:
                    found.used = now
        self._known = seen
        return sorted((one for one in seen.values() if one is not None), key=lambda one: one.used)


def choose_surplus(
    connections: Sequence[Connection], active: Collection[tuple[str, int]], *, most: int, most_of_client: int
) -> list[Connection]:
    """Choose the connections to close, of those in the order of their last use; `active`: peers with a call."""
    idle = [one for one in connections if (one.address, one.port) not in active]
    busy = [one for one in reversed(connections) if (one.address, one.port) in active]
    of_client = Counter(one.address for one in connections)
    chosen, kept = [], []
    for one in (*idle, *busy):
        if of_client[one.address] > most_of_client:
            of_client[one.address] -= 1
            chosen.append(one)
        else:
            kept.append(one)
    return [*chosen, *kept[: max(0, len(kept) - most)]]


def _connection(descriptor: int, inode: int, port: int | None, now: float) -> Connection | None:
    """Return the accepted connection behind a descriptor; None for another socket."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.type != socket.SOCK_STREAM:
            return None
        if copy.getsockname()[1] != port:
            return None
        address, peer = copy.getpeername()[:2]  # of a listening socket this raises OSError
        return Connection(descriptor, inode, address.removeprefix("::ffff:"), peer, now)


def _shut(connection: Connection) -> None:
    """Shut a connection down unless its descriptor belongs to another socket by now."""
    with suppress(OSError), socket.socket(fileno=os.dup(connection.descriptor)) as copy:
        if os.fstat(copy.fileno()).st_ino == connection.inode:
            copy.shutdown(socket.SHUT_RDWR)
