"""Where a loss that is not a number comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from graphc.autodiff.training import NEW
from graphc.errors import Diverged, ExecutionError, FeedError
from graphc.ir import Graph
from graphc.runtime.compile import compile

HINT = "Lower the learning rate, or clip gradients (ClipByNorm)"


def blame(step: Graph, feeds: Mapping[str, Any], number: int, epoch: int) -> NoReturn:
    """Run a step once more, node by node, and raise `Diverged` naming the first one that made a NaN or an infinity.

    Args:
        step: the graph of the train step.
        feeds: all its inputs, before the step.
        number, epoch: which step it was, from 0, and in which epoch, from 1.
    """
    where = f"training diverged in step {number + 1} (epoch {epoch})"
    try:
        compile(step, level=0).run(feeds, check_nan=True)
    except FeedError as e:  # an input was NaN already
        is_state = f"{NEW}{e.value}" in step.output_names
        source = "the update before made it so" if is_state else "it came with the data"
        raise Diverged(f"{where}: {e.message}; {source}", value=e.value, hint=HINT) from e
    except ExecutionError as e:
        raise Diverged(f"{where}: {e.node}: {e.message}", node=e.node, hint=HINT) from e
    raise Diverged(f"{where}: the loss is not a number", hint=HINT)
