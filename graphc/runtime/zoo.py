"""Networks by name, from the entry points of `graphc.models`: each is a mapping from name to a function -> graph."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from graphc.errors import CompileError
from graphc.names import did_you_mean, quote

GROUP = "graphc.models"


def networks() -> dict[str, Callable[..., Any]]:
    """Name -> builder, of every installed zoo. Builders return a graph or what `load` takes."""
    found: dict[str, Callable[..., Any]] = {}
    for zoo in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        found.update(zoo.load())
    return found


def build(name: str, **options: Any) -> Any:
    """The network called `name`. Raises `CompileError` for a name or an option that does not exist."""
    known = networks()
    if name not in known:
        raise CompileError(
            f"there is no network {quote(name)}",
            hint=f"{did_you_mean(name, known)}The command `graphc zoo` lists them",
        )
    try:
        return known[name](**options)
    except TypeError as e:
        valid = inspect.signature(known[name]).parameters
        for option in options:
            if option not in valid:
                hint = f"{did_you_mean(option, valid)}Its options are {', '.join(valid)}"
                raise CompileError(f"network {quote(name)} has no option {quote(option)}", hint=hint) from e
        raise CompileError(f"network {quote(name)}: {e}") from e
