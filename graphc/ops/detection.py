"""Ops of object detectors: pooling of regions of interest, and the choice among overlapping boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError, ExecutionError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, as_position, call, cast, guard, over, position, select, wide
from graphc.frozen import Frozen
from graphc.index import Linear
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_tensor
from graphc.ops import samples
from graphc.ops.base import (
    Array,
    TensorType,
    Value,
    check_dtype,
    check_rank,
    check_same_dtype,
    const,
    known_sizes,
    lift,
)
from graphc.ops.elementwise import widen
from graphc.ops.generate import Range
from graphc.ops.indexing import Gather
from graphc.ops.logic import where
from graphc.ops.math import Abs, Ceil, Floor, Sign
from graphc.ops.minmax import Max
from graphc.ops.reshaping import Unsqueeze
from graphc.ops.taps import Pixel, limited, whole
from graphc.ops.unroll import part, slice_at
from graphc.ops.vjp import decomposed_grad
from graphc.ops.windows import Ints, check_ints
from graphc.types import FLOATS, bool_, float32, int64


class RoiAlign(Op):
    """y[r,c,i,j] = the average of bilinear samples of x in cell (i, j) of region rois[r]. ONNX RoiAlign-22.

    x is (N, C, H, W), rois is (R, 4) as x1, y1, x2, y2, batch_indices is (R), y is (R, C, output_height, output_width).

    Attributes:
        coordinate_transformation_mode: "half_pixel" takes pixel (i, j) to be at (i + 0.5, j + 0.5);
            "output_half_pixel" at (i, j), with regions of at least one pixel.
        mode: "avg", or "max": the maximum of the weighted pixels of all samples.
        sampling_ratio: samples of a cell along each axis; 0 for one for each pixel of the cell, rounded up.
        spatial_scale: the size of a pixel of the image that rois speak of, in pixels of x.
    """

    coordinate_transformation_mode: str = "half_pixel"
    mode: str = "avg"
    output_height: int = 1
    output_width: int = 1
    sampling_ratio: int = 0
    spatial_scale: float = 1.0

    def infer(self, x: Value, rois: Value, batch_indices: Value) -> TensorType:
        check_same_dtype(x, rois)
        check_dtype(x, FLOATS, "x")
        check_dtype(batch_indices, {int64}, "batch_indices")
        check_rank(x, "x", 4)
        check_rank(rois, "rois", 2)
        check_rank(batch_indices, "batch_indices", 1)
        if self.mode not in ("avg", "max"):
            raise InvalidModel(f"mode is {self.mode!r}, expected avg or max")
        if self.coordinate_transformation_mode not in ("half_pixel", "output_half_pixel"):
            raise InvalidModel(
                f"coordinate_transformation_mode is {self.coordinate_transformation_mode!r}, expected half_pixel or "
                "output_half_pixel"
            )
        check_ints((self.output_height, self.output_width), "output_height, output_width", 2, 1)
        if self.sampling_ratio < 0:
            raise InvalidModel(f"sampling_ratio is {self.sampling_ratio}, expected at least 0")
        if rois.shape is not None and isinstance(rois.shape[1], int) and rois.shape[1] != 4:
            raise ShapeError(f"rois is {rois.tensor}, expected 4 coordinates for each region")
        counts = [v.shape[0] for v in (rois, batch_indices) if v.shape is not None]
        if len({n for n in counts if isinstance(n, int)}) > 1:
            raise ShapeError(f"rois and batch_indices differ in length: {rois.tensor}, {batch_indices.tensor}")
        regions = next((n for n in counts if isinstance(n, int)), counts[0] if counts else unknown())
        channels = unknown() if x.shape is None else x.shape[1]
        return TensorType(x.dtype, (regions, channels, self.output_height, self.output_width))

    def eval(self, x: Array, rois: Array, batch_indices: Array) -> Array:
        wide, regions = widen(x), widen(rois)
        _check_batch(batch_indices, len(x))
        if not np.isfinite(regions).all():
            raise ExecutionError("a coordinate in rois is not finite")
        y: Array = np.zeros((len(rois), x.shape[1], self.output_height, self.output_width), wide.dtype)
        for r, (region, n) in enumerate(zip(regions, batch_indices.tolist(), strict=True)):
            y[r] = self._pool(wide[n], region)
        return y.astype(x.dtype, copy=False)

    def _pool(self, x: Array, region: Array) -> Array:
        """One region of one image (C, H, W)."""
        half_pixel = self.coordinate_transformation_mode == "half_pixel"
        start_x, start_y, end_x, end_y = region * region.dtype.type(self.spatial_scale) - region.dtype.type(
            0.5 if half_pixel else 0
        )
        rows = self._samples(start_y, end_y, self.output_height, x.shape[1])
        columns = self._samples(start_x, end_x, self.output_width, x.shape[2])
        samples = (x.shape[0], *rows[0].shape, *columns[0].shape)
        check_tensor((2, 2, *samples), x.itemsize, "the samples of a region")
        (top, bottom, down), (left, right, across) = rows, columns
        best: Array | None = None
        for i, u in ((top, 1 - down), (bottom, down)):
            for j, v in ((left, 1 - across), (right, across)):
                pixels = x[:, i[:, :, None, None], j] * (u[:, :, None, None] * v)  # (C, out, samples, out, samples)
                if best is None:
                    best = pixels
                elif self.mode == "avg":
                    best += pixels
                else:
                    np.maximum(best, pixels, out=best)
        assert best is not None
        outside = (np.isnan(down)[:, :, None, None]) | np.isnan(across)
        best = np.where(outside, x.dtype.type(0), best)
        if best.shape[2] * best.shape[4] == 0:  # an empty region
            return np.zeros((x.shape[0], self.output_height, self.output_width), x.dtype)
        return np.asarray(best.mean((2, 4)) if self.mode == "avg" else best.max((2, 4)))

    def _samples(self, start: Array, end: Array, cells: int, size: int) -> tuple[Array, Array, Array]:
        """For each sample along an axis (cells, samples): the pixels around it, and the weight of the second.

        The weight is NaN where the sample is too far outside to count.
        """
        extent = end - start
        if self.coordinate_transformation_mode != "half_pixel":
            extent = max(extent, extent.dtype.type(1))
        cell = extent / extent.dtype.type(cells)
        count = self.sampling_ratio or max(int(np.ceil(cell)), 0)
        check_tensor((cells, count), 8, "the samples of a region")
        ticks = (np.arange(count, dtype=cell.dtype) + cell.dtype.type(0.5)) * cell / cell.dtype.type(max(count, 1))
        x = start + np.arange(cells, dtype=cell.dtype)[:, None] * cell + ticks
        outside = (x < -1) | (x > size)
        x = np.clip(x, 0, size - 1)
        low = np.floor(x).astype(np.int64)
        return low, np.minimum(low + 1, size - 1), np.where(outside, np.nan, x - low).astype(cell.dtype)

    def element(self, y: TensorType, x: Source, rois: Source, batch_indices: Source) -> Element:
        if self.sampling_ratio == 0:
            raise CompileError("the number of samples depends on the regions")
        if 0 in x.shape:
            raise CompileError("there is nothing to sample")
        count = self.sampling_ratio

        def element(r: Linear, c: Linear, i: Linear, j: Linear) -> Expr:
            image = as_position(batch_indices[r], x.shape[0])
            left, top, right, bottom = (self._edge(rois[r, k]) for k in range(4))

            def sample(s: Linear, t: Linear) -> Expr:
                rows, row_ok = self._pixels(top, bottom, i, self.output_height, s, x.shape[2])
                columns, column_ok = self._pixels(left, right, j, self.output_width, t, x.shape[3])
                found: Expr | None = None
                for row in rows:
                    for column in columns:
                        value = wide(x[image, c, row.place, column.place]) * (row.weight * column.weight)
                        joined = value if found is None else call("add" if self.mode == "avg" else "max", found, value)
                        found = joined
                assert found is not None
                return select(row_ok & column_ok, found, 0)

            total = over("sum" if self.mode == "avg" else "max", [count, count], sample)
            return cast(total / (count * count) if self.mode == "avg" else total, y.dtype)

        return element

    def _edge(self, x: Expr) -> Expr:
        """A coordinate of a region in pixels of x."""
        given = wide(x)
        finite = guard(~(call("isnan", given, dtype=bool_) | call("isinf", given, dtype=bool_)), given)
        return finite * self.spatial_scale - (0.5 if self.coordinate_transformation_mode == "half_pixel" else 0)

    def _pixels(
        self, start: Expr, end: Expr, i: Linear, cells: int, tick: Linear, size: int
    ) -> tuple[list[Pixel], Expr]:
        """The two pixels around a sample of cell `i`, and whether it is near enough to the image to count."""
        extent = end - start
        if self.coordinate_transformation_mode != "half_pixel":
            extent = call("max", extent, 1)
        cell = extent / cells
        within = (cast(position(tick), cell.dtype) + 0.5) * cell / self.sampling_ratio
        x = start + cast(position(i), cell.dtype) * cell + within
        inner = limited(x, 0, size - 1)
        low = call("floor", inner)
        pixels = [Pixel(whole(low, size), 1 - (inner - low)), Pixel(whole(low + 1, size), inner - low)]
        return pixels, (x >= -1) & (x <= size)

    def grad(self, dy: Value, y: Value, x: Value, rois: Value, batch_indices: Value) -> Sequence[Value | None]:
        return decomposed_grad(self._pooled, dy, y, [x, rois, batch_indices])

    def _pooled(self, x: Value, rois: Value, batch_indices: Value) -> Value:
        """The op in simpler ones: the samples of all regions, (R, rows, samples, columns, samples, C), then reduced."""
        _, _, height, width = known_sizes(x, 0, 1, 2, 3)
        half_pixel = self.coordinate_transformation_mode == "half_pixel"
        corners = rois * self.spatial_scale - (0.5 if half_pixel else 0.0)
        left, top, right, bottom = (slice_at(corners, 1, k).reshape([-1, 1, 1]) for k in range(4))
        rows = self._line(top, bottom, self.output_height, height, [3, 4])
        columns = self._line(left, right, self.output_width, width, [1, 2])
        image = batch_indices.reshape([-1, 1, 1, 1, 1]) * (height * width)
        pixels, last = samples.rows_of(x), const([5], int64)
        terms = []
        for i in rows.samples:
            for j in columns.samples:
                picked = Gather(0).apply((pixels, image + i.position * width + j.position))[0]
                terms.append(picked * Unsqueeze().apply((i.weight * j.weight, last))[0])
        average = self.mode == "avg"
        value = samples.sum_of(terms) if average else Max().apply(terms)[0]
        near = Unsqueeze().apply((rows.near & columns.near, last))[0]
        value = where(near, value, 0.0)
        if rows.counted is not None and columns.counted is not None:
            counted = Unsqueeze().apply((rows.counted & columns.counted, last))[0]
            value = where(counted, value, 0.0 if average else -np.inf)
        if average:
            total = value.sum([2, 4])
            y = total / limited_below(rows.count * columns.count, 1.0)
        else:
            y = where(rows.count * columns.count > 0.0, value.max([2, 4]), 0.0)
        return y.transpose([0, 3, 1, 2])

    def _line(self, start: Value, end: Value, cells: int, size: int, others: Sequence[int]) -> Line:
        """`_samples` on values, with the axes `others` of size 1."""
        extent = end - start
        if self.coordinate_transformation_mode != "half_pixel":
            extent = limited_below(extent, 1.0)
        cell = extent / float(cells)
        if self.sampling_ratio:
            count, counted = lift(float(self.sampling_ratio), cell).reshape([1, 1, 1]), None
            tick = const(np.arange(self.sampling_ratio), cell.dtype)
        else:
            count = limited_below(Ceil().apply((cell,))[0], 0.0)
            most = limited_below(count.max(), 0.0).cast(int64)
            tick = Range().apply((const(0, int64), most, const(1, int64)))[0].cast(cell.dtype)
            counted = tick < count
        x = (
            start
            + const(np.arange(cells)[:, None], cell.dtype) * cell
            + (tick + 0.5) * cell / limited_below(count, 1.0)
        )
        near = (x >= -1.0) & (x <= float(size))

        def spread(v: Value) -> Value:
            return Unsqueeze().apply((v, const(others, int64)))[0]

        pair = samples.around(samples.limited(x, 0, size - 1), size, zeros=False)
        return Line(
            [samples.Sample(spread(p.position), spread(p.weight)) for p in pair],
            spread(near),
            None if counted is None else spread(counted),
            count.reshape([-1, 1, 1, 1]),
        )

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        samples = self.sampling_ratio**2 or 1
        return Cost(8 * samples * elements(ys[0]), traffic(xs, ys))


class Line(Frozen):
    """The samples of the regions along an axis, as values that broadcast with (R, rows, samples, columns, samples).

    Attributes:
        samples: the two pixels around each.
        near: whether it is near enough to the image to count.
        counted: false where a region has fewer samples than another; None where all have as many.
        count: samples of a cell, (R, 1, 1, 1).
    """

    samples: Sequence[samples.Sample]
    near: Value
    counted: Value | None
    count: Value


def limited_below(x: Value, low: float) -> Value:
    """max(x, low)."""
    return Max().apply((x, lift(low, x)))[0]


def _check_batch(indices: Array, n: int) -> None:
    if indices.size and not 0 <= indices.min() <= indices.max() < n:
        raise ExecutionError(f"batch indices from {indices.min()} to {indices.max()}, valid 0..{n - 1}")


class MaxRoiPool(Op):
    """y[r,c,i,j] = the maximum of x in cell (i, j) of region rois[r], 0 for an empty cell. ONNX MaxRoiPool-22.

    x is (N, C, H, W), rois is (R, 5) as batch index, x1, y1, x2, y2, y is (R, C, *pooled_shape).

    Attributes:
        pooled_shape: cells of a region, (height, width).
        spatial_scale: the size of a pixel of the image that rois speak of, in pixels of x.
    """

    pooled_shape: Ints
    spatial_scale: float = 1.0

    def infer(self, x: Value, rois: Value) -> TensorType:
        check_same_dtype(x, rois)
        check_dtype(x, FLOATS, "x")
        check_rank(x, "x", 4)
        check_rank(rois, "rois", 2)
        pooled = check_ints(self.pooled_shape, "pooled_shape", 2, 1)
        if rois.shape is not None and isinstance(rois.shape[1], int) and rois.shape[1] != 5:
            raise ShapeError(f"rois is {rois.tensor}, expected a batch index and 4 coordinates for each region")
        regions = unknown() if rois.shape is None else rois.shape[0]
        channels = unknown() if x.shape is None else x.shape[1]
        return TensorType(x.dtype, (regions, channels, *pooled))

    def eval(self, x: Array, rois: Array) -> Array:
        regions = widen(rois)
        if not np.isfinite(regions).all():
            raise ExecutionError("a number in rois is not finite")
        _check_batch(regions[:, 0], len(x))
        y: Array = np.zeros((len(rois), x.shape[1], *self.pooled_shape), x.dtype)
        for r, (n, *corners) in enumerate(regions):
            # Halves away from zero, as C's round.
            scaled = np.asarray(corners) * regions.dtype.type(self.spatial_scale)
            x1, y1, x2, y2 = (np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)).tolist()
            rows = _cells(y1, y2, self.pooled_shape[0], x.shape[2])
            columns = _cells(x1, x2, self.pooled_shape[1], x.shape[3])
            image = x[int(n)]
            for i, (top, bottom) in enumerate(rows):
                if bottom <= top:
                    continue
                line = image[:, top:bottom].max(1)
                for j, (left, right) in enumerate(columns):
                    if left < right:
                        y[r, :, i, j] = line[:, left:right].max(1)
        return y

    def grad(self, dy: Value, y: Value, x: Value, rois: Value) -> Sequence[Value | None]:
        return decomposed_grad(self._pooled, dy, y, [x, rois])

    def _pooled(self, x: Value, rois: Value) -> Value:
        """The op in simpler ones: the maxima of the pixels in each column of cells, then of those in each cell."""
        _, _, height, width = known_sizes(x, 0, 1, 2, 3)
        image = slice_at(rois, 1, 0).cast(int64)
        scaled = part(rois, 1, 1, 5) * self.spatial_scale
        whole = Floor().apply((Abs().apply((scaled,))[0] + 0.5,))[0] * Sign().apply((scaled,))[0]
        left, top, right, bottom = (slice_at(whole, 1, k).reshape([-1, 1, 1]) for k in range(4))
        columns = _membership(left, right, self.pooled_shape[1], width)
        rows = _membership(top, bottom, self.pooled_shape[0], height)
        regions = Unsqueeze().apply((Gather(0).apply((x, image))[0], const([3], int64)))[0]  # (R, C, H, 1, W)
        in_column = Unsqueeze().apply((columns, const([1, 2], int64)))[0]
        lines = where(in_column, regions, -np.inf).max([4])
        in_row = Unsqueeze().apply((rows, const([1, 4], int64)))[0]
        y = where(in_row, Unsqueeze().apply((lines, const([2], int64)))[0], -np.inf).max([3])
        return where(y > -np.inf, y, 0.0)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(ys[0]), traffic(xs, ys))


def _cells(start: float, end: float, count: int, size: int) -> list[tuple[int, int]]:
    """The ranges of pixels, cut to the image, of `count` cells from pixel `start` to `end`, both inside."""
    cell = np.float32(max(end - start + 1, 1)) / np.float32(count)
    ranges = []
    for i in range(count):
        low, high = np.floor(np.float32(i) * cell) + start, np.ceil(np.float32(i + 1) * cell) + start
        ranges.append((int(min(max(low, 0), size)), int(min(max(high, 0), size))))
    return ranges


def _membership(start: Value, end: Value, count: int, size: int) -> Value:
    """Whether a pixel is in a cell: (R, count, size), the ranges being those of `_cells`."""
    cell = limited_below((end - start + 1.0).cast(float32), 1.0) / float(count)
    i, pixel = np.arange(count, dtype=np.float32)[:, None], const(np.arange(size), start.dtype)
    low, high = Floor().apply((cell * const(i),))[0], Ceil().apply((cell * const(i + 1),))[0]
    return (pixel >= low.cast(start.dtype) + start) & (pixel < high.cast(start.dtype) + start)


class NonMaxSuppression(Op):
    """Boxes by falling score, but none that overlaps one before it by more than a threshold. ONNX NonMaxSuppression-11.

    boxes is (N, B, 4), scores is (N, classes, B); the result is (selected, 3): batch index, class, box.
    Overlap is intersection / union. Without `max_output_boxes_per_class`, nothing is selected.

    Attributes:
        center_point_box: boxes are (x centre, y centre, width, height); otherwise two corners (y1, x1, y2, x2).
    """

    center_point_box: int = 0

    def infer(
        self,
        boxes: Value,
        scores: Value,
        max_output_boxes_per_class: Value | None = None,
        iou_threshold: Value | None = None,
        score_threshold: Value | None = None,
    ) -> TensorType:
        if self.center_point_box not in (0, 1):
            raise InvalidModel(f"center_point_box is {self.center_point_box}, expected 0 or 1")
        for what, v in [("boxes", boxes), ("scores", scores)]:
            check_dtype(v, {float32}, what)
            check_rank(v, what, 3)
        for what, parameter, dtype in [
            ("max_output_boxes_per_class", max_output_boxes_per_class, int64),
            ("iou_threshold", iou_threshold, float32),
            ("score_threshold", score_threshold, float32),
        ]:
            if parameter is not None:
                check_dtype(parameter, {dtype}, what)
                check_rank(parameter, what, 0, 1)
        if boxes.shape is not None and scores.shape is not None:
            (n, b, four), (m, _, c) = boxes.shape, scores.shape
            for p, q in [(n, m), (b, c), (four, 4)]:
                if isinstance(p, int) and isinstance(q, int) and p != q:
                    raise ShapeError(
                        f"boxes {boxes.tensor} and scores {scores.tensor} are not (N,B,4) and (N,classes,B)"
                    )
        return TensorType(int64, (unknown(), 3))

    def eval(
        self,
        boxes: Array,
        scores: Array,
        max_output_boxes_per_class: Array | None = None,
        iou_threshold: Array | None = None,
        score_threshold: Array | None = None,
    ) -> Array:
        most = int(_scalar(max_output_boxes_per_class, 0))
        overlap = np.float32(_scalar(iou_threshold, 0))
        if not 0 <= overlap <= 1:
            raise ExecutionError(f"iou_threshold is {overlap}, expected 0 to 1")
        selected: list[tuple[int, int, int]] = []
        for n in range(len(boxes)):
            corners = self._corners(boxes[n])
            for c in range(scores.shape[1]):
                order = np.argsort(-scores[n, c], kind="stable")
                if score_threshold is not None and score_threshold.size:
                    order = order[scores[n, c][order] > _scalar(score_threshold, 0)]
                selected += [(n, c, int(b)) for b in _greedy(corners, order, most, overlap)]
        return np.array(selected, np.int64).reshape(-1, 3)

    def _corners(self, boxes: Array) -> Array:
        """Lower and upper coordinates of each box: (B, 2, 2)."""
        if self.center_point_box:
            centre, half = boxes[:, :2], boxes[:, 2:] / 2
            return np.stack([centre - half, centre + half], 1)
        pairs = boxes.reshape(-1, 2, 2)
        return np.stack([pairs.min(1), pairs.max(1)], 1)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[1]), traffic(xs, ys))


def _scalar(x: Array | None, default: float) -> float:
    return default if x is None or x.size == 0 else x.reshape(-1)[0].item()


def _greedy(corners: Array, order: Array, most: int, threshold: np.float32) -> list[int]:
    """At most `most` boxes in `order`, none of which overlaps one before it by more than `threshold`."""
    sides = corners[:, 1] - corners[:, 0]
    areas = sides[:, 0] * sides[:, 1]
    chosen: list[int] = []
    while len(order) and len(chosen) < most:
        best, order = int(order[0]), order[1:]
        chosen.append(best)
        low = np.maximum(corners[best, 0], corners[order, 0])
        high = np.minimum(corners[best, 1], corners[order, 1])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        union = areas[best] + areas[order] - shared
        proper = (shared > 0) & (areas[best] > 0) & (areas[order] > 0) & (union > 0)
        ratio = np.divide(shared, union, out=np.zeros_like(shared), where=proper)
        order = order[~(proper & (ratio > threshold))]
    return chosen
