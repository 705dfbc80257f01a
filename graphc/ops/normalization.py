"""Normalisations to zero mean and unit variance: y = x̂ · scale + bias, x̂ = (x − mean) / √(variance + epsilon)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from math import prod

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import CompileError, ExecutionError
from graphc.expr import Element, Expr, Source, call, cast, over, wide
from graphc.index import Linear, linear
from graphc.ir import Cost, elements, traffic
from graphc.limits import current_limits
from graphc.ops.base import (
    Array,
    InvalidModel,
    Op,
    Shape,
    ShapeError,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    normalize_axis,
    per_output,
    unbroadcast,
)
from graphc.ops.elementwise import widen
from graphc.ops.generate import zeros_like
from graphc.ops.math import Sqrt
from graphc.ops.reduction import square
from graphc.ops.reshaping import reshape_like
from graphc.ops.shape import Size, at_run_time
from graphc.types import BY_ONNX, FLOATS, DType, bfloat16, count, float16, float32, float64, unify


# -- what the family shares -------------------------------------------------------------------------------------------
def standardize(x: Array, axes: tuple[int, ...], epsilon: float) -> tuple[Array, Array, Array]:
    """x̂, the mean and 1 / √(variance + epsilon) over `axes`, which stay as axes of size 1. x̂ is a new array."""
    mean = np.mean(x, axis=axes, keepdims=True)
    centred = np.asarray(x - mean)
    variance = np.mean(np.square(centred), axis=axes, keepdims=True)
    inverse = np.asarray(1 / np.sqrt(variance + x.dtype.type(epsilon)))
    centred *= inverse
    return centred, mean, inverse


def moments(x: Callable[..., Expr], extents: Sequence[int]) -> tuple[Expr, Expr]:
    """The mean and the variance of `x(i, j, …)` over 0 ≤ i < extents[0], …"""
    mean = average(x, extents)
    return mean, average(lambda *k: square(x(*k) - mean), extents)


def average(x: Callable[..., Expr], extents: Sequence[int]) -> Expr:
    """The mean of `x(i, j, …)` over 0 ≤ i < extents[0], …"""
    return over("sum", extents, x) / float(prod(extents))


def deviation(variance: Expr, epsilon: float) -> Expr:
    """√(variance + epsilon)."""
    return call("sqrt", variance + epsilon)


def standardized(x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value]:
    """`standardize` as graph code: x̂ and 1 / √(variance + epsilon)."""
    centred = x - x.mean(axes, keepdims=True)
    variance = (centred * centred).mean(axes, keepdims=True)
    inverse = 1 / _sqrt(variance + epsilon)
    return centred * inverse, inverse


def standardize_slope(dy: Value, y: Value, inverse: Value, axes: Sequence[int]) -> Value:
    """The gradient of x for y = x̂: the part of dy that neither shifts nor stretches y, divided by the deviation."""
    return inverse * (dy - dy.mean(axes, keepdims=True) - y * (dy * y).mean(axes, keepdims=True))


def _sqrt(x: Value) -> Value:
    root: Value = Sqrt().apply((x,))[0]
    return root


def in_dtype(x: Value, dtype: DType) -> Value:
    """`x` as `dtype`."""
    return x if x.dtype is dtype else x.cast(dtype)


def wide_dtype(x: Value) -> DType:
    """The element type in which `eval` computes."""
    return wide_type(x.dtype)


def wide_type(dtype: DType) -> DType:
    """The element type in which tensors of `dtype` are computed."""
    return float32 if dtype in (float16, bfloat16) else dtype


def known_rank(x: Value) -> int:
    """The rank, without which there is no gradient. Raises `CompileError`."""
    if x.shape is None:
        raise CompileError("the gradient of a normalisation needs a known rank", hint="Give the graph's inputs shapes")
    return len(x.shape)


def column(parameter: Array, x: Array) -> Array:
    """One number for each channel of `x`, in the shape that broadcasts with it and the type to compute in."""
    channels = x.shape[1] if x.ndim > 1 else 1
    if parameter.shape != (channels,):
        raise ExecutionError(f"a parameter has shape {list(parameter.shape)}, expected [{channels}], one for a channel")
    return parameter.astype(x.dtype, copy=False).reshape(channels, *[1] * (x.ndim - 2))


def columned(parameter: Value, x: Value) -> Value:
    """`column` as graph code."""
    return in_dtype(parameter, x.dtype).reshape([-1, *[1] * max(known_rank(x) - 2, 0)])


def check_channels(x: Value, **parameters: Value) -> Dim | None:
    """The number of channels, axis 1 of `x`, which must be the length of each parameter. None if it is not known."""
    channels: Dim | None = None
    if x.shape is not None:
        channels = x.shape[1] if len(x.shape) > 1 else 1
    for name, p in parameters.items():
        check_rank(p, name, 1)
        if p.shape is None:
            continue
        try:
            channels = p.shape[0] if channels is None else unify(channels, p.shape[0])
        except ShapeError as e:
            raise ShapeError(f"{name} is {p.tensor}, expected [{channels}], one for each channel of {x.tensor}") from e
    return channels


class Normalization(Op):
    """Counts eight operations for an element: mean, variance, scaling."""

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(8 * elements(xs[0]), traffic(xs, ys))


# -- over the batch ---------------------------------------------------------------------------------------------------
class BatchNormalization(Op):
    """y = (x − mean) / √(var + epsilon) · scale + b for each channel, which is axis 1. ONNX BatchNormalization-15.

    Attributes:
        epsilon: what is added to the variance.
        momentum: of the running mean and variance: new = old · momentum + (that of the batch) · (1 − momentum).
        training_mode: normalise with mean and variance of the batch, and return the running ones too.
        outputs: how many of y, running mean and running variance are wanted.
    """

    epsilon: float = 1e-5
    momentum: float = 0.9
    training_mode: bool = False
    outputs: int = field(default=1, metadata={"onnx": False})

    def infer(self, x: Value, scale: Value, b: Value, mean: Value, var: Value) -> tuple[TensorType, ...]:
        for name, v in (("x", x), ("scale", scale), ("b", b), ("mean", mean), ("var", var)):
            check_dtype(v, FLOATS, name)
        check_same_dtype(scale, b)
        check_same_dtype(mean, var)
        check_rank(x, "x", 1, current_limits().max_rank)
        if not 1 <= self.outputs <= (3 if self.training_mode else 1):
            raise InvalidModel(f"{self.outputs} outputs are wanted, training_mode={int(self.training_mode)}")
        channels = check_channels(x, scale=scale, b=b, mean=mean, var=var)
        shape = x.shape
        if shape is not None and len(shape) > 1 and channels is not None:
            shape = (shape[0], channels, *shape[2:])
        running = TensorType(mean.dtype, (unknown() if channels is None else channels,))
        return (TensorType(x.dtype, shape), running, running)[: self.outputs]

    def eval(self, x: Array, scale: Array, b: Array, mean: Array, var: Array) -> tuple[Array, ...]:
        wide = widen(x)
        k, shift, old_mean, old_var = (column(p, wide) for p in (scale, b, mean, var))
        epsilon = wide.dtype.type(self.epsilon)
        if not self.training_mode:
            y = np.asarray(wide - old_mean)
            y *= k / np.sqrt(old_var + epsilon)
            y += shift
            return (y.astype(x.dtype, copy=False),)
        axes = self._axes(x.ndim)
        batch_mean = np.mean(wide, axis=axes, keepdims=True)
        y = np.asarray(wide - batch_mean)
        batch_var = np.mean(np.square(y), axis=axes, keepdims=True)
        y *= k / np.sqrt(batch_var.reshape(k.shape) + epsilon)
        y += shift
        results = [y.astype(x.dtype, copy=False)]
        for old, new in ((mean, batch_mean), (var, batch_var)):
            running = widen(old) * self.momentum + new.reshape(-1) * (1 - self.momentum)
            results.append(np.asarray(running).astype(old.dtype, copy=False))
        return tuple(results[: self.outputs])

    def element(
        self,
        y: TensorType | tuple[TensorType, ...],
        x: Source,
        scale: Source,
        b: Source,
        mean: Source,
        var: Source,
    ) -> Element | tuple[Element, ...]:
        exact = wide_type(x.dtype)
        axes = self._axes(len(x.shape))
        extents = [x.shape[a] for a in axes]

        def batch(channel: Linear) -> tuple[Expr, Expr]:
            def term(*k: Linear) -> Expr:
                at = dict(zip(axes, k, strict=True))
                return wide(x[[at.get(a, channel) for a in range(len(x.shape))]])

            return moments(term, extents)

        def normal(*i: Linear) -> Expr:
            c = i[1] if len(i) > 1 else linear(0)
            k, shift, old_mean, old_var = (cast(p[c], exact) for p in (scale, b, mean, var))
            centre, spread = batch(c) if self.training_mode else (old_mean, old_var)
            result = (wide(x[i]) - centre) * (k / deviation(spread, self.epsilon)) + shift
            return cast(result, x.dtype)

        def running(old: Source, which: int) -> Element:
            def element(c: Linear) -> Expr:
                before, new = wide(old[c]), batch(c)[which]
                kept = cast(before * self.momentum, _joined(before, new))
                return cast(kept + cast(new * (1 - self.momentum), kept.dtype), old.dtype)

            return element

        return (normal, running(mean, 0), running(var, 1))[: self.outputs]

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(i for i in range(rank) if i != 1)

    def grad(
        self,
        dy: Value | Sequence[Value | None],
        y: Value | Sequence[Value],
        x: Value,
        scale: Value,
        b: Value,
        mean: Value,
        var: Value,
    ) -> Sequence[Value | None]:
        dys = per_output(dy)
        axes = self._axes(known_rank(x))
        wide = in_dtype(x, wide_dtype(x))
        dz = zeros_like(wide) if dys[0] is None else in_dtype(dys[0], wide.dtype)
        k = columned(scale, wide)
        if not self.training_mode:
            inverse = 1 / _sqrt(columned(var, wide) + self.epsilon)
            normal = (wide - columned(mean, wide)) * inverse
            dscale, db = _sum_like(dz * normal, scale, axes), _sum_like(dz, b, axes)
            factor = k * inverse
            dmean = _sum_like(-(dz * factor), mean, axes)
            dvar = _sum_like(dz * normal * factor * inverse * -0.5, var, axes)
            return [in_dtype(dz * factor, x.dtype), dscale, db, dmean, dvar]
        centred, _, variance = self._of_batch(wide)
        inverse = 1 / _sqrt(variance + self.epsilon)
        # In sums over channels and one function of elements: so it reads x and dy twice, and writes once.
        db, slope = dz.sum(axes, keepdims=True), (dz * centred).sum(axes, keepdims=True)
        n = Size().apply((wide,))[0].cast(wide.dtype) / Size().apply((mean,))[0].cast(wide.dtype)
        stretch, shift, fresh = slope * (inverse * inverse / n), db / n, (1 - self.momentum) / n
        factor = k * inverse
        shift, stretch = shift * factor, stretch * factor
        old: list[Value | None] = [None, None]
        if len(dys) > 1 and dys[1] is not None:
            shift = shift - columned(dys[1], wide) * fresh
            old[0] = dys[1] * self.momentum
        if len(dys) > 2 and dys[2] is not None:
            stretch = stretch - columned(dys[2], wide) * (fresh * 2)
            old[1] = dys[2] * self.momentum
        dx = dz * factor - centred * stretch - shift
        dscale, dshift = (in_dtype(v.reshape([-1]), p.dtype) for v, p in ((slope * inverse, scale), (db, b)))
        return [in_dtype(dx, x.dtype), dscale, dshift, *old]

    def decompose(self, x: Value, scale: Value, b: Value, mean: Value, var: Value) -> list[Value] | None:
        """In training, the statistics of the batch one by one, so that the gradient can share them."""
        if not self.training_mode or x.shape is None:
            return None
        wide = in_dtype(x, wide_dtype(x))
        centred, *batch = self._of_batch(wide)
        k, shift = columned(scale, wide), columned(b, wide)
        results = [in_dtype(centred * (k / _sqrt(batch[1] + self.epsilon)) + shift, x.dtype)]
        for old, new in zip((mean, var), batch, strict=True):
            joined = float64 if float64 in (old.dtype, wide.dtype) else wide.dtype
            kept = in_dtype(in_dtype(old, wide_type(old.dtype)) * self.momentum, joined)
            fresh = in_dtype(new.reshape([-1]) * (1 - self.momentum), joined)
            results.append(in_dtype(kept + fresh, old.dtype))
        return results[: self.outputs]

    def _of_batch(self, x: Value) -> tuple[Value, Value, Value]:
        """x − mean, the mean and the variance of the batch."""
        axes = self._axes(known_rank(x))
        mean = x.mean(axes, keepdims=True)
        centred = x - mean
        return centred, mean, (centred * centred).mean(axes, keepdims=True)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost((8 if self.training_mode else 2) * elements(xs[0]), traffic(xs, ys))


def _joined(a: Expr, b: Expr) -> DType:
    """The element type in which NumPy adds `a` and `b`."""
    return float64 if float64 in (a.dtype, b.dtype) else a.dtype


def _sum_like(dy: Value, parameter: Value, axes: Sequence[int]) -> Value:
    """The gradient of a parameter with one number for each channel."""
    return in_dtype(dy.sum(axes).reshape([-1]), parameter.dtype)


# -- over the positions of one example --------------------------------------------------------------------------------
class InstanceNormalization(Normalization):
    """y = x̂ · scale + b with mean and variance over the positions of each channel. ONNX InstanceNormalization-22."""

    epsilon: float = 1e-5

    def infer(self, x: Value, scale: Value, b: Value) -> TensorType:
        check_same_dtype(x, scale, b)
        check_dtype(x, FLOATS, "input")
        check_rank(x, "input", 2, current_limits().max_rank)
        channels = check_channels(x, scale=scale, b=b)
        if x.shape is None or channels is None:
            return x.tensor
        return TensorType(x.dtype, (x.shape[0], channels, *x.shape[2:]))

    def eval(self, x: Array, scale: Array, b: Array) -> Array:
        wide = widen(x)
        y, _, _ = standardize(wide, tuple(range(2, x.ndim)), self.epsilon)
        y *= column(scale, wide)
        y += column(b, wide)
        return y.astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source, scale: Source, b: Source) -> Element:
        def element(n: Linear, c: Linear, *p: Linear) -> Expr:
            mean, variance = moments(lambda *k: wide(x[(n, c, *k)]), x.shape[2:])
            normal = (wide(x[(n, c, *p)]) - mean) * (1 / deviation(variance, self.epsilon))
            return cast(normal * wide(scale[c]) + wide(b[c]), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value, scale: Value, b: Value) -> Sequence[Value | None]:
        axes = range(2, known_rank(x))
        wide, dz = (in_dtype(v, wide_dtype(x)) for v in (x, dy))
        normal, inverse = standardized(wide, axes, self.epsilon)
        dx = standardize_slope(dz * columned(scale, wide), normal, inverse, axes)
        others = (0, *axes)
        return [in_dtype(dx, x.dtype), _sum_like(dz * normal, scale, others), _sum_like(dz, b, others)]


class GroupNormalization(Normalization):
    """y = x̂ · scale + bias with mean and variance over each of `num_groups` groups of channels.

    ONNX GroupNormalization-21.

    Attributes:
        num_groups: the number of groups, a divisor of the number of channels.
        epsilon: what is added to the variance.
        stash_type: the element type to compute in, as ONNX's number; it never is less than float32.
    """

    num_groups: int
    epsilon: float = 1e-5
    stash_type: int = 1

    def infer(self, x: Value, scale: Value, bias: Value) -> TensorType:
        check_same_dtype(x, scale, bias)
        check_dtype(x, FLOATS, "x")
        check_stash(self.stash_type)
        check_rank(x, "x", 2, current_limits().max_rank)
        channels = check_channels(x, scale=scale, bias=bias)
        if self.num_groups < 1:
            raise InvalidModel(f"num_groups is {self.num_groups}, expected at least 1")
        if isinstance(channels, int):
            self._check(channels)
        if x.shape is None or channels is None:
            return x.tensor
        return TensorType(x.dtype, (x.shape[0], channels, *x.shape[2:]))

    def _check(self, channels: int) -> None:
        if channels % self.num_groups:
            raise ShapeError(f"{channels} channels do not divide into {self.num_groups} groups")

    def eval(self, x: Array, scale: Array, bias: Array) -> Array:
        wide = widen(x)
        at_run_time(self._check, x.shape[1])
        size = x.shape[1] // self.num_groups * int(np.prod(x.shape[2:]))
        y, _, _ = standardize(wide.reshape(x.shape[0], self.num_groups, size), (2,), self.epsilon)
        y = y.reshape(x.shape)
        y *= column(scale, wide)
        y += column(bias, wide)
        return y.astype(x.dtype, copy=False)

    def element(self, y: TensorType, x: Source, scale: Source, bias: Source) -> Element:
        if x.shape[1] % self.num_groups:
            raise CompileError("the channels do not divide into groups")
        size = x.shape[1] // self.num_groups

        def element(n: Linear, c: Linear, *p: Linear) -> Expr:
            first = c // size * size if size else c
            mean, variance = moments(lambda j, *k: wide(x[(n, first + j, *k)]), [size, *x.shape[2:]])
            normal = (wide(x[(n, c, *p)]) - mean) * (1 / deviation(variance, self.epsilon))
            return cast(normal * wide(scale[c]) + wide(bias[c]), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value, scale: Value, bias: Value) -> Sequence[Value | None]:
        others = (0, *range(2, known_rank(x)))
        wide, dz = (in_dtype(v, wide_dtype(x)) for v in (x, dy))
        groups = self._groups(x)
        normal, inverse = standardized(wide.reshape(groups), [2], self.epsilon)
        dx = standardize_slope((dz * columned(scale, wide)).reshape(groups), normal, inverse, [2])
        dscale = _sum_like(dz * reshape_like(normal, wide), scale, others)
        return [in_dtype(reshape_like(dx, wide), x.dtype), dscale, _sum_like(dz, bias, others)]

    def _groups(self, x: Value) -> list[Dim]:
        """The shape in which the last axis runs over a group."""
        assert x.shape is not None
        return [x.shape[0], self.num_groups, count(x.shape[1:]) // self.num_groups]


# -- over the last axes -----------------------------------------------------------------------------------------------
class LayerNormalization(Normalization):
    """y = x̂ · scale + b with mean and variance over the axes from `axis` on. ONNX LayerNormalization-17.

    Attributes:
        axis: the first axis to normalise over.
        epsilon: what is added to the variance.
        stash_type: the element type of the mean and the inverse deviation, as ONNX's number (1: float32).
        outputs: how many of y, mean and 1 / √(variance + epsilon) are wanted.
    """

    axis: int = -1
    epsilon: float = 1e-5
    stash_type: int = 1
    outputs: int = field(default=1, metadata={"onnx": False})

    def infer(self, x: Value, scale: Value, b: Value | None = None) -> tuple[TensorType, ...]:
        check_same_dtype(x, scale, b)
        check_dtype(x, FLOATS, "x")
        check_rank(x, "x", 1, current_limits().max_rank)
        if not 1 <= self.outputs <= 3:
            raise InvalidModel(f"{self.outputs} outputs are wanted, expected 1 to 3")
        stash = check_stash(self.stash_type)
        statistics: Shape | None = None
        if x.shape is not None:
            axis = normalize_axis(self.axis, len(x.shape))
            statistics = (*x.shape[:axis], *[1] * (len(x.shape) - axis))
        for name, p in (("scale", scale), ("b", b)):
            if p is not None:
                check_stretches(p, name, x)
        return (x.tensor, TensorType(stash, statistics), TensorType(stash, statistics))[: self.outputs]

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(normalize_axis(self.axis, rank), rank))

    def eval(self, x: Array, scale: Array, b: Array | None = None) -> tuple[Array, ...]:
        y, mean, inverse = standardize(widen(x), at_run_time(self._axes, x.ndim), self.epsilon)
        y *= widen(scale)
        if b is not None:
            y += widen(b)
        stash = BY_ONNX[self.stash_type].numpy
        results = (y.astype(x.dtype, copy=False), mean.astype(stash, copy=False), inverse.astype(stash, copy=False))
        return results[: self.outputs]

    def element(
        self, y: TensorType | tuple[TensorType, ...], x: Source, scale: Source, b: Source | None = None
    ) -> tuple[Element, ...]:
        axis = normalize_axis(self.axis, len(x.shape))
        stash = BY_ONNX[self.stash_type]

        def statistics(lead: tuple[Linear, ...]) -> tuple[Expr, Expr]:
            mean, variance = moments(lambda *k: wide(x[(*lead, *k)]), x.shape[axis:])
            return mean, 1 / deviation(variance, self.epsilon)

        def normal(*i: Linear) -> Expr:
            mean, inverse = statistics(i[:axis])
            result = (wide(x[i]) - mean) * inverse * wide(scale.broadcast(i))
            return cast(result if b is None else result + wide(b.broadcast(i)), x.dtype)

        made = (
            normal,
            lambda *i: cast(statistics(i[:axis])[0], stash),
            lambda *i: cast(statistics(i[:axis])[1], stash),
        )
        return made[: self.outputs]

    def grad(
        self,
        dy: Value | Sequence[Value | None],
        y: Value | Sequence[Value],
        x: Value,
        scale: Value,
        b: Value | None = None,
    ) -> Sequence[Value | None]:
        dys = per_output(dy)
        axes = self._axes(known_rank(x))
        wide = in_dtype(x, wide_dtype(x))
        normal, inverse = standardized(wide, axes, self.epsilon)
        dz = zeros_like(wide) if dys[0] is None else in_dtype(dys[0], wide.dtype)
        dx = standardize_slope(dz * in_dtype(scale, wide.dtype), normal, inverse, axes)
        n = Size().apply((wide,))[0].cast(wide.dtype) / Size().apply((inverse,))[0].cast(wide.dtype)
        if len(dys) > 1 and dys[1] is not None:
            dx = dx + in_dtype(dys[1], wide.dtype) / n
        if len(dys) > 2 and dys[2] is not None:
            dx = dx - in_dtype(dys[2], wide.dtype) * inverse * inverse * normal / n
        dscale = in_dtype(unbroadcast(dz * normal, scale), scale.dtype)
        gradients = [in_dtype(dx, x.dtype), dscale]
        return gradients if b is None else [*gradients, in_dtype(unbroadcast(dz, b), b.dtype)]


class RMSNormalization(Normalization):
    """y = x / √(mean x² + epsilon) · scale over the axes from `axis` on; y has scale's type. ONNX RMSNormalization-23.

    Attributes:
        axis: the first axis to normalise over.
        epsilon: what is added to the mean square.
        stash_type: the element type to compute in, as ONNX's number; it never is less than float32.
    """

    axis: int = -1
    epsilon: float = 1e-5
    stash_type: int = 1

    def infer(self, x: Value, scale: Value) -> TensorType:
        check_dtype(x, FLOATS, "x")
        check_dtype(scale, FLOATS, "scale")
        check_stash(self.stash_type)
        check_rank(x, "x", 1, current_limits().max_rank)
        if x.shape is not None:
            normalize_axis(self.axis, len(x.shape))
        check_stretches(scale, "scale", x)
        return TensorType(scale.dtype, x.shape)

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(range(normalize_axis(self.axis, rank), rank))

    def eval(self, x: Array, scale: Array) -> Array:
        wide = widen(x)
        square = np.mean(np.square(wide), axis=at_run_time(self._axes, x.ndim), keepdims=True)
        y = np.asarray(wide * (1 / np.sqrt(square + wide.dtype.type(self.epsilon))))
        y = y.astype(np.result_type(y.dtype, widen(scale).dtype), copy=False)
        y *= widen(scale)
        return y.astype(scale.dtype, copy=False)

    def element(self, y: TensorType, x: Source, scale: Source) -> Element:
        axis = normalize_axis(self.axis, len(x.shape))

        def element(*i: Linear) -> Expr:
            mean = average(lambda *k: square(wide(x[(*i[:axis], *k)])), x.shape[axis:])
            normal, factor = wide(x[i]) * (1 / deviation(mean, self.epsilon)), wide(scale.broadcast(i))
            joined = _joined(normal, factor)
            return cast(cast(normal, joined) * cast(factor, joined), y.dtype)

        return element

    def grad(self, dy: Value, y: Value, x: Value, scale: Value) -> Sequence[Value | None]:
        axes = self._axes(known_rank(x))
        wide, dz, k = (in_dtype(v, wide_dtype(x)) for v in (x, dy, scale))
        inverse = 1 / _sqrt((wide * wide).mean(axes, keepdims=True) + self.epsilon)
        normal = wide * inverse
        slope = dz * k
        dx = inverse * (slope - normal * (slope * normal).mean(axes, keepdims=True))
        return [in_dtype(dx, x.dtype), in_dtype(unbroadcast(dz * normal, scale), scale.dtype)]


def check_stash(stash_type: int) -> DType:
    """The element type with ONNX's number `stash_type`. Raises `InvalidModel` unless it is floating-point."""
    dtype = BY_ONNX.get(stash_type)
    if dtype not in FLOATS:
        raise InvalidModel(f"stash_type is {stash_type}, expected the number of a floating-point type")
    return dtype


def check_stretches(parameter: Value, name: str, x: Value) -> None:
    """Raise `ShapeError` unless `parameter` can be broadcast to the shape of `x`."""
    if parameter.shape is None or x.shape is None:
        return
    lead = len(x.shape) - len(parameter.shape)
    wrong = lead < 0 or any(
        isinstance(p, int) and p != 1 and isinstance(d, int) and p != d
        for p, d in zip(parameter.shape, x.shape[lead:], strict=True)
    )
    if wrong:
        raise ShapeError(f"{name} is {parameter.tensor}, which cannot be broadcast to {x.tensor}")
