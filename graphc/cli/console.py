"""Output: results on stdout, progress and errors on stderr, colour only on terminals."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from graphc.errors import CompileError
from graphc.runtime.table import format_table

PATIENCE = 1.0  # seconds before a bar appears

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def say(text: str = "", style: str = "") -> None:
    """Print a result, taken literally and never cut to the width of the terminal."""
    stdout.print(Text(text, style=style), soft_wrap=True)


def note(text: str) -> None:
    """Print a remark on stderr."""
    stderr.print(Text(text, style="dim"), soft_wrap=True)


def say_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table with a bold first line."""
    head, *lines = format_table(headers, rows).split("\n")
    say(head, "bold")
    for line in lines:
        say(line)


def say_json(data: Any) -> None:
    """Print `data` as one JSON document; JSON has no NaN and no infinity, so they become strings."""
    print(json.dumps(_finite(data), indent=2, default=str, allow_nan=False))


def _finite(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _finite(v) for k, v in data.items()}
    if isinstance(data, (list, tuple)):
        return [_finite(v) for v in data]
    return str(data) if isinstance(data, float) and not math.isfinite(data) else data


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise `CompileError`, which names `path`, where the block cannot write there."""
    try:
        yield
    except OSError as e:
        raise CompileError(f"cannot write {path}: {e.strerror or e}") from e


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show a bar on stderr while the block runs, if that takes more than a second and stderr is a terminal."""
    if not stderr.is_terminal:
        yield
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    bar = Progress(*columns, console=stderr, transient=True)
    bar.add_task(what, total=None)
    timer = threading.Timer(PATIENCE, bar.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        bar.stop()
