"""Fourier transforms, windows and mel filters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.expr import Element, Expr, Source, call, cast, constant, position
from graphc.index import Linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import (
    Array,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    normalize_axis,
)
from graphc.ops.elementwise import widen
from graphc.ops.indexing import Gather
from graphc.ops.padding import Pad
from graphc.ops.slicing import Slice
from graphc.ops.vjp import decomposed_grad
from graphc.types import FLOATS, NUMBERS, DType, Shape, float32, float64, int32, int64


# -- what they share --------------------------------------------------------------------------------------------------
def _size(x: Value | None, what: str, least: int = 1) -> Dim | None:
    """The integer that `x` holds, or None where it is not known or `x` is omitted."""
    if x is None:
        return None
    check_dtype(x, (int32, int64), what)
    _check_single(x, what)
    found: Dim | None = None if x.dims is None else x.dims.item()
    if isinstance(found, int) and found < least:
        raise InvalidModel(f"{what} is {found}, expected at least {least}", value=x.name)
    return found


def _check_single(x: Value, what: str) -> None:
    """Raise `ShapeError` unless `x` is 0-d; a vector of one element is taken, as models in the wild have it."""
    if x.shape is not None and any(isinstance(d, int) and d != 1 for d in x.shape):
        raise ShapeError(f"{what} is {x.tensor}, expected a scalar", value=x.name)


def _integer(x: Array, what: str, least: int = 1) -> int:
    """The integer that `x` holds. Raises `ExecutionError` when it is smaller than `least`."""
    value = int(x.reshape(()))
    if value < least:
        raise ExecutionError(f"{what} is {value}, expected at least {least}")
    return value


def _check_parts(x: Value, what: str) -> Dim | None:
    """The size of the last axis of `x`, 1 for real and 2 for complex numbers; None when it is not known."""
    parts = None if x.shape is None else x.shape[-1]
    if isinstance(parts, int) and parts not in (1, 2):
        raise ShapeError(f"{what} is {x.tensor}, expected a last axis of size 1 (real) or 2 (complex)", value=x.name)
    return parts


def _joined(x: Array) -> Array:
    """The numbers whose real and imaginary parts are the last axis of `x`; a last axis of size 1 is dropped."""
    if x.shape[-1] == 1:
        return x[..., 0]
    return np.asarray(x[..., 0] + x.dtype.type(1) * 1j * x[..., 1])


def _parted(x: Array, dtype: np.dtype) -> Array:
    """The real and imaginary parts of `x` as a last axis."""
    return np.stack((x.real, x.imag), -1).astype(dtype)


def _transform_cost(y: Value, length: Dim | None) -> Dim:
    """5 n log₂ n for each transform of n points; the logarithm of an unknown length counts as 10."""
    return 5 * elements(y) * (max(length - 1, 1).bit_length() if isinstance(length, int) else 10)


# -- Fourier transforms -----------------------------------------------------------------------------------------------
class DFT(Op):
    """y_k = Σ_n exp(-2πi kn/N) x_n along `axis`; the inverse 1/N Σ_k exp(2πi kn/N) y_k. ONNX DFT-20.

    The last axis holds real and imaginary part, or the real part alone. The axis is filled up with zeros, or cut, to
    `dft_length`. The axis comes as an input; the default is the last but one.

    Attributes:
        inverse: whether to transform back.
        onesided: forwards, take real numbers and keep k = 0..N/2, the rest being their conjugates; backwards, take
            those and give real numbers, 2 · (size - 1) of them by default.
    """

    inverse: bool = False
    onesided: bool = False

    def infer(self, input: Value, dft_length: Value | None = None, axis: Value | None = None) -> TensorType:
        check_dtype(input, FLOATS, "input")
        length = _size(dft_length, "dft_length")
        if axis is not None:
            check_dtype(axis, (int64,), "axis")
            _check_single(axis, "axis")
        if input.shape is None:
            return TensorType(input.dtype, None)
        rank = len(input.shape)
        if rank < 2:
            raise ShapeError(f"input is {input.tensor}, expected rank 2 or more", value=input.name)
        parts = _check_parts(input, "input")
        if self.onesided and parts == (1 if self.inverse else 2):
            kind = "complex" if self.inverse else "real"
            raise ShapeError(f"input is {input.tensor}, a one-sided transform takes {kind} numbers", value=input.name)
        shape: list[Dim] = [*input.shape[:-1], 1 if self.onesided and self.inverse else 2]
        if axis is not None and axis.const is None:
            if dft_length is not None or self.onesided:  # any axis may be the one that changes
                shape[:-1] = [unknown() for _ in shape[:-1]]
            return TensorType(input.dtype, tuple(shape))
        at = self._axis(-2 if axis is None or axis.const is None else int(axis.const.reshape(())), rank)
        if dft_length is None:
            length = self._default_length(shape[at])
            if isinstance(length, int) and length < 1:
                raise ShapeError(f"input is {input.tensor}, which gives no points on axis {at}", value=input.name)
        elif length is None:
            length = unknown()
        assert length is not None
        shape[at] = length // 2 + 1 if self.onesided and not self.inverse else length
        return TensorType(input.dtype, tuple(shape))

    def _axis(self, axis: int, rank: int) -> int:
        at = normalize_axis(axis, rank)
        if at == rank - 1:
            raise ShapeError(f"axis {axis} is the last of rank {rank}, which holds real and imaginary parts")
        return at

    def _default_length(self, size: Dim) -> Dim:
        return 2 * (size - 1) if self.onesided and self.inverse else size

    def eval(self, input: Array, dft_length: Array | None = None, axis: Array | None = None) -> Array:
        at = self._axis(-2 if axis is None else int(axis.reshape(())), input.ndim)
        length = self._default_length(input.shape[at])
        if dft_length is not None:
            length = _integer(dft_length, "dft_length")
        assert isinstance(length, int)
        if length < 1:
            raise ExecutionError(f"an input of shape {list(input.shape)} gives no points on axis {at}")
        others = input.size // max(input.shape[-1] * input.shape[at], 1)
        check_tensor((others, length, 2), 8, "the transform")
        x = _joined(widen(input))
        if self.onesided and self.inverse:
            return np.fft.irfft(x, length, at)[..., None].astype(input.dtype)
        if self.onesided:
            return _parted(np.fft.rfft(x, length, at), input.dtype)
        return _parted((np.fft.ifft if self.inverse else np.fft.fft)(x, length, at), input.dtype)

    def element(self, y: TensorType, *xs: Source | None) -> Element:
        raise CompileError("a fast transform is not a loop nest: NumPy's takes it")

    def grad(
        self, dy: Value, y: Value, input: Value, dft_length: Value | None = None, axis: Value | None = None
    ) -> Sequence[Value | None]:
        """The adjoint: Fᴴ = N F⁻¹ and (F⁻¹)ᴴ = F / N; the two ends of a one-sided spectrum count once, others twice."""
        at, length = self._known(input, dft_length, axis)
        size, place = const(np.int64(length)), const(np.int64(at))
        assert input.shape is not None
        if self.onesided and self.inverse:
            weights = np.full(length // 2 + 1, 2 / length)
            weights[0] = 1 / length
            if length % 2 == 0:
                weights[-1] = 1 / length
            column = weights.reshape([-1 if i == at else 1 for i in range(len(input.shape))])
            dx = DFT(onesided=True)(dy, size, place) * const(column.astype(dy.dtype.numpy), dy.dtype)
        elif self.inverse:
            dx = DFT()(dy, size, place) * (1 / length)
        else:
            dx = DFT(inverse=True)(dy, size, place) * float(length)
        if input.shape[-1] == 1:
            dx = _slice(dx, len(input.shape) - 1, 1)
        wanted, present = input.shape[at], length // 2 + 1 if self.onesided and self.inverse else length
        if isinstance(wanted, int) and wanted < present:
            dx = _slice(dx, at, wanted)
        elif isinstance(wanted, int) and wanted > present:
            dx = Pad()(dx, const([0, wanted - present]), None, const([at]))
        return [dx, None, None][: 1 + (dft_length is not None or axis is not None) + (axis is not None)]

    def _known(self, input: Value, dft_length: Value | None, axis: Value | None) -> tuple[int, int]:
        """The axis and the number of points. Raises `CompileError` where they are not known, nor the input's sizes."""
        place = -2 if axis is None else None if axis.const is None else int(axis.const.reshape(()))
        if place is not None and input.shape is not None and isinstance(input.shape[-1], int):
            at = self._axis(place, len(input.shape))
            length = self._default_length(input.shape[at]) if dft_length is None else _size(dft_length, "dft_length")
            if isinstance(length, int) and isinstance(input.shape[at], int):
                return at, length
        raise CompileError(
            f"the gradient needs a known axis, dft_length and input shape, got {input.tensor}",
            hint="Bind the symbolic dimensions with specialize() first",
        )

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        x, given = xs[0], xs[1] if len(xs) > 1 else None
        length = _size(given, "dft_length")
        if given is None and x is not None and x.shape is not None:
            length = x.shape[-2]
        return Cost(_transform_cost(ys[0], length), traffic(xs, ys))


def _slice(x: Value, axis: int, stop: int) -> Value:
    return Slice().apply((x, const([0]), const([stop]), const([axis])))[0]


class STFT(Op):
    """y[b, f, k] = Σ_n exp(-2πi kn/N) window_n signal[b, f · frame_step + n], for every frame that fits. ONNX STFT-17.

    The signal is (batch, length, 1), or (batch, length, 2) with real and imaginary parts; the result is (batch,
    frames, N, 2), or with `onesided`, which takes a real signal, (batch, frames, N // 2 + 1, 2). N is `frame_length`,
    by default the length of the window, or else of the signal.
    """

    onesided: bool = True

    def infer(
        self, signal: Value, frame_step: Value, window: Value | None = None, frame_length: Value | None = None
    ) -> TensorType:
        check_dtype(signal, FLOATS, "signal")
        check_same_dtype(signal, window)
        check_rank(signal, "signal", 3)
        step, length = _size(frame_step, "frame_step"), _size(frame_length, "frame_length")
        check_same_dtype(frame_step, frame_length)
        parts = _check_parts(signal, "signal")
        if self.onesided and parts == 2:
            raise ShapeError(
                f"signal is {signal.tensor}, a one-sided transform takes real numbers",
                value=signal.name,
                hint="Set onesided=0",
            )
        batch, total = (unknown(), unknown()) if signal.shape is None else signal.shape[:2]
        if window is not None:
            check_rank(window, "window", 1)
            if window.shape is not None:
                n = window.shape[0]
                if isinstance(n, int) and isinstance(length, int) and n != length:
                    raise ShapeError(f"window is {window.tensor}, frame_length is {length}", value=window.name)
                length = n if length is None else length
        elif frame_length is None:
            length = total
        if length is None:
            length = unknown()
        if isinstance(total, int) and isinstance(length, int) and not 0 < length <= total:
            raise ShapeError(f"no frame of {length} fits into signal {signal.tensor}", value=signal.name)
        frames = unknown() if step is None else (total - length) // step + 1
        return TensorType(signal.dtype, (batch, frames, length // 2 + 1 if self.onesided else length, 2))

    def eval(
        self, signal: Array, frame_step: Array, window: Array | None = None, frame_length: Array | None = None
    ) -> Array:
        step = _integer(frame_step, "frame_step")
        length = signal.shape[1] if window is None else window.shape[0]
        if frame_length is not None:
            length = _integer(frame_length, "frame_length")
        if window is not None and window.shape[0] != length:
            raise ExecutionError(f"window has {window.shape[0]} elements, frame_length is {length}")
        if not 0 < length <= signal.shape[1]:
            raise ExecutionError(f"no frame of {length} fits into a signal of shape {list(signal.shape)}")
        batch, total, _ = signal.shape
        check_tensor((batch, (total - length) // step + 1, length, 2), 8, "the frames")
        x = _joined(widen(signal))
        frames = np.lib.stride_tricks.sliding_window_view(x, length, axis=1)[:, ::step]
        weighted = frames if window is None else frames * widen(window)
        return _parted((np.fft.rfft if self.onesided else np.fft.fft)(weighted), signal.dtype)

    def decompose(
        self, signal: Value, frame_step: Value, window: Value | None = None, frame_length: Value | None = None
    ) -> tuple[Value]:
        """y in terms of other ops; needs known sizes."""
        _, frames, bins, _ = self.infer(signal, frame_step, window, frame_length).shape or (None,) * 4
        step, length = _size(frame_step, "frame_step"), _size(frame_length, "frame_length")
        if length is None and window is not None and window.shape is not None:
            length = window.shape[0]
        elif length is None and signal.shape is not None:
            length = signal.shape[1]
        if not isinstance(frames, int) or not isinstance(step, int) or not isinstance(length, int):
            raise CompileError(
                f"the gradient needs known frames, got a signal {signal.tensor}",
                hint="Bind the symbolic dimensions with specialize() first",
            )
        assert bins is not None
        at = np.arange(frames)[:, None] * step + np.arange(length)
        x = Gather(1)(signal, const(at))
        if window is not None:
            x = x * window.reshape([length, 1])
        return (DFT(onesided=self.onesided)(x),)

    def grad(self, dy: Value, y: Value, *xs: Value | None) -> Sequence[Value | None]:
        return decomposed_grad(self.decompose, dy, y, xs)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        sizes = ys[0].shape or (None,) * 4
        length = sizes[2]
        if self.onesided and length is not None:
            length = 2 * (length - 1)
        return Cost(_transform_cost(ys[0], length), traffic(xs, ys))


# -- windows ----------------------------------------------------------------------------------------------------------
def _check_output(dtype: DType) -> None:
    if dtype not in NUMBERS:
        raise TypeMismatch(f"output_datatype is {dtype.short}, expected a number type")


class CosineWindow(Op):
    """w_n = a - b cos(2πn/N) + c cos(4πn/N) for n < size. A subclass sets `factors`, which are a, b and c.

    N is `size` when `periodic`, else size - 1. A symmetric window of one element, where that is 0, is 1.
    """

    periodic: bool
    output_datatype: DType
    factors: ClassVar[tuple[float, float, float]]

    def infer(self, size: Value) -> TensorType:
        _check_output(self.output_datatype)
        known = _size(size, "size", 0)
        return TensorType(self.output_datatype, (unknown() if known is None else known,))

    def eval(self, size: Array) -> Array:
        count = _integer(size, "size", 0)
        check_tensor((count,), 8, "the window")
        a, b, c = self.factors
        period = count if self.periodic else count - 1
        if count == 1 and not self.periodic:
            return np.ones(1, self.output_datatype.numpy)
        angle = 2 * math.pi * np.arange(count) / period
        y = a - b * np.cos(angle) + c * np.cos(2 * angle)
        # The sum may be an ulp below a whole number, which integers would round down by one.
        return (np.round(y, 12) if self.output_datatype.is_integer else y).astype(self.output_datatype.numpy)

    def element(self, y: TensorType, size: Source) -> Element:
        count = y.sizes[0]
        period = count if self.periodic else count - 1
        if period == 0:
            return lambda n: constant(1, y.dtype)
        a, b, c = self.factors

        def element(n: Linear) -> Expr:
            angle = cast(position(n), float64) * (2 * math.pi) / period
            w = a - b * call("cos", angle)
            if c:
                w = w + c * call("cos", angle * 2)
            if y.dtype.is_integer:
                w = call("round", w * 1e12) / 1e12
            return cast(w, y.dtype)

        return element

    def grad(self, dy: Value, y: Value, size: Value) -> Sequence[Value | None]:
        return [None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(8 * elements(ys[0]), traffic(xs, ys))


class HannWindow(CosineWindow):
    """w_n = 1/2 - 1/2 cos(2πn/N). ONNX HannWindow-17."""

    periodic: bool = True
    output_datatype: DType = float32
    factors = (0.5, 0.5, 0.0)


class HammingWindow(CosineWindow):
    """w_n = 25/46 - 21/46 cos(2πn/N). ONNX HammingWindow-17."""

    periodic: bool = True
    output_datatype: DType = float32
    factors = (25 / 46, 21 / 46, 0.0)


class BlackmanWindow(CosineWindow):
    """w_n = 0.42 - 0.5 cos(2πn/N) + 0.08 cos(4πn/N). ONNX BlackmanWindow-17."""

    periodic: bool = True
    output_datatype: DType = float32
    factors = (0.42, 0.5, 0.08)


# -- mel filters ------------------------------------------------------------------------------------------------------
class MelWeightMatrix(Op):
    """y[k, m] = triangle m at bin k: 0 up to corner c_m, 1 at c_{m+1}, 0 from c_{m+2} on. ONNX MelWeightMatrix-17.

    The corners c are bins of a DFT of `dft_length` points whose frequencies are equally spaced on the mel scale,
    mel(f) = 2595 log₁₀(1 + f/700), from `lower_edge_hertz` towards `upper_edge_hertz`. y is
    (dft_length // 2 + 1, num_mel_bins).
    """

    output_datatype: DType = float32

    def infer(
        self,
        num_mel_bins: Value,
        dft_length: Value,
        sample_rate: Value,
        lower_edge_hertz: Value,
        upper_edge_hertz: Value,
    ) -> TensorType:
        _check_output(self.output_datatype)
        check_same_dtype(num_mel_bins, dft_length, sample_rate)
        check_same_dtype(lower_edge_hertz, upper_edge_hertz)
        bins, length = _size(num_mel_bins, "num_mel_bins", 0), _size(dft_length, "dft_length")
        _size(sample_rate, "sample_rate")
        for what, edge in (("lower_edge_hertz", lower_edge_hertz), ("upper_edge_hertz", upper_edge_hertz)):
            check_dtype(edge, FLOATS, what)
            _check_single(edge, what)
        shape: Shape = (
            unknown() if length is None else length // 2 + 1,
            unknown() if bins is None else bins,
        )
        return TensorType(self.output_datatype, shape)

    def eval(
        self,
        num_mel_bins: Array,
        dft_length: Array,
        sample_rate: Array,
        lower_edge_hertz: Array,
        upper_edge_hertz: Array,
    ) -> Array:
        count, length = _integer(num_mel_bins, "num_mel_bins", 0), _integer(dft_length, "dft_length")
        rate = _integer(sample_rate, "sample_rate")
        low, high = float(lower_edge_hertz.reshape(())), float(upper_edge_hertz.reshape(()))
        if not 0 <= low <= high < math.inf:
            raise ExecutionError(f"the edges are {low} and {high} Hz, expected 0 <= lower <= upper")
        check_tensor((length // 2 + 1, count), 8, "the matrix")
        first, last = (2595 * np.log10(1 + f / 700) for f in (low, high))
        # ONNX divides the range by one more than the number of intervals: the last corner stays below the upper edge.
        mel = first + np.arange(count + 2) * ((last - first) / (count + 2))
        corners = (length + 1) * (700 * (10 ** (mel / 2595) - 1)) // rate
        if corners[-2] > length // 2:
            raise ExecutionError(f"bin {int(corners[-2])} is not among the {length // 2 + 1} of the spectrum")
        left, centre, right = corners[:-2], corners[1:-1], corners[2:]
        k = np.arange(length // 2 + 1)[:, None]
        rising = np.where(centre > left, (k - left) / np.where(centre > left, centre - left, 1), k == centre)
        falling = (right - k) / np.where(right > centre, right - centre, 1)
        y = np.where((k >= left) & (k <= centre), rising, np.where((k > centre) & (k < right), falling, 0))
        return y.astype(self.output_datatype.numpy)

    def grad(self, dy: Value, y: Value, *xs: Value) -> Sequence[Value | None]:
        return [None] * len(xs)  # the corners are rounded to whole bins, so the edges have no influence in the small

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(4 * elements(ys[0]), traffic(xs, ys))
