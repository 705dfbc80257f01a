"""Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

import numpy as np

from graphc.errors import CompileError, ExecutionError
from graphc.expr import Element, Source, constant
from graphc.ops.base import Array, Op, TensorType, Value, check_dtype, check_rank, per_output
from graphc.ops.cast import convert
from graphc.ops.logic import where
from graphc.types import FLOAT8, FLOATS, bool_, dtype_of, float32

_ALLOWED = FLOATS | FLOAT8


class Dropout(Op):
    """x · mask / (1 − ratio), where the mask keeps an element with probability 1 − ratio. ONNX Dropout-22.

    Only in training mode; otherwise, and for a ratio of 0, x itself. The second output is the mask. It is drawn from
    NumPy's RandomState(seed), as in ONNX's reference implementation; without a seed it differs from run to run.
    """

    seed: int | None = None
    outputs: int = field(default=1, metadata={"onnx": False})
    pure: ClassVar[bool] = False

    def infer(
        self, x: Value, ratio: Value | None = None, training_mode: Value | None = None
    ) -> TensorType | tuple[TensorType, ...]:
        check_dtype(x, _ALLOWED, "input")
        if ratio is not None:
            check_dtype(ratio, _ALLOWED, "ratio")
            check_rank(ratio, "ratio", 0, 1)
        if training_mode is not None:
            check_dtype(training_mode, {bool_}, "training_mode")
            check_rank(training_mode, "training_mode", 0, 1)
        return (x.tensor, TensorType(bool_, x.shape))[: self.outputs]

    def eval(self, x: Array, ratio: Array | None = None, training_mode: Array | None = None) -> tuple[Array, ...]:
        training = training_mode is not None and bool(training_mode.reshape(()))
        probability = 0.5 if ratio is None else float(convert(ratio.reshape(()), float32))
        if not training or probability == 0:
            return (x, np.ones(x.shape, bool))[: self.outputs]
        if not 0 <= probability < 1:
            raise ExecutionError(f"ratio is {probability}, expected a number from 0 to below 1")
        mask = np.asarray(np.random.RandomState(self.seed).uniform(0, 1, x.shape) >= probability)
        wide = x if x.dtype == np.float64 else x.astype(np.float32)
        kept = np.where(mask, wide * (1 / (1 - probability)), wide.dtype.type(0))
        return (convert(kept, dtype_of(x.dtype)), mask)[: self.outputs]

    def element(
        self, y: object, x: Source, ratio: Source | None = None, training_mode: Source | None = None
    ) -> Element | tuple[Element, ...]:
        trains = training_mode is not None and (training_mode.const is None or bool(training_mode.const.any()))
        drops = ratio is None or ratio.const is None or bool(ratio.const.any())
        if trains and drops:
            raise CompileError("draws the numbers of NumPy's generators")
        if self.outputs == 1:
            return lambda *i: x[i]
        return (lambda *i: x[i]), (lambda *i: constant(True, bool_))

    def is_pure(self, *xs: Value | None) -> bool:
        """Outside training it is the identity."""
        training_mode = xs[2] if len(xs) > 2 else None
        return training_mode is None or (training_mode.const is not None and not training_mode.const.any())

    def grad(
        self,
        dy: Value | tuple[Value | None, ...],
        y: Value | tuple[Value, ...],
        x: Value,
        ratio: Value | None = None,
        training_mode: Value | None = None,
    ) -> Sequence[Value | None]:
        """That of x; the ratio, which also decides where the mask is zero, has none."""
        given = [None] * (0 if ratio is None and training_mode is None else 1 if training_mode is None else 2)
        first = per_output(dy)[0]
        if first is None:
            return [None, *given]
        if training_mode is None or self.is_pure(x, ratio, training_mode):
            return [first, *given]
        if self.seed is not None:  # the same seed draws the same mask
            return [Dropout(self.seed).apply((first, ratio, training_mode))[0], *given]
        if not isinstance(y, tuple):
            raise CompileError("the gradient needs the mask", hint="Give Dropout a seed, or use its second output")
        keep = 0.5 if ratio is None else 1 - ratio.cast(x.dtype).reshape([])
        dropped = where(y[1], first / keep, 0)
        return [where(training_mode.reshape([]), dropped, first), *given]
