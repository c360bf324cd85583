"""A picture of any size on a canvas of one size: shrunk or enlarged to fit, its aspect kept. Knows torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def fitted_size(size: tuple[int, int], canvas: tuple[int, int]) -> tuple[int, int]:
    """Height and width (at least 1) of a picture `size` once it fits into `canvas`; both height, width."""
    (height, width), (canvas_height, canvas_width) = size, canvas
    fitted_height = (height * canvas_width + width // 2) // width
    fitted_width = (width * canvas_height + height // 2) // height
    return min(max(fitted_height, 1), canvas_height), min(max(fitted_width, 1), canvas_width)


def _taps(length: int, fitted: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The two source places and the second one's weight, each (fitted,), along one axis.

    The order of operations in float32 is ONNX Runtime's: torch's own differs by 0.1 grey level on pictures
    of some thousand pixels, which would show in the parity of the answers.
    """
    scale = torch.tensor(fitted, dtype=torch.float32) / torch.tensor(length, dtype=torch.float32)
    place = (torch.arange(fitted, dtype=torch.float32) + 0.5) / scale - 0.5
    place = place.clamp(0, length - 1).to(device)
    low = place.long()
    return low, (low + 1).clamp(max=length - 1), place - low


def _resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Image (B, C, H, W) at `size`, bilinear with half-pixel centres."""
    low, high, weight = _taps(image.shape[2], size[0], image.device)
    image = torch.lerp(image[:, :, low], image[:, :, high], weight[:, None])
    low, high, weight = _taps(image.shape[3], size[1], image.device)
    return torch.lerp(image[:, :, :, low], image[:, :, :, high], weight)


@torch.library.custom_op("medzoo::fit", mutates_args=())
def fit_canvas(image: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Image (B, C, H, W) on a canvas (B, C, height, width), top left, and `sizes` (4,) float32.

    Bilinear, half-pixel centres, no anti-aliasing (ONNX Runtime's differs from torch's); what the image does
    not cover is 0. `sizes` holds the fitted width and height, then the image's own width and height.
    """
    size = (int(image.shape[2]), int(image.shape[3]))
    fitted = fitted_size(size, (height, width))
    resized = image.clone()
    if fitted != size:
        resized = _resize(image, fitted)
    if fitted != (height, width):
        resized = nn.functional.pad(resized, (0, width - fitted[1], 0, height - fitted[0]))
    return resized, image.new_tensor([*fitted[::-1], *size[::-1]], dtype=torch.float32)


@fit_canvas.register_fake
def _(image: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    return image.new_empty((image.shape[0], image.shape[1], height, width)), image.new_empty((4,), dtype=torch.float32)


def translate_fit(image: Any, height: int, width: int) -> Any:
    """The same in ONNX: whole-number arithmetic on Shape, then Resize and Pad."""
    from onnxscript import opset18 as op

    def ints(*values: int) -> Any:
        return op.Constant(value_ints=list(values))

    size = op.Slice(op.Shape(image), ints(2), ints(4))
    turned = op.Gather(size, ints(1, 0))
    # Row by row the integer arithmetic of `fitted_size`, for height and width at once.
    fitted = op.Div(op.Add(op.Mul(size, ints(width, height)), op.Div(turned, ints(2))), turned)
    fitted = op.Min(op.Max(fitted, ints(1)), ints(height, width))
    resized = op.Resize(
        image,
        None,
        None,
        fitted,
        axes=[2, 3],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    pads = op.Concat(ints(0, 0), op.Sub(ints(height, width), fitted), axis=0)
    canvas = op.Pad(resized, pads, op.Constant(value_float=0.0), ints(2, 3))
    sizes = op.Concat(op.Gather(fitted, ints(1, 0)), turned, axis=0)
    return canvas, op.Cast(sizes, to=1)
