"""A model of Triton's Python backend: image file in, the answer of `medzoo predict --json` out.

Runs inside Triton, beside the models of its graph or graphs, which it calls; needs medzoo[serve] in Triton's Python.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from medzoo.errors import UserError
from medzoo.runtime.cascade import Cascade
from medzoo.runtime.metadata import Metadata
from medzoo.runtime.pipeline import Pipeline
from medzoo.runtime.predictor import Predictor
from medzoo.serve.uploads import Options, Upload, predict_files


class Graph:
    """A backend that asks the graph's model in the same Triton."""

    name = "triton"
    device = "triton"

    def __init__(self, model: str, metadata: Metadata) -> None:
        self.model = model
        self.metadata = metadata

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Outputs by name. Raises UserError with Triton's own words if it refuses."""
        names = list(outputs or self.metadata.outputs)
        tensors = [pb_utils.Tensor(name, np.ascontiguousarray(array)) for name, array in inputs.items()]
        request = pb_utils.InferenceRequest(model_name=self.model, requested_output_names=names, inputs=tensors)
        response = request.exec()
        if response.has_error():
            raise UserError(f"the graph failed: {response.error().message()}")
        answer = {name: pb_utils.get_output_tensor_by_name(response, name).as_numpy() for name in names}
        if "count" in answer:
            # Triton has no tensors of the batch axis alone; the configuration makes this one (B, 1).
            answer["count"] = answer["count"].reshape(-1)
        return answer


class TritonPythonModel:
    """The model class that Triton's Python backend creates once for each instance."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the metadata that the configuration carries."""
        config = json.loads(args["model_config"])
        parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
        name = str(config["name"])
        if (pipeline := Pipeline.read(parameters, where=name)) is not None:
            members = {role: Predictor(Graph(one.name, one)) for role, one in pipeline.members.items()}
            self.predictor: Predictor = Cascade.from_members(name, members)
            return
        self.predictor = Predictor(Graph(parameters["graph"], Metadata.read(parameters, where=name)))

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response for each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        file = pb_utils.get_input_tensor_by_name(request, "file").as_numpy().ravel()
        given = pb_utils.get_input_tensor_by_name(request, "name")
        name = bytes(given.as_numpy().ravel()[0]).decode("utf-8", "replace") if given is not None else "upload"
        (answer,), _ = predict_files(self.predictor, [Upload(name, bytes(file[0]))], Options(), self.predictor.prepare)
        value = np.array([json.dumps(answer).encode()], object)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("answer", value)])
