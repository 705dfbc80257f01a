"""Optionals: a value or nothing. At run time nothing is None."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphc.errors import ExecutionError, InvalidModel, TypeMismatch
from graphc.expr import Element, Source, constant
from graphc.ir import Op, Value
from graphc.ops.base import Array
from graphc.types import OptionalType, TensorType, Type, bool_


class Optional(Op):
    """y = an optional that holds x; without x an empty one. ONNX Optional-28.

    Attributes:
        type: the element type; needed without an input.
    """

    type: Type | None = None

    def infer(self, input: Value | None = None) -> OptionalType:
        if input is None:
            if self.type is None:
                raise InvalidModel("needs an input or the attribute type")
            return OptionalType(self.type)
        if isinstance(input.type, OptionalType):
            raise TypeMismatch(f"input is {input.type}, expected a tensor or a sequence", value=input.name)
        return OptionalType(input.type)

    def eval(self, input: Any = None) -> Any:
        return input

    def grad(self, dy: Value, y: Value, *input: Value) -> Sequence[Value | None]:
        return [OptionalGetElement().apply((dy,))[0] for _ in input]


class OptionalGetElement(Op):
    """y = what the optional holds, which must not be empty; x itself when it is none. ONNX OptionalGetElement-28."""

    def infer(self, input: Value) -> Type:
        return input.type.element if isinstance(input.type, OptionalType) else input.type

    def eval(self, input: Any) -> Any:
        if input is None:
            raise ExecutionError("the optional is empty")
        return input

    def element(self, y: TensorType, input: Source) -> Element:
        return lambda *i: input[i]

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [Optional().apply((dy,))[0] if isinstance(input.type, OptionalType) else dy]


class OptionalHasElement(Op):
    """y = whether the optional holds something; false without an input. ONNX OptionalHasElement-28."""

    def infer(self, input: Value | None = None) -> TensorType:
        return TensorType(bool_, ())

    def eval(self, input: Any = None) -> Array:
        return np.array(input is not None)

    def element(self, y: TensorType, input: Source | None = None) -> Element:
        return lambda: constant(input is not None, bool_)
