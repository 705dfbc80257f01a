"""Resize: sampling a tensor on a finer or coarser grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np

from graphc.dims import Dim, SymDim, unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, call, cast, constant, select
from graphc.frozen import Frozen
from graphc.index import Linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops.base import Array, Shape, TensorType, Value, check_dtype, check_rank, const, normalize_axes
from graphc.ops.interpolation import COORDINATES, NEAREST, Taps, filtered, linear, nearest, original
from graphc.ops.shape import at_run_time
from graphc.ops.taps import Kernel, Pixel, coordinate, nearest_place, two_pixels, wide_type
from graphc.ops.windows import Ints
from graphc.types import COMPLEX, FLOATS, INTEGERS, DType, Tensor, bool_, float16, float32, float64, int64, string

NUMERIC = FLOATS | INTEGERS | COMPLEX
POLICIES = ("stretch", "not_larger", "not_smaller")


class Target(Frozen):
    """What becomes of one axis: `size` elements become `out`, `scale` times as many; `roi` is the part that is read.

    Where a scale is given, `out` may be less or more than scale · size, the `length` that coordinates refer to.
    """

    axis: int
    size: Dim
    out: Dim
    scale: float
    scaled: bool = False
    roi: tuple[float, float] = (0.0, 1.0)

    @property
    def inputs(self) -> int:
        """`size`, which must be known."""
        assert isinstance(self.size, int)
        return self.size

    @property
    def outputs(self) -> int:
        """`out`, which must be known."""
        assert isinstance(self.out, int)
        return self.out

    @property
    def length(self) -> float:
        """ONNX's output_width: `scale` · `size`, or `out` where that was given."""
        return float(np.float32(self.scale) * np.float32(self.inputs)) if self.scaled else float(self.outputs)


class Resize(Op):
    """y_i = the interpolation of x at the coordinate in x that i corresponds to. ONNX Resize-19.

    Give either `scales` (y's size is floor(size · scale)) or `sizes`; an empty tensor counts as none.

    Attributes:
        antialias: when scaling down, stretch the kernel of "linear" or "cubic" so that every element of x counts.
        axes: the axes that roi, scales and sizes speak of; by default all.
        coordinate_transformation_mode: how a coordinate of y becomes one of x.
        cubic_coeff_a: the parameter of the cubic kernel.
        exclude_outside: weigh positions outside of x with 0; otherwise they have the value of the nearest edge.
        extrapolation_value: the result for coordinates outside of x in mode "tf_crop_and_resize".
        keep_aspect_ratio_policy: "stretch" to `sizes`; or scale all axes alike, "not_larger" or "not_smaller" than it.
        mode: "nearest", "linear" or "cubic".
        nearest_mode: which of two neighbours is the nearest.
    """

    antialias: bool = False
    axes: Ints | None = None
    coordinate_transformation_mode: str = "half_pixel"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    extrapolation_value: float = 0.0
    keep_aspect_ratio_policy: str = "stretch"
    mode: str = "nearest"
    nearest_mode: str = "round_prefer_floor"

    def infer(
        self, x: Value, roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None
    ) -> TensorType:
        self._check_attributes()
        check_dtype(x, NUMERIC | {bool_, string} if self.mode == "nearest" else NUMERIC, "x")
        for v, allowed, what in [(roi, {float16, float32, float64}, "roi"), (scales, {float32}, "scales"),
                                 (sizes, {int64}, "sizes")]:  # fmt: skip
            if v is not None:
                check_dtype(v, allowed, what)
                check_rank(v, what, 1)
        scales, sizes = _given(scales), _given(sizes)
        if scales is None and sizes is None:
            raise InvalidModel("neither scales nor sizes is given")
        if scales is not None and sizes is not None:
            if isinstance(scales.shape, tuple) and isinstance(scales.shape[0], int):
                raise InvalidModel(f"both scales {scales.tensor} and sizes {sizes.tensor} are given")
            return TensorType(x.dtype, None if x.shape is None else tuple(unknown() for _ in x.shape))
        return TensorType(x.dtype, self._shape(x, scales, sizes))

    def _check_attributes(self) -> None:
        for what, given, allowed in [
            ("mode", self.mode, ("nearest", "linear", "cubic")),
            ("nearest_mode", self.nearest_mode, NEAREST),
            ("coordinate_transformation_mode", self.coordinate_transformation_mode, COORDINATES),
            ("keep_aspect_ratio_policy", self.keep_aspect_ratio_policy, POLICIES),
        ]:
            if given not in allowed:
                raise InvalidModel(f"{what} is {given!r}, expected one of {', '.join(allowed)}")
        if self.antialias and self.mode == "nearest":
            raise InvalidModel("antialias=1 needs mode linear or cubic")

    def _shape(self, x: Value, scales: Value | None, sizes: Value | None) -> Shape | None:
        if x.shape is None:
            return None
        shape = list(x.shape)
        axes = self._axes(len(shape))
        given = scales if sizes is None else sizes
        known = None if given is None else given.const if sizes is None else given.dims
        if known is not None:
            for t in self._targets(shape, known if sizes is None else None, None if sizes is None else known):
                shape[t.axis] = t.out
            return tuple(shape)
        if given is not None and given.shape is not None and isinstance(given.shape[0], int):
            _check_length(given.shape[0], axes, given)
        for axis in axes:
            shape[axis] = unknown()
        return tuple(shape)

    def _axes(self, rank: int) -> Ints:
        return normalize_axes(self.axes, rank) if self.axes is not None else tuple(range(rank))

    def _targets(
        self, shape: Sequence[Dim], scales: Array | None, sizes: Array | None, roi: Array | None = None
    ) -> list[Target]:
        """What becomes of each axis in `axes`."""
        axes = self._axes(len(shape))
        given = scales if scales is not None else sizes
        assert given is not None
        if len(given) != len(axes):
            raise ShapeError(f"{'scales' if sizes is None else 'sizes'} {given.tolist()} do not fit axes {list(axes)}")
        if scales is not None:
            targets = [_scaled(a, shape[a], float(s)) for a, s in zip(axes, scales, strict=True)]
        else:
            targets = self._sized(axes, [shape[a] for a in axes], given.tolist())
        if self.coordinate_transformation_mode != "tf_crop_and_resize" or roi is None:
            return targets
        if len(roi) != 2 * len(axes):
            raise ShapeError(f"roi has {len(roi)} entries, expected a start and an end for each of {len(axes)} axes")
        return [replace(t, roi=(float(roi[k]), float(roi[len(axes) + k]))) for k, t in enumerate(targets)]

    def _sized(self, axes: Ints, old: list[Dim], new: list[Dim]) -> list[Target]:
        for m, n in zip(old, new, strict=True):
            if isinstance(n, int) and (n < 0 or (m == 0 and n > 0)):
                raise ShapeError(f"an axis of size {m} cannot be resized to {n}")
        if self.keep_aspect_ratio_policy == "stretch":
            return [Target(a, m, n, _ratio(n, m)) for a, m, n in zip(axes, old, new, strict=True)]
        if any(isinstance(d, SymDim) for d in (*old, *new)) or 0 in old:
            return [Target(a, m, unknown(), 1.0) for a, m in zip(axes, old, strict=True)]
        best = min if self.keep_aspect_ratio_policy == "not_larger" else max
        scale = best(_ratio(n, m) for m, n in zip(old, new, strict=True))
        return [
            Target(a, m, int(np.floor(np.float32(scale) * np.float32(m) + np.float32(0.5))), scale, scaled=True)
            for a, m in zip(axes, old, strict=True)
            if isinstance(m, int)
        ]

    def eval(
        self, x: Array, roi: Array | None = None, scales: Array | None = None, sizes: Array | None = None
    ) -> Array:
        scales = None if scales is None or scales.size == 0 else scales
        sizes = None if sizes is None or sizes.size == 0 else sizes
        if (scales is None) == (sizes is None):
            raise ExecutionError("neither or both of scales and sizes have elements, expected one of them")
        if roi is None and self.coordinate_transformation_mode == "tf_crop_and_resize":
            raise ExecutionError("coordinate_transformation_mode tf_crop_and_resize needs roi")
        targets = at_run_time(self._targets, x.shape, scales, sizes, roi)
        shape = list(x.shape)
        for t in targets:
            shape[t.axis] = t.outputs
        check_tensor(tuple(shape), x.itemsize, "the resized tensor")
        changed = [t for t in targets if not self._unchanged(t)]
        if 0 in shape:
            return np.zeros(shape, x.dtype)
        y = self._interpolate(x, changed)
        outside = self._outside(changed, shape)
        if outside is not None:
            y = np.where(outside, np.asarray(self.extrapolation_value).astype(x.dtype), y)
        return np.ascontiguousarray(y)

    def _unchanged(self, t: Target) -> bool:
        """True when y is x along the axis."""
        if self.coordinate_transformation_mode == "tf_crop_and_resize" and t.roi != (0.0, 1.0):
            return False
        return t.size == t.out and t.scale == 1

    def _coordinates(self, t: Target) -> Array:
        mode = self.coordinate_transformation_mode
        return original(mode, t.inputs, t.outputs, t.scale, length=t.length, roi=t.roi)

    def _taps(self, t: Target) -> Taps:
        """The interpolation along the axis."""
        x, size = self._coordinates(t), t.inputs
        if self.mode == "nearest":
            positions = nearest(x, self.nearest_mode, size)[:, None]
            return Taps(positions, np.ones(positions.shape))
        if self.mode == "linear" and not self.antialias:
            return linear(x, size)
        return filtered(
            x, size, 1 if self.mode == "linear" else 2,
            scale=t.scale if self.antialias else 1.0, a=self.cubic_coeff_a,
            exclude_outside=self.exclude_outside, normalize=self.antialias,
        )  # fmt: skip

    def _interpolate(self, x: Array, targets: Sequence[Target]) -> Array:
        if self.mode == "nearest":
            for t in targets:
                x = np.take(x, nearest(self._coordinates(t), self.nearest_mode, t.inputs), t.axis)
            return x
        wide = x
        if x.dtype.kind not in "fc" or x.dtype.itemsize < 4:
            wide = x.astype(np.float64 if x.dtype.kind in "iu" and x.dtype.itemsize > 2 else np.float32)
        for t in sorted(targets, key=lambda t: t.scale):  # what shrinks first leaves less to do
            wide = self._taps(t).apply(wide, t.axis)
        if x.dtype.kind not in "iu":
            return wide.astype(x.dtype, copy=False)
        bounds = np.iinfo(x.dtype)
        return np.clip(np.rint(wide), bounds.min, bounds.max).astype(x.dtype)

    def element(
        self,
        y: TensorType,
        x: Source,
        roi: Source | None = None,
        scales: Source | None = None,
        sizes: Source | None = None,
    ) -> Element:
        cropped = self.coordinate_transformation_mode == "tf_crop_and_resize"
        given = [None if v is None or v.shape == (0,) else v for v in (roi if cropped else None, scales, sizes)]
        if any(v is not None and v.const is None for v in given):
            raise CompileError("scales, sizes or roi are known only at run time")
        region, factors, wanted = (None if v is None else v.const for v in given)
        if (factors is None) == (wanted is None) or (cropped and region is None):
            raise CompileError("roi, or one of scales and sizes, is missing")
        changed = [t for t in self._targets(x.shape, factors, wanted, region) if not self._unchanged(t)]
        changed.sort(key=lambda t: t.scale)
        dtype = x.dtype if self.mode == "nearest" else wide_type(x.dtype)
        mode = self.coordinate_transformation_mode

        def element(*i: Linear) -> Expr:
            places = {
                t.axis: coordinate(mode, i[t.axis], t.inputs, t.outputs, t.scale, length=t.length, roi=t.roi)
                for t in changed
            }
            pixels = {t.axis: self._pixels(t, places[t.axis], len(changed), dtype) for t in changed}

            def read(index: tuple[Linear, ...], count: int) -> Expr:
                """The element at `index` once the first `count` of the axes are resized."""
                if count == 0:
                    return cast(x[index], dtype)
                t = changed[count - 1]

                def at(place: Linear) -> Expr:
                    return read((*index[: t.axis], place, *index[t.axis + 1 :]), count - 1)

                if self.mode == "nearest":
                    n = self._repeats(t)
                    return at(i[t.axis] // n if n else nearest_place(places[t.axis], self.nearest_mode, t.inputs))
                found = pixels[t.axis]
                if not found:
                    return self._kernel(t).sum(places[t.axis], t.inputs, at)
                return reduce(add, (at(p.place) * p.weight for p in found))

            value = read(i, len(changed))
            if dtype.is_float and x.dtype.is_integer:
                value = call("round", value)
            value = cast(value, y.dtype)
            for t in changed if cropped else ():
                beyond = (places[t.axis] < 0) | (places[t.axis] > t.inputs - 1)
                value = select(beyond, constant(np.asarray(self.extrapolation_value, y.dtype.numpy), y.dtype), value)
            return value

        return element

    def _pixels(self, t: Target, x: Expr, axes: int, dtype: DType) -> list[Pixel]:
        """The pixels of a sample along an axis at coordinate `x`; none where there are too many to write out."""
        if self.mode == "nearest":
            return []
        if self.mode == "linear" and not self.antialias:
            return two_pixels(x, t.inputs, dtype)
        kernel = self._kernel(t)
        return kernel.pixels(x, t.inputs, dtype) if kernel.count**axes <= 64 else []

    def _kernel(self, t: Target) -> Kernel:
        return Kernel(
            1 if self.mode == "linear" else 2,
            t.scale if self.antialias else 1.0,
            self.cubic_coeff_a,
            self.exclude_outside,
            self.antialias,
        )

    def _repeats(self, t: Target) -> int:
        """n, where each element is simply there n times in a row; else 0."""
        n = int(t.scale)
        if n != t.scale or t.outputs != n * t.inputs or t.outputs >= 1 << 20:  # float32 must tell elements apart
            return 0
        mode = self.coordinate_transformation_mode
        if mode in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"):  # (i + ½)/n - ½, and no ties
            return n if self.nearest_mode.startswith("round") else 0
        return n if mode == "asymmetric" and self.nearest_mode == "floor" else 0

    def _outside(self, targets: Sequence[Target], shape: Sequence[int]) -> Array | None:
        """Where the extrapolation value stands, if anywhere."""
        if self.coordinate_transformation_mode != "tf_crop_and_resize":
            return None
        outside = np.zeros([1] * len(shape), bool)
        for t in targets:
            x = self._coordinates(t)
            beyond = (x < 0) | (x > t.inputs - 1)
            outside = outside | beyond.reshape([-1 if i == t.axis else 1 for i in range(len(shape))])
        return outside if outside.any() else None

    def grad(
        self,
        dy: Value,
        y: Value,
        x: Value,
        roi: Value | None = None,
        scales: Value | None = None,
        sizes: Value | None = None,
    ) -> Sequence[Value | None]:
        # y = (M_1 ⊗ M_2 ⊗ …) x, one matrix for each axis, so dx has their transposes.
        dx = dy
        for t in self._known_targets(x, roi, _given(scales), _given(sizes)):
            if self._unchanged(t):
                continue
            matrix = self._taps(t).matrix(t.inputs)
            if self.coordinate_transformation_mode == "tf_crop_and_resize":
                c = self._coordinates(t)
                matrix[(c < 0) | (c > t.inputs - 1)] = 0
            order = [i for i in range(x.rank or 0) if i != t.axis]
            weights = const(Tensor(matrix.astype(x.dtype.numpy), x.dtype))
            product = dx.transpose([*order, t.axis]) @ weights
            back = list(range(len(order)))
            back.insert(t.axis, len(order))
            dx = product.transpose(back)
        return [dx, *(None for v in (roi, scales, sizes)[: self._inputs(roi, scales, sizes)])]

    @staticmethod
    def _inputs(*optional: Value | None) -> int:
        """How many of the optional inputs the node has: up to the last that is there."""
        return max((i + 1 for i, v in enumerate(optional) if v is not None), default=0)

    def _known_targets(self, x: Value, roi: Value | None, scales: Value | None, sizes: Value | None) -> list[Target]:
        cropped = self.coordinate_transformation_mode == "tf_crop_and_resize"
        inputs = [(roi if cropped else None, "const"), (scales, "const"), (sizes, "dims")]
        known = [None if v is None else getattr(v, kind) for v, kind in inputs]
        if x.shape is not None and all(v is None or k is not None for (v, _), k in zip(inputs, known, strict=True)):
            targets = self._targets(x.shape, known[1], known[2], known[0])
            if all(self._unchanged(t) or (isinstance(t.size, int) and isinstance(t.out, int)) for t in targets):
                return targets
        raise CompileError(
            f"the gradient needs constant scales or sizes and known sizes of the resized axes of {x.type}",
            hint="Bind the symbolic dimensions with specialize() first",
        )

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        taps = {"nearest": 0, "linear": 2, "cubic": 4}[self.mode]
        return Cost(2 * taps * elements(ys[0]), traffic(xs, ys))


def _given(v: Value | None) -> Value | None:
    """`v`, or None if it is known to be empty, a way to write that it is not there."""
    return None if v is None or v.shape == (0,) else v


def _check_length(length: int, axes: Ints, given: Value) -> None:
    if length != len(axes):
        raise ShapeError(f"{given.tensor} has not one entry for each of {len(axes)} axes")


def _ratio(new: Dim, old: Dim) -> float:
    """new / old in float32; 1 for equal sizes, and where a size is not known."""
    if new == old or isinstance(new, SymDim) or isinstance(old, SymDim):
        return 1.0
    return float(np.float32(new) / np.float32(old))


def _scaled(axis: int, size: Dim, scale: float) -> Target:
    if not 0 < scale < np.inf:
        raise ShapeError(f"scale {scale} of axis {axis}, expected a positive number")
    if scale == 1:
        return Target(axis, size, size, 1.0)
    if isinstance(size, SymDim):
        return Target(axis, size, size * int(scale) if scale.is_integer() else unknown(), scale)
    return Target(axis, size, int(np.floor(np.float32(size) * np.float32(scale))), scale, scaled=True)
