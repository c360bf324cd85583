"""An ONNX file behind KServe's Python server: run by the Python of an environment that holds kserve and onnxruntime.

python kserve_model.py NAME GRAPH.onnx HTTP_PORT GRPC_PORT
"""

from __future__ import annotations

import sys
from typing import Any

import onnxruntime as ort
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class OnnxModel(Model):
    """As KServe's documentation writes a model of one's own."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self.session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.ready = True

    def predict(self, payload: InferRequest, headers: Any = None, response_headers: Any = None) -> InferResponse:
        values = self.session.run(self.outputs, {one.name: one.as_numpy() for one in payload.inputs})
        found = []
        for name, value in zip(self.outputs, values, strict=True):
            kind = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32"}[str(value.dtype)]
            output = InferOutput(name=name, shape=list(value.shape), datatype=kind)
            output.set_data_from_numpy(value, binary_data=True)
            found.append(output)
        return InferResponse(
            response_id=payload.id or "1", model_name=self.name, infer_outputs=found, use_binary_outputs=True
        )


if __name__ == "__main__":
    name, path, http_port, grpc_port = sys.argv[1:]
    ModelServer(http_port=int(http_port), grpc_port=int(grpc_port), workers=1).start([OnnxModel(name, path)])
