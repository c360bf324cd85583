"""ONNX Runtime sessions with I/O binding: inputs and outputs stay on the device, at the same addresses.

Without it ONNX Runtime copies every input in and every output out by a buffer of its own, and cannot play a recorded
CUDA graph again, which needs the addresses that it was recorded with. (ONNX Runtime, "I/O Binding"; "CUDA Graphs".)
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from medzoo.runtime.time_limit import budget, enforce
from medzoo.types import Array

_SHAPES = 8  # sets of buffers that are kept, the oldest goes first


class BoundSession:
    """Runs a session with buffers on `device` ("cuda" or "cpu"), one set of them for each set of input shapes.

    `cuda_graphs`: record one CUDA graph for each set of shapes. One run at a time, as the buffers are shared.
    """

    def __init__(self, session: Any, *, device: str, device_id: int = 0, cuda_graphs: bool = False) -> None:
        self._session, self._device, self._device_id = session, device, device_id
        self._cuda_graphs = cuda_graphs
        self._sets: dict[Any, _Buffers] = {}
        self._recorded = 0
        self._lock = threading.Lock()

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """See Backend.run; the returned arrays are copies."""
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        key = (*((name, array.shape, array.dtype.str) for name, array in arrays.items()), *outputs)
        with self._lock:
            if key not in self._sets:
                if len(self._sets) >= _SHAPES:
                    del self._sets[next(iter(self._sets))]
                self._recorded += 1
                options = ort.RunOptions()
                if self._cuda_graphs:
                    options.add_run_config_entry("gpu_graph_id", str(self._recorded))
                self._sets[key] = _Buffers(self._session, arrays, outputs, self._device, self._device_id, options)
            else:
                self._sets[key].fill(arrays)
            return self._sets[key].run()


class _Buffers:
    """Device buffers for one set of input shapes."""

    def __init__(
        self,
        session: Any,
        arrays: Mapping[str, Array],
        outputs: Sequence[str],
        device: str,
        device_id: int,
        options: Any,
    ) -> None:
        self._session, self._outputs, self._options = session, list(outputs), options
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_numpy(array, device, device_id) for name, array in arrays.items()
        }
        self._binding = session.io_binding()
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in self._outputs:
            self._binding.bind_output(name, device, device_id)
        self._fixed = False

    def fill(self, arrays: Mapping[str, Array]) -> None:
        """Copy new values into the input buffers."""
        for name, array in arrays.items():
            self._inputs[name].update_inplace(array)

    def run(self) -> dict[str, Array]:
        """Run the session; return host copies of the outputs. The first run allocates their buffers."""
        allowed = budget()
        if allowed is None:
            self._session.run_with_iobinding(self._binding, self._options)
        else:
            self._options.terminate = False  # an earlier run with them may have been ended
            with enforce(allowed, self._options):
                self._session.run_with_iobinding(self._binding, self._options)
        values = self._binding.get_outputs()
        answer = {name: np.array(value.numpy()) for name, value in zip(self._outputs, values, strict=True)}
        if not self._fixed:
            for name, value in zip(self._outputs, values, strict=True):
                self._binding.bind_ortvalue_output(name, value)
            self._fixed = True
        return answer
