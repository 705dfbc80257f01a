"""`graphc zoo`: the networks that come with graphc."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from graphc.cli.console import say_json, say_table
from graphc.cli.options import Json
from graphc.runtime.zoo import networks


def zoo(json: Json = False) -> None:
    """List the networks of the zoo and their options."""
    found = networks()
    if json:
        say_json({name: {"about": _about(b), "options": _options(b)} for name, b in found.items()})
        return
    rows = [(name, _about(b), " ".join(f"{k}={v}" for k, v in _options(b).items())) for name, b in found.items()]
    say_table(["network", "about", "options (graphc export NETWORK -s NAME=VALUE)"], rows)


def _about(builder: Callable[..., Any]) -> str:
    return (inspect.getdoc(builder) or "").split("\n")[0]


def _options(builder: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(builder).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
