"""Operations on the bits of integers, with broadcasting."""

from __future__ import annotations

import numpy as np

from graphc.expr import Expr, call
from graphc.ops.base import Array, Binary, InvalidModel, TensorType, Unary, Value
from graphc.types import INTEGERS


class BitwiseAnd(Binary):
    """a & b, bit by bit. ONNX BitwiseAnd-18."""

    dtypes = INTEGERS

    def eval(self, a: Array, b: Array) -> Array:
        return np.bitwise_and(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a & b


class BitwiseOr(Binary):
    """a | b, bit by bit. ONNX BitwiseOr-18."""

    dtypes = INTEGERS

    def eval(self, a: Array, b: Array) -> Array:
        return np.bitwise_or(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a | b


class BitwiseXor(Binary):
    """a ^ b, bit by bit. ONNX BitwiseXor-18."""

    dtypes = INTEGERS

    def eval(self, a: Array, b: Array) -> Array:
        return np.bitwise_xor(a, b)

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return a ^ b


class BitwiseNot(Unary):
    """~x, bit by bit. ONNX BitwiseNot-18."""

    dtypes = INTEGERS

    def eval(self, x: Array) -> Array:
        return np.invert(x)

    def scalar(self, x: Expr) -> Expr:
        return ~x


class BitShift(Binary):
    """x shifted by y bits to the LEFT or the RIGHT; to the right, signed numbers keep their sign. ONNX BitShift-28.

    Where y is negative or at least the number of bits, nothing of x is left but its sign: 0, and −1 for a negative x
    that is shifted to the right.
    """

    direction: str
    dtypes = INTEGERS

    def infer(self, x: Value, y: Value) -> TensorType:
        if self.direction not in ("LEFT", "RIGHT"):
            raise InvalidModel(f"direction is '{self.direction}', expected LEFT or RIGHT")
        return super().infer(x, y)

    def eval(self, x: Array, y: Array) -> Array:
        bits = 8 * x.dtype.itemsize
        outside = (y < 0) | (y >= bits)
        inside: Array = np.where(outside, 0, y).astype(y.dtype)
        if self.direction == "LEFT":
            return np.where(outside, np.zeros_like(x), np.left_shift(x, inside))
        gone = np.right_shift(x, bits - 1) if x.dtype.kind == "i" else np.zeros_like(x)
        return np.where(outside, gone, np.right_shift(x, inside))

    def scalar(self, a: Expr, b: Expr) -> Expr:
        return call("shl" if self.direction == "LEFT" else "shr", a, b)
