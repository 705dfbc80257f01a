"""What training makes small, and what it reports beside it: graph code of a prediction and a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from graphc.errors import CompileError
from graphc.frozen import Frozen
from graphc.ir import Value
from graphc.ops.base import const, lift
from graphc.ops.generate import zeros_like
from graphc.ops.indexing import Gather
from graphc.ops.logic import Equal, where
from graphc.ops.loss import SoftmaxCrossEntropyLoss
from graphc.ops.math import Abs
from graphc.ops.ranking import ArgMax
from graphc.ops.softmax import LogSoftmax
from graphc.types import TensorType, float32, int64


@dataclass(frozen=True, eq=False)
class Mean:
    """Σ w v / Σ w over positions.

    Attributes:
        value: the mean, a scalar; 0 where Σ w is 0, as in a batch of which nothing counts.
        weight: Σ w, a scalar, by which means of batches are joined into one; None where each position counts 1, so that
            a batch counts what it has of examples.
    """

    value: Value
    weight: Value | None = None


class Metric(Protocol):
    """What predictions are worth: a mean over positions, which are the examples, or the pixels or tokens of each."""

    def __call__(self, prediction: Value, target: Value, weights: Value | None = None) -> Mean:
        """The mean; `weights` has what each position counts for, from 0 on, in the type of the prediction."""
        ...


class Loss(Metric, Protocol):
    """A metric to be made small.

    Attributes:
        of_logits: the prediction is a score for each class, before the softmax.
    """

    of_logits: bool

    def target_type(self, prediction: Value) -> TensorType:
        """The type of the target that goes with `prediction`."""
        ...


def mean(values: Value, weights: Value | None = None) -> Mean:
    """The mean of `values`, one for each position, with `weights` of the same shape."""
    return Mean(values.mean()) if weights is None else _ratio((values * weights).sum(), weights.sum())


class MeanSquared(Frozen):
    """mean (p − t)², the L2 loss of regression; positions are all elements."""

    of_logits = False

    def target_type(self, prediction: Value) -> TensorType:
        return prediction.tensor

    def __call__(self, prediction: Value, target: Value, weights: Value | None = None) -> Mean:
        error = prediction - target
        return mean(error * error, weights)


class CrossEntropy(Frozen):
    """mean −Σ_c t_c · log softmax(z)_c over positions, for logits z of shape [n, classes, …].

    Computed from logits, because log softmax(z) = z − max z − log Σ exp(z − max z) neither overflows nor is −∞.

    Attributes:
        probabilities: the target is a distribution t of the shape of z (one-hot, say), instead of a label for each
            position: int64 [n, …].
        ignore_index: positions with this label count for nothing.
        class_weights: a factor for each class; for labels the mean is weighted by that of the label.
        smoothing: ε in t ← (1 − ε) t + ε / classes (Szegedy et al. 2015, section 7).
    """

    probabilities: bool = False
    ignore_index: int | None = None
    class_weights: tuple[float, ...] | None = None
    smoothing: float = 0.0
    of_logits = True

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise CompileError(f"smoothing is {self.smoothing}, expected a number from 0 to below 1")
        if self.probabilities and self.ignore_index is not None:
            raise CompileError("ignore_index is for labels", hint="Use weights with probabilities")

    def target_type(self, prediction: Value) -> TensorType:
        shape = prediction.shape
        if shape is None or len(shape) < 2:
            raise CompileError(f"the prediction is {prediction.tensor}, expected logits [n, classes, …]")
        return prediction.tensor if self.probabilities else TensorType(int64, (shape[0], *shape[2:]))

    def __call__(self, prediction: Value, target: Value, weights: Value | None = None) -> Mean:
        """`weights` has the shape of `prediction` without axis 1."""
        if self.probabilities:
            return mean(self._spread(prediction, target, 1.0), weights)
        if not self.smoothing and weights is None and self.class_weights is None and self.ignore_index is None:
            return Mean(self._of_labels(prediction, target, "mean"))
        losses = self._of_labels(prediction, target, "none")
        if self.smoothing:
            losses = losses * (1 - self.smoothing) + self._spread(prediction, None, self.smoothing)
        counts = self._importance(losses, target)
        if self.ignore_index is not None:
            losses = where(_counted(target, self.ignore_index), losses, 0.0)
        if weights is not None:
            losses, counts = losses * weights, counts * weights
        return _ratio(losses.sum(), counts.sum())

    def _of_labels(self, logits: Value, labels: Value, reduction: str) -> Value:
        inputs = [x for x in (logits, labels, self._factors(logits)) if x is not None]
        return SoftmaxCrossEntropyLoss(reduction, self.ignore_index).apply(inputs)[0]

    def _importance(self, losses: Value, labels: Value) -> Value:
        """What each label counts for in the mean."""
        factors = self._factors(losses)
        counted = None if self.ignore_index is None else _counted(labels, self.ignore_index)
        safe = labels if counted is None else where(counted, labels, 0)
        counts: Value = zeros_like(losses) + 1.0 if factors is None else Gather()(factors, safe)
        return counts if counted is None else where(counted, counts, 0.0)

    def _spread(self, logits: Value, target: Value | None, share: float) -> Value:
        """−share · Σ_c w_c · t_c · log softmax(z)_c for each position; t is uniform where there is no target."""
        logs: Value = LogSoftmax(1)(logits)
        shape = logits.shape
        assert shape is not None
        classes = shape[1]
        if not isinstance(classes, int):
            raise CompileError(f"the prediction is {logits.tensor}, expected a known number of classes")
        if target is None:
            terms = logs * (share / classes)
        else:
            terms = logs * (target * (1 - self.smoothing) + self.smoothing / classes if self.smoothing else target)
        factors = self._factors(logits)
        if factors is not None:
            terms = terms * factors.reshape([-1] + [1] * (len(shape) - 2))
        return -terms.sum(1)

    def _factors(self, like: Value) -> Value | None:
        if self.class_weights is None:
            return None
        return const(np.asarray(self.class_weights, np.float64).astype(like.dtype.numpy), like.dtype)


def accuracy(prediction: Value, target: Value, weights: Value | None = None) -> Mean:
    """The share of positions whose largest score (axis 1) is that of the label, or of the largest probability."""
    found = ArgMax(axis=1, keepdims=False)(prediction)
    if target.dtype.is_float:
        target = ArgMax(axis=1, keepdims=False)(target)
    hits: Value = Equal()(found, target)
    return mean(hits.cast(float32 if weights is None else weights.dtype), weights)


def mean_absolute_error(prediction: Value, target: Value, weights: Value | None = None) -> Mean:
    """mean |p − t|: in the unit of the target; positions are all elements."""
    error: Value = Abs()(prediction - target)
    return mean(error, weights)


def _ratio(total: Value, weight: Value) -> Mean:
    return Mean(total / where(weight > 0.0, weight, 1.0), weight)


def _counted(labels: Value, ignored: int) -> Value:
    same: Value = Equal()(labels, lift(ignored, labels))
    return ~same
