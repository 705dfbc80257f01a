"""Ops that move pixels: between depth and space, from columns into images, to the centre of a frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dims import Dim, unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, equal, inside, over, position, select
from graphc.index import Linear, flatten
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import (
    Array,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    const,
    normalize_axes,
    static_shape,
)
from graphc.ops.indexing import Gather
from graphc.ops.padding import Pad
from graphc.ops.shape import COMMON, Movement, constants, shape_of, unknown_sizes
from graphc.ops.windows import Grid, Ints, Window, after_two, elements_of, ending, volume
from graphc.types import int32, int64, string

MODES = ("DCR", "CRD")


def _check_blocks(x: Value, blocksize: int, mode: str) -> None:
    check_dtype(x, COMMON, "input")
    check_rank(x, "input", 4)
    if blocksize < 1:
        raise InvalidModel(f"blocksize is {blocksize}, expected at least 1")
    if mode not in MODES:
        raise InvalidModel(f"mode is {mode!r}, expected one of {', '.join(MODES)}")


def _divide(size: Dim, by: int, what: str, x: Value) -> Dim:
    if isinstance(size, int) and size % by:
        raise ShapeError(f"{what} {size} cannot be split by {by}: {x.tensor}")
    return size // by


class DepthToSpace(Movement):
    """y[n, c, h·b + i, w·b + j] = x[n, channel(c, i, j), h, w], b = `blocksize`. ONNX DepthToSpace-28.

    Attributes:
        blocksize: b; the depth shrinks by b², height and width grow by b.
        mode: the order of a channel's number: "DCR" is (i, j, c), "CRD" is (c, i, j).
    """

    on_dims = False
    blocksize: int
    mode: str = "DCR"

    def infer(self, input: Value) -> TensorType:
        _check_blocks(input, self.blocksize, self.mode)
        b = self.blocksize
        if input.shape is None:
            return TensorType(input.dtype, unknown_sizes(4))
        n, c, h, w = input.shape
        return TensorType(input.dtype, (n, _divide(c, b * b, "depth", input), h * b, w * b))

    def eval(self, input: Array) -> Array:
        b, (n, c, h, w) = self.blocksize, input.shape
        depth = c // (b * b)
        if self.mode == "DCR":
            y = input.reshape(n, b, b, depth, h, w).transpose(0, 3, 4, 1, 5, 2)
        else:
            y = input.reshape(n, depth, b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
        return y.reshape(n, depth, h * b, w * b)

    def element(self, y: TensorType, input: Source) -> Element:
        b, depth = self.blocksize, y.sizes[1]

        def element(n: Linear, c: Linear, h: Linear, w: Linear) -> Expr:
            block = (h % b) * b + w % b
            channel = block * depth + c if self.mode == "DCR" else c * (b * b) + block
            return input[n, channel, h // b, w // b]

        return element

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [SpaceToDepth(self.blocksize, self.mode)(dy)]


class SpaceToDepth(Movement):
    """y[n, channel(c, i, j), h, w] = x[n, c, h·b + i, w·b + j], b = `blocksize`. ONNX SpaceToDepth-28.

    The inverse of DepthToSpace.

    Attributes:
        blocksize: b; the depth grows by b², height and width shrink by b.
        mode: the order of a channel's number: "DCR" is (i, j, c), "CRD" is (c, i, j).
    """

    on_dims = False
    blocksize: int
    mode: str = "DCR"

    def infer(self, input: Value) -> TensorType:
        _check_blocks(input, self.blocksize, self.mode)
        b = self.blocksize
        if input.shape is None:
            return TensorType(input.dtype, unknown_sizes(4))
        n, c, h, w = input.shape
        return TensorType(input.dtype, (n, c * (b * b), _divide(h, b, "height", input), _divide(w, b, "width", input)))

    def eval(self, input: Array) -> Array:
        b, (n, c, h, w) = self.blocksize, input.shape
        order = (0, 3, 5, 1, 2, 4) if self.mode == "DCR" else (0, 1, 3, 5, 2, 4)
        y = input.reshape(n, c, h // b, b, w // b, b).transpose(order)
        return y.reshape(n, c * b * b, h // b, w // b)

    def element(self, y: TensorType, input: Source) -> Element:
        b, depth = self.blocksize, input.shape[1]

        def element(n: Linear, k: Linear, h: Linear, w: Linear) -> Expr:
            block, c = (k // depth, k % depth) if self.mode == "DCR" else (k % (b * b), k // (b * b))
            return input[n, c, h * b + block // b, w * b + block % b]

        return element

    def grad(self, dy: Value, y: Value, input: Value) -> Sequence[Value | None]:
        return [DepthToSpace(self.blocksize, self.mode)(dy)]


class Col2Im(Op):
    """y[n, c, p·strides + k·dilations − pads] += x[n, c·K + k, p]: blocks added up into images. ONNX Col2Im-18.

    x is (N, C · K, P): K elements of a block of `block_shape`, P positions of blocks in an image of `image_shape`.
    """

    dilations: Ints | None = None
    pads: Ints | None = None
    strides: Ints | None = None

    def infer(self, input: Value, image_shape: Value, block_shape: Value) -> TensorType:
        check_dtype(input, COMMON - {string}, "input")
        check_rank(input, "input", 3)
        for what, v in [("image_shape", image_shape), ("block_shape", block_shape)]:
            check_dtype(v, {int64}, what)
            check_rank(v, what, 1)
        n, c, count = input.shape or (unknown(), unknown(), unknown())
        image, block = image_shape.const, block_shape.const
        if block is not None and image is not None:
            windows = self._windows(image, block)
            blocks = volume([w.count for w in windows])
            if isinstance(count, int) and blocks != count:
                raise ShapeError(f"{blocks} blocks fit into the image, input has {count}: {input.tensor}")
        channels = unknown() if block is None else _divide(c, volume(block.tolist()), "channels", input)
        if image_shape.dims is not None:
            return TensorType(input.dtype, (n, channels, *image_shape.dims.tolist()))
        rank = next((v.shape[0] for v in (image_shape, block_shape) if v.shape is not None), None)
        if not isinstance(rank, int):
            return TensorType(input.dtype, None)
        return TensorType(input.dtype, (n, channels, *(unknown_sizes(rank) or ())))

    def _windows(self, image: Array, block: Array) -> tuple[Window, ...]:
        if len(image) != len(block) or min(*image, 0) < 0:
            raise ShapeError(f"image_shape {image.tolist()} and block_shape {block.tolist()} do not fit together")
        kernel = [int(k) for k in block]
        grid = Grid.of(kernel, strides=self.strides, dilations=self.dilations, pads=self.pads)
        return grid.windows([int(n) for n in image])

    def eval(self, input: Array, image_shape: Array, block_shape: Array) -> Array:
        try:
            windows = self._windows(image_shape, block_shape)
        except InvalidModel as e:
            raise ExecutionError(e.message) from e
        kernel, counts = [w.kernel for w in windows], [w.count for w in windows]
        if input.shape[1] % volume(kernel) or input.shape[2] != volume(counts):
            raise ExecutionError(
                f"input {list(input.shape)} has not {volume(counts)} blocks {kernel}, as {image_shape.tolist()} needs"
            )
        channels = input.shape[1] // volume(kernel)
        shape = (input.shape[0], channels, *(w.size for w in windows))
        check_tensor(shape, input.itemsize, "the image")
        columns = input.reshape(input.shape[0], channels, *kernel, *counts)
        y: Array = np.zeros(shape, input.dtype)
        for k, at, to in elements_of(windows):
            view = y[ending(to)]
            np.add(view, columns[after_two(k)][ending(at)], out=view)
        return y

    def element(self, y: TensorType, input: Source, image_shape: Source, block_shape: Source) -> Element:
        """The sum over the elements k of a block for which some block has its k-th element here."""
        constants(image_shape, "image_shape")
        kernel = constants(block_shape, "block_shape")
        windows = self._windows(np.array(y.sizes[2:], np.int64), np.array(kernel, np.int64))
        counts = [w.count for w in windows]

        def element(n: Linear, c: Linear, *i: Linear) -> Expr:
            def term(*k: Linear) -> Expr:
                place = [p + w.before - j * w.dilation for p, j, w in zip(i, k, windows, strict=True)]
                block = [p // w.stride for p, w in zip(place, windows, strict=True)]
                x = input[n, c * volume(kernel) + flatten(k, kernel), flatten(block, counts)]
                for p, q, w in zip(place, block, windows, strict=True):
                    x = select(equal(position(p % w.stride), 0) & inside(q, w.count), x, 0)
                return x

            return over("sum", kernel, term)

        return element

    def grad(self, dy: Value, y: Value, input: Value, image_shape: Value, block_shape: Value) -> Sequence[Value | None]:
        image, block = image_shape.const, block_shape.const
        if image is None or block is None:
            raise CompileError("the gradient needs image_shape and block_shape as constants")
        windows = self._windows(image, block)
        before, after = [w.before for w in windows], [max(w.after, 0) for w in windows]
        wide = Pad()(dy, const(np.array([0, 0, *before, 0, 0, *after], np.int64)))
        # The position of each element of each block in the padded image.
        positions: Array = np.zeros((), np.int64)
        for i, w in enumerate(windows):
            places = np.arange(w.kernel)[:, None] * w.dilation + np.arange(w.count) * w.stride
            positions = positions[..., None, None] * (before[i] + w.size + after[i]) + places
        n = len(windows)
        positions = positions.transpose([*range(0, 2 * n, 2), *range(1, 2 * n, 2)])
        positions = positions.reshape(volume([w.kernel for w in windows]), -1)
        flat = wide.reshape([*(dy.shape or ())[:2], -1])
        return [Gather(2)(flat, const(positions)).reshape(shape_of(input)), None, None]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


class CenterCropPad(Movement):
    """The centre of x in a frame of `shape`: cropped where x is larger, else zeros around it. ONNX CenterCropPad-18.

    What cannot be shared out evenly is cut off, or added, at the end.

    Attributes:
        axes: the axes that `shape` speaks of; by default all.
    """

    on_dims = False
    axes: Ints | None = None

    def infer(self, input_data: Value, shape: Value) -> TensorType:
        check_dtype(input_data, COMMON, "input_data")
        check_dtype(shape, {int32, int64}, "shape")
        check_rank(shape, "shape", 1)
        if input_data.shape is None:
            known = None if self.axes is not None or shape.dims is None else len(shape.dims)
            return TensorType(input_data.dtype, unknown_sizes(known))
        sizes = list(input_data.shape)
        axes = self._axes(len(sizes))
        wanted = [unknown() for _ in axes] if shape.dims is None else shape.dims.tolist()
        if len(wanted) != len(axes):
            raise ShapeError(f"shape {wanted} has not one entry for each of axes {list(axes)}")
        for axis, n in zip(axes, wanted, strict=True):
            sizes[axis] = n
        return TensorType(input_data.dtype, tuple(sizes))

    def _axes(self, rank: int) -> Ints:
        return tuple(range(rank)) if self.axes is None else normalize_axes(self.axes, rank)

    def eval(self, input_data: Array, shape: Array) -> Array:
        axes = self._axes(input_data.ndim)
        if len(shape) != len(axes) or (shape < 0).any():
            raise ExecutionError(f"shape {shape.tolist()} has not one size for each of axes {list(axes)}")
        sizes = list(input_data.shape)
        source, target = [slice(None)] * len(sizes), [slice(None)] * len(sizes)
        for axis, n in zip(axes, shape.tolist(), strict=True):
            old, sizes[axis] = sizes[axis], n
            if n < old:
                source[axis] = slice((old - n) // 2, (old - n) // 2 + n)
            else:
                target[axis] = slice((n - old) // 2, (n - old) // 2 + old)
        check_tensor(tuple(sizes), input_data.itemsize, "the frame")
        empty = "" if input_data.dtype == object else 0
        y: Array = np.full(sizes, empty, input_data.dtype)
        y[tuple(target)] = input_data[tuple(source)]
        return y

    def element(self, y: TensorType, input_data: Source, shape: Source) -> Element:
        def shift(old: int, new: int) -> int:
            return (old - new) // 2 if new < old else -((new - old) // 2)

        shifts = [shift(m, n) for m, n in zip(input_data.shape, y.sizes, strict=True)]
        return lambda *i: input_data.padded([k + s for k, s in zip(i, shifts, strict=True)])

    def grad(self, dy: Value, y: Value, input_data: Value, shape: Value) -> Sequence[Value | None]:
        # Cropping takes out what padding has put around, because both round alike.
        axes = self._axes(input_data.rank or 0)
        old = static_shape(input_data)
        if old is not None:
            target = const(np.array([old[a] for a in axes], np.int64))
        else:
            target = Gather(0)(shape_of(input_data), const(np.array(axes, np.int64)))
        return [CenterCropPad(self.axes)(dy, target), None]
