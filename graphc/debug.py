"""The only reader of environment variables.

GRAPHC_DEBUG=1 pass times, 2 graph after each pass, 3 rules fired and declined, 4 loop nests and generated code.
GRAPHC_DUMP=dir writes the graph after each pass. GRAPHC_CHECK=1 checks every value's type while interpreting, 2 also
evaluates before and after each pass. GRAPHC_STOP=n stops the pipeline after n passes.
GRAPHC_CACHE=dir is where compiled code is kept for later processes, GRAPHC_CACHE=off keeps none.
OMP_NUM_THREADS=n is how many threads a run uses unless it is asked for another number, as in other numerical libraries.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def _integer(name: str, default: int) -> int:
    return _number(os.environ.get(name, ""), default)


def _number(text: str, default: int) -> int:
    try:
        return int(text) if text else default
    except ValueError:
        return default


def level() -> int:
    """The value of GRAPHC_DEBUG."""
    return _integer("GRAPHC_DEBUG", 0)


def check() -> int:
    """The value of GRAPHC_CHECK."""
    return _integer("GRAPHC_CHECK", 0)


def stop() -> int | None:
    """The value of GRAPHC_STOP, or None."""
    n = _integer("GRAPHC_STOP", -1)
    return None if n < 0 else n


def threads() -> int | None:
    """The value of OMP_NUM_THREADS: of a list, which OpenMP has one number for each level of nesting in, the first."""
    n = _number(os.environ.get("OMP_NUM_THREADS", "").partition(",")[0], 0)
    return n if n > 0 else None


def dump_dir() -> Path | None:
    """The folder named by GRAPHC_DUMP, or None."""
    path = os.environ.get("GRAPHC_DUMP", "")
    return Path(path) if path else None


def cache_dir() -> Path | None:
    """The folder for compiled code: GRAPHC_CACHE, or the user's cache folder. None for GRAPHC_CACHE=off, or no home."""
    named = os.environ.get("GRAPHC_CACHE", "")
    if named in ("off", "0"):
        return None
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "graphc"
    except RuntimeError:
        return None


def log(at: int, message: object) -> None:
    """Print `message` on stderr when GRAPHC_DEBUG is `at` or more."""
    if level() >= at:
        print(message, file=sys.stderr)
