"""A compiled model whose state goes from run to run: some outputs are inputs of the next run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from graphc.errors import FeedError
from graphc.names import listing
from graphc.runtime.model import CompiledModel
from graphc.types import Array


class Carried:
    """Runs `model` again and again; its output `new_x`, wherever there is one, becomes its input `x`.

    The state lies in two sets of buffers that the model reads and writes by turns, so that nothing is copied or
    allocated for it.

    Args:
        model: with known sizes for the state.
        state: the first value of each input that is state.
        prefix: what the names of outputs that are carried begin with.

    Raises:
        FeedError: a value is missing, or does not fit its input.
    """

    def __init__(self, model: CompiledModel, state: Mapping[str, Any], *, prefix: str = "new_"):
        self.model = model
        inputs = [p.name for p in model.inputs]
        carried = {n.removeprefix(prefix): k for k, n in enumerate(model.graph.output_names) if n.startswith(prefix)}
        if missing := [n for n in carried if n not in state or n not in inputs]:
            raise FeedError(f"missing state {listing(missing)}", value=missing[0])
        self._reported = [(k, n) for k, n in enumerate(model.graph.output_names) if not n.startswith(prefix)]
        self._fed = [n for n in inputs if n not in carried]
        self._names, self._inputs = list(carried), inputs
        numbers = list(carried.values())
        now = {n: np.array(state[n], order="C") for n in carried}
        after = {n: np.empty_like(x) for n, x in now.items()}
        # Each set with the places of the outputs that belong to it.
        self._now = now, dict(zip(numbers, now.values(), strict=True))
        self._after = after, dict(zip(numbers, after.values(), strict=True))

    def __call__(self, feeds: Mapping[str, Any]) -> dict[str, Array]:
        """One run on the other inputs, by name; returns the other outputs, by name.

        Raises `FeedError` and `ExecutionError` as the model does; the state is then as it was.
        """
        if feeds.keys() != set(self._fed):
            raise FeedError(f"the step takes {listing(self._fed)}, got {listing(feeds)}")
        state = self._now[0]
        arrays = [state[n] if n in state else feeds[n] for n in self._inputs]
        results = self.model.run_into(arrays, self._after[1])
        self._now, self._after = self._after, self._now
        return {n: results[k] for k, n in self._reported}

    @property
    def state(self) -> dict[str, Array]:
        """Copies of the state as it is now."""
        return {n: x.copy() for n, x in self._now[0].items()}

    @property
    def previous(self) -> dict[str, Array]:
        """Copies of the state before the last run."""
        return {n: x.copy() for n, x in self._after[0].items()}
