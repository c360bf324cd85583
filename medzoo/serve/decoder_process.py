"""The program that decodes uploaded files for a server: `python -m medzoo.serve.decoder_process DESCRIPTOR FOLDER`.

One process imports everything once and forks the decoders, so that a new one starts in milliseconds and shares memory
with the others. It reads no files itself. Each decoder processes requests from its own socket in a sandbox
(medzoo.serve.sandbox), and exits when the socket closes.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.errors import UserError
from medzoo.io.limits import Limits, limited
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared
from medzoo.runtime.protocol.tensors import parse_request
from medzoo.serve.ipc import IpcError, receive, send
from medzoo.serve.sandbox import die_with_parent, isolate_network, limit_memory, limit_time, restrict_access

FORK, KILL = b"f", b"k"
NUMBER = 8  # bytes of a process's number, and of a number of bytes
_GROWN = 128 << 20  # bytes; a decoder that took more than this for a request is replaced


@dataclass
class _UnusedBackend:
    """Placeholder for the backend of a Predictor that only prepares."""

    metadata: Metadata
    name: str = "none"
    device: str = "cpu"

    def run(self, inputs: Any, outputs: Any = None) -> dict[str, Any]:
        raise NotImplementedError


class _PreparingPredictor(Predictor):
    """A Predictor of which only `prepare` is used."""

    def __init__(self, metadata: Metadata, *, only_pictures: bool) -> None:
        super().__init__(_UnusedBackend(metadata))
        self._only_pictures = only_pictures

    def to_input(self, prepared: Prepared) -> Prepared:
        """Leave the conversion to the server: the stored values take a quarter of the bytes on the way there."""
        return prepared

    @property
    def only_pictures(self) -> bool:
        """Value of the predictor for which this one prepares."""
        return self._only_pictures


def main(descriptor: int, folder: str) -> None:
    """Fork and kill decoders on request from the socket `descriptor`, until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    isolated = isolate_network()
    _import_readers()
    gc.collect()
    gc.freeze()  # what is imported lives as long as the process: no decoder has to look through it, or copies its pages
    control.sendall(b"1" if isolated else b"0")
    children: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 + NUMBER, 1)
        if not message:
            os._exit(0)  # decoders are killed with this process
        number = int.from_bytes(message[1:], "little")
        if message[:1] == FORK:
            own = os.getpid()
            child = os.fork()
            if child == 0:
                _decode(control, descriptors[0], memory=number, folder=folder, parent=own)
            os.close(descriptors[0])
            children.add(child)
            control.sendall(child.to_bytes(NUMBER, "little"))
        elif message[:1] == KILL and number in children:
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)
            children.discard(number)


def _import_readers() -> None:
    """Import the modules of common formats, tasks and host steps before forking decoders.

    Of scipy at least what brings OpenBLAS along: under a decoder's bound on memory it may wait for ever as it starts.
    """
    import nibabel  # noqa: F401
    import pydicom  # noqa: F401
    import scipy.linalg
    import scipy.ndimage
    import scipy.spatial
    import scipy.special  # noqa: F401
    from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin  # noqa: F401

    import medzoo.io.dicom
    import medzoo.io.nifti
    import medzoo.io.picture  # noqa: F401
    from medzoo import registry

    registry.entries("task")
    registry.entries("host-step")


def _decode(control: socket.socket, descriptor: int, *, memory: int, folder: str, parent: int) -> None:
    """Process requests until the socket closes; never returns."""
    code = 1
    with suppress(BaseException):
        control.close()
        connection = socket.socket(fileno=descriptor)
        die_with_parent(parent)
        limit_memory(memory)
        restrict_access([folder])
        models: dict[str, _PreparingPredictor] = {}
        before = _resident()
        while (request := receive(connection)) is not None:
            answer = _process(request, models)
            answer["last"] = answer.get("failed") is not None or _resident() - before > _GROWN
            send(connection, answer)
            if answer["last"]:
                break
            del request, answer  # nothing of a large file may stay until the next one comes
        code = 0
    os._exit(code)


def _process(request: dict[str, Any], models: dict[str, _PreparingPredictor]) -> dict[str, Any]:
    """Process a request; return its "value", or a user's "fault", or the cause under "failed"."""
    try:
        limit_time(request["seconds"])
        if request["do"] == "parse_request":
            return {"value": parse_request(memoryview(request["body"]), request["header"])}
        name = request["model"]
        if (stored := request.get("metadata")) is not None:
            metadata = Metadata.model_validate_json(stored)
            models[name] = _PreparingPredictor(metadata, only_pictures=request["only_pictures"])
        with limited(Limits(**request["limits"])):
            return {"value": models[name].prepare(Path(request["path"]), tile=request["tile"])}
    except UserError as error:
        return {"fault": [[fault.message, fault.where, fault.hint] for fault in error.faults]}
    except MemoryError:
        return {"failed": "memory"}
    except Exception as error:
        # Its words may quote the file: its class and place alone go into the log.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}" if trace is not None else "?"
        return {"failed": "error", "exception": type(error).__name__, "place": place}


def _resident() -> int:
    """Return the peak resident memory of this process in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    with suppress(IpcError, OSError):
        main(int(sys.argv[1]), sys.argv[2])
