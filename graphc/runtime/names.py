"""Helping with names that do not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from graphc.errors import escape


def quote(name: object) -> str:
    """The name as errors show it."""
    return f"'{escape(str(name))}'"


def listing(names: Iterable[object]) -> str:
    """`'a', 'b'`"""
    return ", ".join(quote(n) for n in names)


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """`Did you mean 'x'? ` for the name nearest to `name`, or nothing."""
    lower = {n.lower(): n for n in names}
    close = difflib.get_close_matches(str(name).lower(), lower, 1, 0.5)
    return f"Did you mean {quote(lower[close[0]])}? " if close else ""
