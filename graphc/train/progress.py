"""A bar on stderr while training runs, and a line for each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

COUNTS = ("epoch", "step")


class Bar:
    """A `Watcher` for terminals; use it as a context manager.

    Args:
        epochs: how many there are to be.
        say: called with a line for each epoch.
        console: where the bar goes; it is drawn on terminals only.
    """

    def __init__(self, epochs: int, say: Callable[[str], None] = print, console: Console | None = None):
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self._say, self._epochs = say, epochs
        console = console or Console(stderr=True)
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None)

    def on_step(self, epoch: int, done: int, batches: int, means: Mapping[str, float]) -> None:
        text = f"epoch {epoch} of {self._epochs}  {describe(means)}"
        self._bar.update(self._task, completed=done, total=batches, description=text)

    def on_epoch(self, record: Mapping[str, float]) -> None:
        self._say(f"epoch {record['epoch']:>3}  {describe({k: v for k, v in record.items() if k not in COUNTS})}")

    def __enter__(self) -> Bar:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()


def describe(values: Mapping[str, float]) -> str:
    """`loss 0.0123  accuracy 0.98`"""
    return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in values.items())
