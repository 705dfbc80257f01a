"""Sequences of tensors. At run time a sequence is a list of arrays, and no op changes one in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.interpret import interpret
from graphc.ir import Cost, Graph, Op, Value, substitute
from graphc.limits import check_deadline, check_tensor
from graphc.ops.base import Array, Dim, check_dtype, check_rank, const, normalize_axis, per_output
from graphc.ops.bodies import body_cost, fitted_inputs, leaving
from graphc.ops.generate import zeros_like
from graphc.ops.logic import where
from graphc.ops.movement import check_parts
from graphc.ops.shape import COMMON, at_run_time, shape_of, size_of
from graphc.ops.vjp import gradient_graph
from graphc.types import DType, SequenceType, TensorType, Type, float32, int32, int64, join, same_type


def element_of(x: Value, what: str = "input_sequence") -> TensorType:
    """The type of an element of the sequence `x`. Raises `TypeMismatch`.

    Its unknown sizes are fresh, because each element may have its own.
    """
    if not isinstance(x.type, SequenceType) or not isinstance(x.type.element, TensorType):
        raise TypeMismatch(f"{what} is {x.type}, expected a sequence of tensors", value=x.name)
    (element,) = leaving((x.type.element,), ())
    assert isinstance(element, TensorType)
    return element


def _joined(*types: TensorType) -> SequenceType:
    element: Type = types[0]
    for t in types[1:]:
        if t.dtype is not types[0].dtype:
            raise TypeMismatch(f"element types differ: {types[0]} and {t}")
        element = join(element, t)
    return SequenceType(element)


def check_position(position: Value | None) -> None:
    """Raise unless `position` is one integer."""
    if position is None:
        return
    check_dtype(position, (int32, int64), "position")
    if position.shape is not None and any(isinstance(n, int) and n != 1 for n in position.shape):
        raise ShapeError(f"position is {position.tensor}, expected a single element", value=position.name)


def _index(position: Array, size: int, what: str) -> int:
    """`position` counted from the front, which must be below `size`."""
    if position.size != 1:
        raise ExecutionError(f"position has shape {list(position.shape)}, expected a single element")
    at = int(position.item())
    if not -size <= at < size:
        raise ExecutionError(f"position {at} is out of range for {what}, valid {-size}..{size - 1}")
    return at + size if at < 0 else at


class SequenceConstruct(Op):
    """y = [inputs…]. ONNX SequenceConstruct-11."""

    def infer(self, *inputs: Value) -> SequenceType:
        if not inputs:
            raise InvalidModel("needs at least one input")
        return _joined(*(x.tensor for x in inputs))

    def eval(self, *inputs: Array) -> list[Array]:
        return list(inputs)

    def grad(self, dy: Value, y: Value, *inputs: Value) -> Sequence[Value | None]:
        return [_taken(dy, const(i, int64), x) for i, x in enumerate(inputs)]


class SequenceEmpty(Op):
    """y = []. ONNX SequenceEmpty-11.

    Attributes:
        dtype: the element type of the tensors that the sequence may hold; float32 by default.
    """

    dtype: DType | None = None

    def infer(self) -> SequenceType:
        return SequenceType(TensorType(self.dtype or float32, None))

    def eval(self) -> list[Array]:
        return []

    def grad(self, dy: Value, y: Value) -> Sequence[Value | None]:
        return []


class SequenceAt(Op):
    """y = input_sequence[position]; a negative position counts from the end. ONNX SequenceAt-11."""

    def infer(self, input_sequence: Value, position: Value) -> TensorType:
        check_position(position)
        return element_of(input_sequence)

    def eval(self, input_sequence: list[Array], position: Array) -> Array:
        n = len(input_sequence)
        return input_sequence[_index(position, n, f"a sequence of {n}")]

    def grad(self, dy: Value, y: Value, input_sequence: Value, position: Value) -> Sequence[Value | None]:
        at = _counted(position, input_sequence)
        others = SequenceErase().apply((_zeros_of(input_sequence), at))[0]
        return [SequenceInsert().apply((others, dy, at))[0], None]


class SequenceInsert(Op):
    """y = input_sequence with `tensor` before `position`, by default at the end. ONNX SequenceInsert-11."""

    def infer(self, input_sequence: Value, tensor: Value, position: Value | None = None) -> SequenceType:
        check_position(position)
        return _joined(element_of(input_sequence), tensor.tensor)

    def eval(self, input_sequence: list[Array], tensor: Array, position: Array | None = None) -> list[Array]:
        n = len(input_sequence)
        at = n
        if position is not None:
            # n itself is valid here: one more than for reading.
            at = n if position.size == 1 and position.item() == n else _index(position, n, f"a sequence of {n}")
        return [*input_sequence[:at], tensor, *input_sequence[at:]]

    def grad(
        self, dy: Value, y: Value, input_sequence: Value, tensor: Value, position: Value | None = None
    ) -> Sequence[Value | None]:
        at = const(-1, int64) if position is None else _counted(position, input_sequence)
        gradients = [SequenceErase().apply((dy, at))[0], _taken(dy, at, tensor)]
        return gradients if position is None else [*gradients, None]


class SequenceErase(Op):
    """y = input_sequence without the element at `position`, by default the last. ONNX SequenceErase-11."""

    def infer(self, input_sequence: Value, position: Value | None = None) -> SequenceType:
        check_position(position)
        element_of(input_sequence)
        return SequenceType(input_sequence.type.element)  # type: ignore[union-attr]

    def eval(self, input_sequence: list[Array], position: Array | None = None) -> list[Array]:
        n = len(input_sequence)
        at = _index(np.array(-1) if position is None else position, n, f"a sequence of {n}")
        return [*input_sequence[:at], *input_sequence[at + 1 :]]

    def grad(self, dy: Value, y: Value, input_sequence: Value, position: Value | None = None) -> Sequence[Value | None]:
        at = _counted(const(-1, int64) if position is None else position, input_sequence)
        gone = zeros_like(SequenceAt().apply((input_sequence, at))[0])
        dx = SequenceInsert().apply((dy, gone, at))[0]
        return [dx] if position is None else [dx, None]


class SequenceLength(Op):
    """y = the number of elements. ONNX SequenceLength-11."""

    def infer(self, input_sequence: Value) -> TensorType:
        element_of(input_sequence)
        return TensorType(int64, ())

    def eval(self, input_sequence: list[Array]) -> Array:
        return np.array(len(input_sequence), np.int64)


class ConcatFromSequence(Op):
    """y = the elements one after the other along `axis`; with `new_axis`, stacked there. ONNX ConcatFromSequence-11."""

    axis: int
    new_axis: bool = False

    def infer(self, input_sequence: Value) -> TensorType:
        element = element_of(input_sequence)
        if element.shape is None:
            return element
        axis = normalize_axis(self.axis, len(element.shape) + self.new_axis)
        after = element.shape[axis:] if self.new_axis else element.shape[axis + 1 :]
        return TensorType(element.dtype, (*element.shape[:axis], unknown(), *after))

    def eval(self, input_sequence: list[Array]) -> Array:
        if not input_sequence:
            raise ExecutionError("the sequence is empty, so that the shape of the result is not known")
        check_tensor((sum(x.size for x in input_sequence),), input_sequence[0].dtype.itemsize, "joined tensor")
        if self.new_axis:
            return np.stack(input_sequence, self.axis)
        return np.concatenate(input_sequence, self.axis)

    def grad(self, dy: Value, y: Value, input_sequence: Value) -> Sequence[Value | None]:
        if self.new_axis:
            return [SplitToSequence(self.axis, False).apply((dy,))[0]]
        element = Value(element_of(input_sequence), name="x")
        axis = self.axis if dy.rank is None else normalize_axis(self.axis, dy.rank)
        if axis < 0:
            raise CompileError("the gradient needs the rank of the elements", hint="Give the graph's inputs shapes")
        sizes = SequenceMap(Graph([element], [size_of(element, axis)])).apply((input_sequence,))[0]
        return [SplitToSequence(self.axis).apply((dy, ConcatFromSequence(0).apply((sizes,))[0]))[0]]


class SplitToSequence(Op):
    """y = the pieces of x along `axis`: each of size `split` (the last may be smaller), or of sizes split[k].

    ONNX SplitToSequence-24.

    Attributes:
        keepdims: without `split`, pieces have size 1; False takes the axis away from them.
    """

    axis: int = 0
    keepdims: bool = True

    def infer(self, input: Value, split: Value | None = None) -> SequenceType:
        check_dtype(input, COMMON, "input")
        if split is not None:
            check_dtype(split, (int32, int64), "split")
            check_rank(split, "split", 0, 1)
        if input.shape is None:
            return SequenceType(input.tensor)
        axis = normalize_axis(self.axis, len(input.shape))
        before, size, after = input.shape[:axis], input.shape[axis], input.shape[axis + 1 :]
        if split is None:
            return SequenceType(TensorType(input.dtype, (*before, *([1] if self.keepdims else []), *after)))
        piece: Dim = unknown()
        if split.const is not None and isinstance(size, int):
            parts = set(chunks(size, split.const))
            piece = parts.pop() if len(parts) == 1 else piece
        return SequenceType(TensorType(input.dtype, (*before, piece, *after)))

    def eval(self, input: Array, split: Array | None = None) -> list[Array]:
        size = input.shape[self.axis]
        parts = [1] * size if split is None else at_run_time(chunks, size, split)
        if not parts:
            return []
        pieces = np.split(input, np.cumsum(parts)[:-1], self.axis)
        if split is None and not self.keepdims:
            return [np.squeeze(p, self.axis) for p in pieces]
        return list(pieces)

    def grad(self, dy: Value, y: Value, input: Value, split: Value | None = None) -> Sequence[Value | None]:
        dx = ConcatFromSequence(self.axis, split is None and not self.keepdims).apply((dy,))[0]
        dx = dx.reshape(shape_of(input))
        return [dx] if split is None else [dx, None]


def chunks(size: int, split: Array) -> list[int]:
    """The sizes of the pieces. Raises `ShapeError` when `split` does not fit."""
    if split.ndim:
        parts = [int(n) for n in split]
        check_parts([*parts], size)
        return parts
    step = int(split)
    if step <= 0:
        raise ShapeError(f"split is {step}, expected at least 1")
    return [min(step, size - at) for at in range(0, size, step)]


class SequenceMap(Op):
    """y[i] = body(input_sequence[i], …): each further input that is a sequence gives its i-th element too, tensors
    and captured values are passed as they are. ONNX SequenceMap-17.

    Attributes:
        body: a graph with one input for each input of the op, whose outputs are tensors.
        captured: how many of the inputs, at the end, are captured values.
    """

    body: Graph
    captured: int = field(default=0, metadata={"onnx": False})

    def _is_mapped(self, i: int, count: int, type: Type) -> bool:
        return i == 0 or (i < count - self.captured and isinstance(type, SequenceType))

    def refine(self, xs: Sequence[Value | None]) -> Op:
        given = [x for x in xs if x is not None]
        if len(given) != len(self.body.inputs):
            raise InvalidModel(f"body takes {len(self.body.inputs)} values, got {len(given)}")
        types: list[Type] = []
        contents: list[Array | None] = []
        renamed: dict[str, str] = {}
        for i, (x, v) in enumerate(zip(given, self.body.inputs, strict=True)):
            if self._is_mapped(i, len(given), x.type):
                element = element_of(x, f"input {i}")
                # An element's unknown sizes are its own: the body may call them as it does already.
                types.append(v.type if same_type(v.type, element, renamed) else element)
                contents.append(None)
            else:
                types.append(x.type)
                contents.append(x.content)
        inputs = fitted_inputs(self.body, types, contents)
        if inputs is None:
            return self
        outputs = substitute(self.body, dict(zip(self.body.inputs, inputs, strict=True)))
        return replace(self, body=Graph(inputs, outputs, self.body.output_names, name=self.body.name))

    def infer(self, input_sequence: Value, *additional_inputs: Value) -> tuple[Type, ...]:
        for v in self.body.outputs:
            if not isinstance(v.type, TensorType):
                raise TypeMismatch(f"body gives {v.type}, expected tensors", value=v.name)
        types = [v.type for v in self.body.outputs]
        return tuple(SequenceType(t) for t in leaving(types, (input_sequence, *additional_inputs)))

    def eval(self, input_sequence: list[Array], *additional_inputs: Any) -> tuple[list[Array], ...]:
        given = (input_sequence, *additional_inputs)
        mapped = [isinstance(x, list) and i < len(given) - self.captured for i, x in enumerate(given)]
        lengths = [len(x) for x, m in zip(given, mapped, strict=True) if m]
        if len(set(lengths)) > 1:
            raise ExecutionError(f"the sequences have different lengths: {lengths}")
        results: tuple[list[Array], ...] = tuple([] for _ in self.body.outputs)
        for i in range(len(input_sequence)):
            check_deadline()
            values = interpret(self.body, [x[i] if m else x for x, m in zip(given, mapped, strict=True)])
            for result, value in zip(results, values, strict=True):
                result.append(value)
        return results

    def grad(self, dy: Any, y: Any, *xs: Value) -> Sequence[Value | None]:
        """The body's gradient, mapped over the sequences and those of dy; what all elements read sums over them."""
        dys = per_output(dy)
        body, found = gradient_graph(self.body, [d is not None for d in dys])
        mapped = [self._is_mapped(i, len(xs), x.type) for i, x in enumerate(xs)]
        # The seeds are mapped, so they come before the captured values.
        first = len(xs) - self.captured
        inputs = [*body.inputs[:first], *body.inputs[len(xs) :], *body.inputs[first : len(xs)]]
        backwards = SequenceMap(Graph(inputs, body.outputs, name=body.name), self.captured)
        results = iter(backwards.apply([*xs[:first], *(d for d in dys if d is not None), *xs[first:]]))
        gradients = [next(results) if f else None for f in found]
        return [g if m or g is None else _total(g, x) for x, g, m in zip(xs, gradients, mapped, strict=True)]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """The body's, an unknown number of times."""
        return body_cost(self.body, unknown())


# -- gradients --------------------------------------------------------------------------------------------------------
def added(a: Value, b: Value) -> Value:
    """The sums of the elements of two sequences."""
    x, y = (Value(element_of(a), name=name) for name in "xy")
    return SequenceMap(Graph([x, y], [x + y])).apply((a, b))[0]


def _taken(sequence: Value, position: Value, like: Value) -> Value:
    """An element of `sequence`, which has the shape of `like`."""
    return SequenceAt().apply((sequence, position))[0].reshape(shape_of(like))


def _counted(position: Value, sequence: Value) -> Value:
    """`position` counted from the front of `sequence`."""
    at = (position if position.dtype is int64 else position.cast(int64)).reshape([])
    return where(at < 0, at + SequenceLength().apply((sequence,))[0], at)


def _zeros_of(sequence: Value) -> Value:
    """A sequence of zeros in the shapes of the elements."""
    element = Value(element_of(sequence), name="x")
    return SequenceMap(Graph([element], [zeros_like(element)])).apply((sequence,))[0]


def _total(sequence: Value, like: Value) -> Value:
    """The sum of the elements, each of the shape of `like`; zeros for an empty sequence."""
    filled = SequenceInsert().apply((sequence, zeros_like(like)))[0]
    return ConcatFromSequence(0, new_axis=True).apply((filled,))[0].sum([0]).reshape(shape_of(like))
