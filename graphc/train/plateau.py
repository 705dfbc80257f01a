"""A learning rate that falls when training stands still."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class OnPlateau:
    """R, times `factor` whenever the watched loss has not improved by `least` (relatively) for `patience` epochs."""

    rate: float
    factor: float = 0.1
    patience: int = 5
    least: float = 1e-4

    def rates(self, losses: list[float]) -> float:
        """The rate for the epoch after those with `losses`: a function of them, so that training can go on anywhere."""
        rate, best, waited = self.rate, math.inf, 0
        for loss in losses:
            if loss < best * (1 - self.least):
                best, waited = loss, 0
            else:
                waited += 1
            if waited > self.patience:
                rate, waited = rate * self.factor, 0
        return rate
