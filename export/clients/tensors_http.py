"""Tensors over HTTP with NVIDIA's tritonclient, against `medzoo serve` or Triton.

    python tensors_http.py HOST:8000 NAME ARRAY.npy

ARRAY.npy: float32 (B, C, H, W), prepared as the model's host steps would (`medzoo show NAME` lists them).
"""

from __future__ import annotations

import os
import sys

import numpy as np
import tritonclient.http as client


def main(address: str, model: str, path: str) -> None:
    image = np.load(path, allow_pickle=False).astype(np.float32)
    token = os.environ.get("MEDZOO_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else None
    with client.InferenceServerClient(address) as server:
        tensor = client.InferInput("image", list(image.shape), "FP32")
        tensor.set_data_from_numpy(image)
        answer = server.infer(model, [tensor], headers=headers)
        for output in answer.get_response()["outputs"]:
            value = answer.as_numpy(output["name"])
            print(output["name"], value.dtype, list(value.shape), value.ravel()[:5].tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
