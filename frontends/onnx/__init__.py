"""ONNX in and out."""

from __future__ import annotations

from .load import load
from .messages import ModelWarning

__all__ = ["ModelWarning", "load"]
