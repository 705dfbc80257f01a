"""What passes did and what they refused: kept for `GRAPHC_DEBUG=3`, for the manager's report and for `explain()`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from graphc import debug
from graphc.frozen import Frozen
from graphc.ir import Node


class Fired(Frozen):
    """A rewrite that took place.

    Attributes:
        rule: the rule's (or pass's) name.
        nodes: labels of the nodes that it replaced, such as `Conv 'conv1'`; the last one gave its name to the result.
        result: label of what stands there now.
    """

    rule: str
    nodes: tuple[str, ...]
    result: str

    def __str__(self) -> str:
        return f"{self.rule}: {' + '.join(self.nodes)} -> {self.result}"


class Refused(Frozen):
    """A rule that matched at `node` and declined, for `reason`."""

    rule: str
    node: str
    reason: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.node} declined: {self.reason}"


@dataclass
class Record:
    """Everything one pass did, in order. A refusal that is met in several sweeps is kept once."""

    fired: list[Fired] = field(default_factory=list)
    refused: dict[Refused, None] = field(default_factory=dict)


_current: ContextVar[Record | None] = ContextVar("graphc_record", default=None)


@contextmanager
def recording() -> Iterator[Record]:
    """Collect what passes do inside the block."""
    record = Record()
    token = _current.set(record)
    try:
        yield record
    finally:
        _current.reset(token)


def fired(rule: str, nodes: Sequence[Node], result: str) -> None:
    """Note that `rule` replaced `nodes` by what is called `result`."""
    record = _current.get()
    if record is None and debug.level() < 3:
        return
    event = Fired(rule, tuple(n.label for n in nodes), result)
    debug.log(3, f"  {event}")
    if record is not None:
        record.fired.append(event)


def refused(rule: str, node: Node, reason: str) -> None:
    """Note that `rule` matched at `node` and declined."""
    record = _current.get()
    if record is None and debug.level() < 3:
        return
    event = Refused(rule, node.label, reason)
    if record is None or event not in record.refused:
        debug.log(3, f"  {event}")
    if record is not None:
        record.refused[event] = None
