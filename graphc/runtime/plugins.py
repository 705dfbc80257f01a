"""What installed packages bring: their entry points."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points


@cache
def find_plugin(group: str, name: str) -> EntryPoint:
    """The entry point called `name`. Raises `LookupError`.

    Every installed package is gone through for that, which takes as long as compiling a small model, so what is found
    is kept. What is not there may be installed later, and is looked for again.
    """
    for found in entry_points(group=group, name=name):
        return found
    raise LookupError(name)


def plugin_names(group: str) -> list[str]:
    """The names of all entry points in `group`, whether or not what they need is there."""
    return sorted({e.name for e in entry_points(group=group)})
