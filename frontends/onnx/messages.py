"""Warnings and hints."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable

from graphc.errors import escape


class ModelWarning(UserWarning):
    """The model breaks a rule of ONNX in a way that graphc could repair."""


def caller_level() -> int:
    """The `stacklevel`, for the function that calls this, of the first frame outside graphc."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).split(".")[0] == "graphc":
        level, frame = level + 1, frame.f_back
    return level


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint that names the known name nearest to `name`, if one is near."""
    near = difflib.get_close_matches(name[:200], [k for k in known if len(k) <= 200][:10_000], 1)
    return f"Did you mean '{escape(near[0])}'?" if near else None
