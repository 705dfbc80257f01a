"""Warnings."""

from __future__ import annotations

import sys


class ModelWarning(UserWarning):
    """The model breaks a rule of ONNX in a way that graphc could repair."""


def caller_level() -> int:
    """The `stacklevel`, for the function that calls this, of the first frame outside graphc."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] == "graphc":
        level, frame = level + 1, frame.f_back
    return level
