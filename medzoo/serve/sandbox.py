"""The sandbox of decoder processes: limits on memory, CPU time, files and network.

Complete on Linux; elsewhere what the system offers of it, and the audit hook.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import sysconfig
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

_NEW_NETWORK, _NEW_USER = 0x40000000, 0x10000000  # CLONE_NEWNET, CLONE_NEWUSER of unshare(2)
_SET_PARENT_DEATH_SIGNAL, _SET_NO_NEW_PRIVILEGES = 1, 38  # PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS of prctl(2)
_FILES = 128  # descriptors
_REFUSED = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.kill",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "shutil.",
    "ftplib.",
    "smtplib.",
    "urllib.",
    "http.client.",
    "webbrowser.",
    "pty.",
    "ctypes.dlopen",
)
_MESSAGES = ("socket.sendmsg",)  # of the socket that is open already, by which answers leave


def isolate_network() -> bool:
    """Move this process into an empty network namespace; return True if the system allowed it.

    Call it before any thread is started: user namespaces require a single-threaded process.
    """
    if sys.platform != "linux":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    return any(library.unshare(flags) == 0 for flags in (_NEW_NETWORK, _NEW_USER | _NEW_NETWORK))


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when `parent` ends, and forbid gaining privileges."""
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    library.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be watched
        os._exit(1)


def limit_memory(memory: int) -> None:
    """Limit this process to `memory` more bytes, files of that size and few descriptors, without core dumps."""
    if sys.platform == "win32":
        return
    import resource

    with suppress(OSError, ValueError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, used + memory))
    for what, most in ((resource.RLIMIT_FSIZE, memory), (resource.RLIMIT_NOFILE, _FILES), (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (most, most))


def limit_time(seconds: float) -> None:
    """Limit this process to `seconds` more CPU seconds, after which the system kills it."""
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    end = int(used.ru_utime + used.ru_stime + seconds) + 1
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (end, hard))


def restrict_access(readable: Sequence[str]) -> None:
    """Forbid Python code, permanently, to open sockets, start programs, write files, or read files elsewhere.

    Readable are files below the folders `readable` and those of the interpreter.
    """
    below = tuple({os.path.realpath(folder) + os.sep for folder in [*readable, *_own_folders()] if folder})

    given = tuple(os.path.realpath(folder) + os.sep for folder in readable)

    def allowed(path: Any) -> bool:
        if isinstance(path, str) and path.startswith(given) and ".." not in path:
            return True  # the server made these folders, and no links in them
        if not isinstance(path, str | bytes | os.PathLike):
            return True  # a descriptor that is open already
        return (os.path.realpath(os.fsdecode(path)) + os.sep).startswith(below)

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if not allowed(path) or (writes and isinstance(path, str | bytes) and os.fsdecode(path) != os.devnull):
                raise PermissionError("decoders may not open this file")
        elif event.startswith(_REFUSED) and event not in _MESSAGES:
            if event == "ctypes.dlopen" and (arguments[0] is None or allowed(arguments[0])):
                return
            raise PermissionError(f"decoders may not call {event}")

    sys.addaudithook(check)


def _own_folders() -> list[str]:
    """List the folders of the interpreter, system libraries, medzoo, and information about the machine."""
    paths = sysconfig.get_paths()
    named = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = [folder for folder in sys.path if folder.rstrip("/").endswith(("site-packages", "dist-packages"))]
    system = ["/usr/lib", "/usr/lib64", "/usr/share", "/lib", "/lib64", "/proc/self", "/sys/devices", "/dev/null"]
    return [*named, *installed, *system, str(Path(__file__).resolve().parents[1])]
