"""Released detectors on real pictures: graphs agree with PyTorch, and each picture alone with the same in a batch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.artifact import ModelFolder
from medzoo.loading.backend import open_backend
from medzoo.runtime.backends import Backend
from medzoo.runtime.parity.gate import Golden, compare
from medzoo.runtime.parity.stable_inputs import stable_inputs
from medzoo.types import Array

ROOT = Path(__file__).resolve().parents[2]
BATCHES = (1, 2, 3, 5)
SIZES = ((300, 420), (480, 640), (211, 198), (640, 333))  # height, width
# Five pictures a model, in the order in which batches take them: with many objects, with none, with one.
PICTURES = {
    "breast-lesion-rcnn": [
        "busi/benign/benign (100).png",
        "busi/normal/normal (102).png",
        "busi/malignant/malignant (100).png",
        "busi/benign/benign (163).png",
        "busi/normal/normal (107).png",
    ],
    "blood-cell-rcnn": [
        "bccd/JPEGImages/BloodImage_00045.jpg",
        "",  # a field without a cell
        "bccd/JPEGImages/BloodImage_00001.jpg",
        "bccd/JPEGImages/BloodImage_00347.jpg",
        "bccd/JPEGImages/BloodImage_00101.jpg",
    ],
}


def pictures(name: str, size: tuple[int, int], channels: int, data: Path) -> Array:
    """The model's five pictures (5, C, H, W) at one size."""
    found = []
    for file in PICTURES[name]:
        if file:
            picture = Image.open(data / file).convert("RGB" if channels == 3 else "L")
        else:
            picture = Image.new("RGB", size[::-1], (205, 203, 207))
        array = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR), np.float32)
        found.append(array.reshape(*size, channels).transpose(2, 0, 1))
    return np.stack(found)


@cache
def backends(name: str) -> tuple[Backend, Backend]:
    """Torch and ONNX Runtime with the released weights."""
    folder = ROOT / "zoo" / name
    return open_backend(folder, backend="torch", device="cpu"), open_backend(folder, backend="onnx", device="cpu")


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("name", PICTURES)
def test_the_graph_agrees_with_torch_and_each_picture_alone_as_in_a_batch(
    name: str, size: tuple[int, int], shared_data: Path
) -> None:
    torch_side, graph = backends(name)
    image = pictures(name, size, graph.metadata.geometry.channels, shared_data)
    # Where torch itself answers otherwise once the input moves by a millionth, nothing can be compared.
    decided, moved = stable_inputs(torch_side, Golden(name, {"image": image}))
    assert moved <= 2
    image = decided.inputs["image"]
    alone = [graph.run({"image": image[row : row + 1]}) for row in range(len(image))]
    for count in BATCHES:
        inputs = {"image": image[:count]}
        together = graph.run(inputs)
        for difference in compare(Golden(f"{count} of {size}", {}), torch_side.run(inputs), together):
            assert difference.holds, difference
        for row in range(count):
            for output, values in alone[row].items():
                # Sums over a whole picture, for the guard alone, are added in another order in a batch.
                near = 1e-5 if output == "embedding" else 0.0
                np.testing.assert_allclose(
                    together[output][row], values[0], rtol=near, atol=near, err_msg=f"{output} of {row}"
                )


@pytest.mark.long
@pytest.mark.parametrize("name", PICTURES)
def test_the_pictures_hold_none_one_and_many_objects(name: str, shared_data: Path) -> None:
    _, graph = backends(name)
    threshold = ModelFolder.open(ROOT / "zoo" / name).manifest["operating_point"]["threshold"]
    answer = graph.run({"image": pictures(name, SIZES[1], graph.metadata.geometry.channels, shared_data)})
    counts = (answer["scores"] >= threshold).sum(axis=1)
    assert counts.min() == 0
    assert counts.max() > 1
    assert (counts == 1).any() or name == "blood-cell-rcnn"
