"""Deprecated place of `OnnxBackend`; use medzoo.runtime.backends.onnx."""

from __future__ import annotations

from medzoo.runtime.backends.onnx import OnnxBackend

__all__ = ["OnnxBackend"]
