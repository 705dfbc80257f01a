"""What classifiers and regressors of ai.onnx.ml share: transforms of scores, and labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import InvalidModel
from graphc.ops.base import Array, Op, TensorType, Value, check_dtype, check_rank
from graphc.ops.ml_features import NUMBERS
from graphc.types import DType, int64, string

TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def check_choice(what: str, value: object, choices: Sequence[object]) -> None:
    """Raise `InvalidModel` unless `value` is one of `choices`."""
    if value not in choices:
        raise InvalidModel(f"{what} is {value!r}, expected one of {', '.join(map(str, choices))}")


def rows_of(x: Value, least: int = 1, dtypes: Iterable[DType] = NUMBERS) -> Dim:
    """The number N of rows of x, (N, F) or a vector (F), which is one row. Raises for other types."""
    check_dtype(x, dtypes, "x")
    check_rank(x, "x", least, 2)
    if x.shape is None:
        return unknown()
    return x.shape[0] if len(x.shape) == 2 else 1


def in_floats(x: Array) -> Array:
    """`x` as rows, in float32 where it is, else in float64."""
    return np.atleast_2d(x if x.dtype == np.float32 else x.astype(np.float64))


def transformed(scores: Array, transform: str) -> Array:
    """The scores (N, E) after the transform of each row. A single score is left alone, except by PROBIT.

    PROBIT is √2 erf⁻¹(2s − 1) by Winitzki's approximation, as in ONNX Runtime; SOFTMAX_ZERO is a softmax in which
    zeros stay zeros.
    """
    if transform == "PROBIT":
        return _probit(scores)
    if transform == "NONE" or scores.shape[1] < 2:
        return scores
    if transform == "LOGISTIC":
        return logistic(scores)
    top = scores.max(1, keepdims=True)
    powers = np.exp(scores - top)
    if transform == "SOFTMAX_ZERO":
        powers = np.where(np.abs(scores) > 1e-7, powers, scores * np.exp(-top))
    total = powers.sum(1, keepdims=True)
    shares = powers / np.where(total == 0, 1, total)
    return np.asarray(np.where(total == 0, 0.5, shares), scores.dtype)


def logistic(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), without overflow."""
    y = 1 / (1 + np.exp(-np.abs(x)))
    return np.asarray(np.where(x < 0, 1 - y, y), x.dtype)


def _probit(x: Array) -> Array:
    with np.errstate(all="ignore"):
        y = 2 * x - 1
        log = np.log((1 - y) * (1 + y))
        v = 2 / (np.pi * 0.147) + 0.5 * log
        return np.asarray(np.copysign(np.sqrt(2) * np.sqrt(np.sqrt(v * v - log / 0.147) - v), y)).astype(x.dtype)


def two_columns(score: Array, transform: str, *, probability: bool) -> Array:
    """The scores (N, 2) of both classes from that of the second one, `score`: 1 − s and s of a probability, else ∓s.

    Of the transforms, only LOGISTIC and PROBIT mean something to one score.
    """
    both = np.stack([1 - score if probability and transform != "LOGISTIC" else -score, score], 1)
    return transformed(both, transform) if transform in ("LOGISTIC", "PROBIT") else both


class Classifier(Op):
    """An op with two outputs: the labels (N) and the scores (N, E) in float32. A subclass has the fields of labels."""

    domain = "ai.onnx.ml"

    def labels(self) -> Array:
        """The class labels: int64, or objects that are strings. Raises unless one of the attributes gives them."""
        given: list[Any] = [
            (getattr(self, name), dtype)
            for name, dtype in (("classlabels_strings", object), ("classlabels_ints", np.int64),
                                ("classlabels_int64s", np.int64))
            if getattr(self, name, None)
        ]  # fmt: skip
        if len(given) != 1:
            raise InvalidModel("expected one of the attributes classlabels_*")
        return np.array(*given[0])

    def types(self, rows: Dim, columns: Dim, scores: Any) -> tuple[TensorType, TensorType]:
        """The types of both outputs."""
        dtype = string if self.labels().dtype == object else int64
        return TensorType(dtype, (rows,)), TensorType(scores, (rows, columns))
