"""Means of batches joined into the mean of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from graphc.autodiff.step import WEIGHT


@dataclass
class Averages:
    """For each reported mean the sum of what batches came to, each times what it counts for, and of what they count."""

    totals: dict[str, float] = field(default_factory=dict)
    weights: dict[str, float] = field(default_factory=dict)

    def add(self, results: Mapping[str, float], examples: int) -> None:
        """What a step reports of a batch: means, and `<name>.weight` for those that count for other than `examples`."""
        for name, y in results.items():
            if not name.endswith(WEIGHT):
                weight = results.get(name + WEIGHT, float(examples))
                self.totals[name] = self.totals.get(name, 0.0) + y * weight
                self.weights[name] = self.weights.get(name, 0.0) + weight

    def means(self) -> dict[str, float]:
        """Those so far; 0 where nothing has counted."""
        return {name: total / self.weights[name] if self.weights[name] else 0.0 for name, total in self.totals.items()}
