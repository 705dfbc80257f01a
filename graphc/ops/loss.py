"""Losses of classification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from graphc.errors import CompileError, ExecutionError, ShapeError
from graphc.expr import Element, Expr, Source, bounded, call, cast, constant, equal, guard, over, select, wide
from graphc.index import Linear
from graphc.ir import Cost, elements, traffic
from graphc.limits import current_limits
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    Shape,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    lift,
)
from graphc.ops.elementwise import widen
from graphc.ops.generate import zeros_like
from graphc.ops.indexing import Gather, GatherElements
from graphc.ops.logic import Equal, Where
from graphc.ops.reshaping import Squeeze, Unsqueeze
from graphc.ops.softmax import LogSoftmax
from graphc.ops.vjp import decomposed_grad
from graphc.types import FLOATS, bool_, float32, float64, int32, int64, unify

REDUCTIONS = ("none", "sum", "mean")


# -- what the two share -----------------------------------------------------------------------------------------------
class ClassLoss(Op):
    """l = −weight[c] · log p[n, c, …] for the label c of each position; inputs: scores or log p, labels, weights."""

    reduction: str
    ignore_index: int | None

    def _loss_type(self, x: Value, labels: Value, weights: Value | None) -> TensorType:
        check_same_dtype(x, weights)
        check_dtype(x, FLOATS, "input")
        check_dtype(labels, {int32, int64}, "labels")
        check_rank(x, "input", 2, current_limits().max_rank)
        if self.reduction not in REDUCTIONS:
            raise InvalidModel(f"reduction is '{self.reduction}', expected one of {', '.join(REDUCTIONS)}")
        if weights is not None:
            check_rank(weights, "weights", 1)
        shape = self._positions(x, labels)
        if x.shape is not None and weights is not None and weights.shape is not None:
            try:
                unify(x.shape[1], weights.shape[0])
            except ShapeError as e:
                raise ShapeError(f"weights is {weights.tensor}, expected one for each class of {x.tensor}") from e
        return TensorType(x.dtype, shape if self.reduction == "none" else ())

    def _positions(self, x: Value, labels: Value) -> Shape | None:
        if x.shape is None or labels.shape is None:
            return labels.shape
        try:
            return tuple(unify(m, n) for m, n in zip((x.shape[0], *x.shape[2:]), labels.shape, strict=True))
        except ValueError as e:  # ranks, or sizes (a ShapeError)
            raise ShapeError(f"labels is {labels.tensor}, expected the shape of {x.tensor} without axis 1") from e

    def _evaluate(self, logs: Array, labels: Array, weights: Array | None) -> Array:
        classes = logs.shape[1]
        ignored = np.zeros(labels.shape, bool) if self.ignore_index is None else labels == self.ignore_index
        wrong = ~ignored & ((labels < 0) | (labels >= classes))
        if np.any(wrong):
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise ExecutionError(f"label {labels[at]} at {list(at)} is out of range, valid 0..{classes - 1}")
        if classes == 0 or labels.shape != (logs.shape[0], *logs.shape[2:]):
            raise ExecutionError(f"labels {list(labels.shape)} do not fit the input {list(logs.shape)}")
        safe = np.where(ignored, 0, labels)
        picked = np.take_along_axis(logs, np.expand_dims(safe, 1), 1).squeeze(1)
        weight = np.ones(classes, logs.dtype) if weights is None else widen(weights)
        if weight.shape != (classes,):
            raise ExecutionError(f"weights has shape {list(weight.shape)}, expected [{classes}]")
        weight = np.where(ignored, weight.dtype.type(0), weight[safe])
        # Not -picked · 0, which is NaN where the probability of an ignored label is 0.
        losses = np.where(ignored, picked.dtype.type(0), -picked * weight)
        if self.reduction == "none":
            return losses
        total = np.sum(losses)
        return np.asarray(total / np.sum(weight) if self.reduction == "mean" else total)

    def _element(self, y: TensorType, logs: Source, labels: Source, weights: Source | None) -> Element:
        """`_evaluate` of elements; `logs` are float32 or float64."""
        classes = logs.shape[1]
        if not classes:
            raise CompileError("there are no classes")

        def parts(*i: Linear) -> tuple[Expr, Expr]:
            """The loss at `i`, and its weight."""
            label = cast(labels[i], int64)
            ignored = constant(False, bool_) if self.ignore_index is None else equal(label, self.ignore_index)
            label = select(ignored, 0, label)
            valid = guard((label >= 0) & (label < classes), label)
            c = bounded(call("min", call("max", valid, 0), classes - 1), 0, classes - 1)
            weight = constant(1, logs.dtype) if weights is None else wide(weights[(c,)])
            loss = -logs[(i[0], c, *i[1:])] * weight
            return select(ignored, 0, loss), select(ignored, 0, weight)

        if self.reduction == "none":
            return lambda *i: cast(parts(*i)[0], y.dtype)
        total = over("sum", labels.shape, lambda *i: parts(*i)[0])
        if self.reduction == "mean":
            total = total / over("sum", labels.shape, lambda *i: parts(*i)[1])
        return lambda: cast(total, y.dtype)

    def _loss(self, logs: Value, labels: Value, weights: Value | None = None) -> Value:
        """`_evaluate` as graph code."""
        axis = const(np.array([1], np.int64))
        safe, ignored = labels, None
        if self.ignore_index is not None:
            ignored = Equal().apply((labels, lift(self.ignore_index, labels)))[0]
            safe = Where().apply((ignored, zeros_like(labels), labels))[0]
        column = Unsqueeze().apply((safe, axis))[0]
        picked: Value = Squeeze().apply((GatherElements(1).apply((logs, column))[0], axis))[0]
        weight = zeros_like(picked) + 1 if weights is None else Gather(0).apply((weights, safe))[0]
        losses = -(picked * weight)
        if ignored is not None:
            weight = Where().apply((ignored, zeros_like(weight), weight))[0]
            losses = Where().apply((ignored, zeros_like(losses), losses))[0]
        if self.reduction == "none":
            return losses
        total = losses.sum()
        return total / weight.sum() if self.reduction == "mean" else total

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


# -- the ops ----------------------------------------------------------------------------------------------------------
class NegativeLogLikelihoodLoss(ClassLoss):
    """l = −weight[c] · x[n, c, …] for the label c of each position. ONNX NegativeLogLikelihoodLoss-22.

    Attributes:
        reduction: "none", "sum", or "mean", which divides the sum by that of the weights.
        ignore_index: positions with this label count for nothing.
    """

    reduction: str = "mean"
    ignore_index: int | None = None

    def infer(self, x: Value, target: Value, weight: Value | None = None) -> TensorType:
        return self._loss_type(x, target, weight)

    def eval(self, x: Array, target: Array, weight: Array | None = None) -> Array:
        return self._evaluate(widen(x), target, weight).astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source, target: Source, weight: Source | None = None) -> Element:
        return self._element(y, _widened(x, lambda i: wide(x[i])), target, weight)

    def grad(self, dy: Value, y: Value, *xs: Value | None) -> Sequence[Value | None]:
        return decomposed_grad(self._loss, dy, y, xs)


class SoftmaxCrossEntropyLoss(ClassLoss):
    """l = −weight[c] · log softmax(scores)[n, c, …] for the label c of each position; and log softmax(scores).

    ONNX SoftmaxCrossEntropyLoss-13.

    Attributes:
        reduction: "none", "sum", or "mean", which divides the sum by that of the weights.
        ignore_index: positions with this label count for nothing.
        outputs: how many of the loss and log softmax(scores) are wanted.
    """

    reduction: str = "mean"
    ignore_index: int | None = None
    outputs: int = field(default=1, metadata={"onnx": False})

    def infer(self, scores: Value, labels: Value, weights: Value | None = None) -> tuple[TensorType, ...]:
        if not 1 <= self.outputs <= 2:
            raise InvalidModel(f"{self.outputs} outputs are wanted, expected 1 or 2")
        return (self._loss_type(scores, labels, weights), scores.tensor)[: self.outputs]

    def eval(self, scores: Array, labels: Array, weights: Array | None = None) -> tuple[Array, ...]:
        wide = widen(scores)
        logs = wide - np.max(wide, axis=1, keepdims=True, initial=-np.inf)
        logs -= np.log(np.sum(np.exp(logs), axis=1, keepdims=True))
        loss = self._evaluate(logs, labels, weights)
        return tuple(y.astype(scores.dtype, copy=False) for y in (loss, logs))[: self.outputs]

    def element(
        self, y: TensorType | tuple[TensorType, ...], scores: Source, labels: Source, weights: Source | None = None
    ) -> Element | tuple[Element, ...]:
        classes = scores.shape[1:2]

        def log(index: tuple[Linear, ...]) -> Expr:
            n, _, *rest = index
            top = over("max", classes, lambda c: wide(scores[(n, c, *rest)]))
            total = over("sum", classes, lambda c: call("exp", wide(scores[(n, c, *rest)]) - top))
            return wide(scores[index]) - top - call("log", total)

        types = y if isinstance(y, tuple) else (y,)
        loss = self._element(types[0], _widened(scores, log), labels, weights)
        return (loss, lambda *i: cast(log(i), scores.dtype)) if len(types) > 1 else loss

    def grad(self, dy: Any, y: Any, *xs: Value | None) -> Sequence[Value | None]:
        return decomposed_grad(self._results, dy, y, xs)

    def _results(self, scores: Value, labels: Value, weights: Value | None = None) -> list[Value]:
        """The outputs as graph code."""
        logs = LogSoftmax(1).apply((scores,))[0]
        return [self._loss(logs, labels, weights), logs][: self.outputs]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(5 * elements(xs[0]), traffic(xs, ys))


def _widened(x: Source, element: Callable[[tuple[Linear, ...]], Expr]) -> Source:
    """A tensor of the shape of `x`, computed in the type in which functions of x are."""
    return Source(float64 if x.dtype is float64 else float32, x.shape, element)
