"""Real data that Python packages bring along: small, and there without a download."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from graphc.errors import BackendUnavailable, CompileError
from graphc.train.data import Dataset
from graphc.types import Array

INSTALL = "pip install 'graphc[train]'"


@dataclass(frozen=True, eq=False)
class Task:
    """What there is to learn, and what it is measured on.

    Attributes:
        train, held_out: examples to learn from, and others.
        classes: how many labels there are; None where a number is predicted.
    """

    train: Dataset
    held_out: Dataset
    classes: int | None = None


def digits(size: int = 28) -> Task:
    """Handwritten digits: 1,797 scans of 8×8 pixels (Alpaydin and Kaynak 1998), from scikit-learn.

    x is float32 [n, 1, size, size] from 0 to 1, enlarged (see `enlarge`); y is int64 [n]. A random fifth is held out.
    """
    # Rows of 64 pixels from 0 to 16, and the digit.
    rows = np.loadtxt(_file("sklearn", "datasets/data/digits.csv.gz"), delimiter=",")
    x = enlarge((rows[:, :64] / 16).astype(np.float32).reshape(-1, 1, 8, 8), size)
    train, held_out = Dataset(x, rows[:, 64].astype(np.int64)).split(0.2, seed=0)
    return Task(train, held_out, 10)


def enlarge(x: Array, size: int) -> Array:
    """Square images in `size` × `size` pixels: interpolated to the multiple that fits, amid a margin of zeros."""
    small = x.shape[-1]
    inner = size // small * small
    if not inner:
        raise CompileError(f"images of {small}×{small} pixels do not fit into {size}×{size}")
    place = np.clip((np.arange(inner) + 0.5) * small / inner - 0.5, 0, small - 1)
    weight = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(small)))  # [inner, small], bilinear
    before = (size - inner) // 2
    margin = (before, size - inner - before)
    return np.pad((weight @ x @ weight.T).astype(x.dtype), ((0, 0), (0, 0), margin, margin))


def temperatures(days: int = 3) -> Task:
    """Mean temperatures of days in Seattle, 2012 to 2015 (NOAA), from vega_datasets: the next from the last `days`.

    x is float32 [n, days] in °C, y float32 [n, 1]. The last year is held out.
    """
    with _file("vega_datasets", "_data/seattle-weather.csv").open(encoding="utf-8") as file:
        mean = [(float(row["temp_max"]) + float(row["temp_min"])) / 2 for row in csv.DictReader(file)]
    windows = np.lib.stride_tricks.sliding_window_view(np.array(mean, np.float32), days + 1)
    train, held_out = Dataset(windows[:, :days].copy(), windows[:, days:].copy()).split(365)
    return Task(train, held_out)


def _file(package: str, name: str) -> Path:
    """A file that lies in a package, which is not imported: that, and pandas with it, would take a second and more."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise BackendUnavailable(f"{package} is not installed", hint=INSTALL)
    path = Path(found.origin).parent / name
    if not path.exists():
        raise BackendUnavailable(f"{package} is installed without its {name}", hint=INSTALL)
    return path


DATASETS: dict[str, Callable[[], Task]] = {"digits": digits, "temperatures": temperatures}
