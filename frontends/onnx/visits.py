"""Recursion without Python's stack: how deep bodies nest, and functions call each other, comes from the file."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

# A generator that yields the visits it depends on, is sent their results, and returns its own.
Visit = Generator[Any, Any, Any]


def run(visit: Visit) -> Any:
    """The result of `visit`, and before it of every visit that it yields."""
    stack, result = [visit], None
    while stack:
        try:
            stack.append(stack[-1].send(result))
            result = None
        except StopIteration as stop:
            stack.pop()
            result = stop.value
    return result
