"""The table of this package's own operators for torch.onnx. Knows the files that define them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from medzoo.inputs.canvas import translate_fit
from medzoo.nn.detection.nms import translate_nms
from medzoo.nn.lrn import translate_lrn
from medzoo.nn.top_k import translate_stable_top_k


def translations() -> dict[Any, Callable[..., Any]]:
    """Operator -> function that builds it, for `torch.onnx.export(custom_translation_table=...)`."""
    return {
        torch.ops.medzoo.stable_top_k.default: translate_stable_top_k,
        torch.ops.medzoo.fit.default: translate_fit,
        torch.ops.medzoo.lrn.default: translate_lrn,
        torch.ops.medzoo.nms.default: translate_nms,
    }
