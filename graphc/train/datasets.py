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
    try:
        from sklearn.datasets import load_digits
    except ImportError as e:
        raise BackendUnavailable(f"scikit-learn cannot be imported: {e}", hint=INSTALL) from e
    scans = load_digits()
    x = enlarge((scans.images / 16).astype(np.float32)[:, None], size)
    train, held_out = Dataset(x, scans.target.astype(np.int64)).split(0.2, seed=0)
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
    found = importlib.util.find_spec("vega_datasets")
    if found is None or found.origin is None:
        raise BackendUnavailable("vega_datasets is not installed", hint=INSTALL)
    # Read as it lies there: the package itself would import pandas for that.
    with (Path(found.origin).parent / "_data" / "seattle-weather.csv").open(encoding="utf-8") as file:
        mean = [(float(row["temp_max"]) + float(row["temp_min"])) / 2 for row in csv.DictReader(file)]
    windows = np.lib.stride_tricks.sliding_window_view(np.array(mean, np.float32), days + 1)
    train, held_out = Dataset(windows[:, :days].copy(), windows[:, days:].copy()).split(365)
    return Task(train, held_out)


DATASETS: dict[str, Callable[[], Task]] = {"digits": digits, "temperatures": temperatures}
