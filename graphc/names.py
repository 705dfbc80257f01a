"""Helping with names that do not exist."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable

from graphc.errors import escape

MAX_NAMES, MAX_LENGTH = 10_000, 200


def quote(name: object) -> str:
    """The name as errors show it."""
    return f"'{escape(str(name))}'"


def listing(names: Iterable[object]) -> str:
    """`'a', 'b'`"""
    return ", ".join(quote(n) for n in names)


def did_you_mean(name: object, names: Iterable[str]) -> str:
    """`Did you mean 'x'? ` for the name nearest to `name`, or nothing.

    Names come from files: very long ones, and very many, are not searched.
    """
    lower = {n.lower(): n for n in itertools.islice(names, MAX_NAMES) if len(n) <= MAX_LENGTH}
    close = difflib.get_close_matches(str(name)[:MAX_LENGTH].lower(), lower, 1, 0.5)
    return f"Did you mean {quote(lower[close[0]])}? " if close else ""
