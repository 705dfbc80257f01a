"""ONNX in and out: `load` and `save`; `OnnxFrontend` is what the core finds through its entry point."""

from __future__ import annotations

from typing import ClassVar

from .load import load
from .messages import ModelWarning
from .save import save

__all__ = ["ModelWarning", "OnnxFrontend", "load", "save"]


class OnnxFrontend:
    """The frontend for ONNX files.

    Attributes:
        suffixes: the file names it is asked for.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".onnx",)
    load = staticmethod(load)
    save = staticmethod(save)
