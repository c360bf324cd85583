"""Fitting a picture into a canvas, in torch and in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from medzoo.export.onnx_file import translations
from medzoo.inputs.canvas import fit_canvas, fitted_size

CANVAS = (48, 64)


class Fit(nn.Module):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        canvas, sizes = fit_canvas(image, *CANVAS)
        return canvas, sizes


@pytest.fixture(scope="module")
def session() -> Any:
    free = torch.export.Dim.DYNAMIC
    program = torch.onnx.export(
        Fit().eval(),
        (torch.rand(2, 3, 20, 30),),
        dynamo=True,
        verbose=False,
        dynamic_shapes=({0: free, 2: free, 3: free},),
        input_names=["image"],
        custom_translation_table=translations(),
    )
    assert program is not None
    return onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("size", "fitted"),
    [
        ((48, 64), (48, 64)),
        ((24, 32), (48, 64)),
        ((96, 64), (48, 32)),
        ((1, 5000), (1, 64)),
        ((5000, 1), (48, 1)),
        ((100, 100), (48, 48)),
    ],
)
def test_fitted_size_keeps_the_aspect(size: tuple[int, int], fitted: tuple[int, int]) -> None:
    assert fitted_size(size, CANVAS) == fitted


def test_a_picture_of_the_canvas_size_is_left_alone_and_the_rest_is_zero() -> None:
    image = torch.rand(2, 1, *CANVAS) * 255
    canvas, sizes = fit_canvas(image, *CANVAS)
    assert torch.equal(canvas, image)
    assert sizes.tolist() == [64, 48, 64, 48]
    canvas, sizes = fit_canvas(torch.full((1, 1, 96, 64), 7.0), *CANVAS)
    assert sizes.tolist() == [32, 48, 64, 96]
    assert canvas[..., :32].eq(7).all()
    assert canvas[..., 32:].eq(0).all()


def test_the_resampling_is_bilinear_with_half_pixel_centres() -> None:
    for size in ((20, 30), (97, 61), (333, 200)):
        image = torch.rand(2, 3, *size) * 255
        height, width = fitted_size(size, CANVAS)
        expected = nn.functional.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
        torch.testing.assert_close(fit_canvas(image, *CANVAS)[0][:, :, :height, :width], expected, atol=0.01, rtol=0)


@pytest.mark.parametrize("size", [(48, 64), (20, 30), (97, 61), (1, 500), (500, 1), (333, 200), (3001, 700), (1, 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_onnx_runtime_fits_alike(session: Any, size: tuple[int, int], batch: int) -> None:
    image = torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(1)) * 255
    canvas, sizes = session.run(None, {"image": image.numpy()})
    expected_canvas, expected_sizes = fit_canvas(image, *CANVAS)
    np.testing.assert_array_equal(sizes, expected_sizes.numpy())
    np.testing.assert_allclose(canvas, expected_canvas.numpy(), atol=2e-4)
