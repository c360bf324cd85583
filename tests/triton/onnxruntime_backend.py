"""ONNX Runtime as a Python-based backend of Triton, under the name of Triton's own: see conftest.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The model class that Triton creates once for each instance."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Open the model's ONNX file."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        path = folder / (config.get("default_model_filename") or "model.onnx")
        self.session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Process each request by itself."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        feed = {}
        for value in self.session.get_inputs():
            array = pb_utils.get_input_tensor_by_name(request, value.name).as_numpy()
            feed[value.name] = array.reshape(array.shape[: len(value.shape)])
        names = list(request.requested_output_names())
        try:
            arrays = self.session.run(names, feed)
        except Exception as error:  # the client gets ONNX Runtime's words, as from Triton's own backend
            return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(str(error)))
        return pb_utils.InferenceResponse([pb_utils.Tensor(*pair) for pair in zip(names, arrays, strict=True)])
