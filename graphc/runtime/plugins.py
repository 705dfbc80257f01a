"""What installed packages bring: their entry points."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

# Every installed package is gone through for entry points, which takes as long as compiling a small model.
_installed = cache(entry_points)


def find_plugin(group: str, name: str) -> EntryPoint:
    """The entry point called `name`. Raises `LookupError`.

    What is not there may have been installed meanwhile, and is looked for again.
    """
    for found in _installed().select(group=group, name=name) or entry_points(group=group, name=name):
        return found
    raise LookupError(name)


def plugin_names(group: str) -> list[str]:
    """The names of all entry points in `group`, whether or not what they need is there."""
    return sorted({e.name for e in entry_points(group=group)})
