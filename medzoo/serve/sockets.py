"""Listening sockets; a supervisor keeps its own open while a worker restarts."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress

from medzoo.errors import UserError

_BACKLOG = 2048  # connections that wait while nobody takes them

_MOST_FILES = 1 << 16


def listen(host: str, port: int) -> socket.socket:
    """Open a listening TCP socket; with port 0 the system chooses. Raises UserError."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(
            f"cannot open the HTTP port: {error.strerror}", where=f"{host}:{port}", hint="is the port in use?"
        ) from error
    return listening


def raise_file_limit() -> None:
    """Raise the limit of open files, and so of connections, from the usual 1024 as far as the system allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, _MOST_FILES)), hard))


def free_port(host: str) -> int:
    """Find a free port, for a server that must restart on the same one."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
