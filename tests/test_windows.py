"""Convolution and pooling refuse what makes no sense, and compute sizes before they allocate."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from graphc.dims import ceildiv, sym
from graphc.errors import (
    CompileError,
    ExecutionError,
    GraphcError,
    InvalidModel,
    ResourceLimit,
    ShapeError,
    TypeMismatch,
)
from graphc.interpret import evaluate
from graphc.ir import Value
from graphc.ops.base import const
from graphc.ops.conv import Conv, ConvTranspose
from graphc.ops.detection import RoiAlign
from graphc.ops.pool import AveragePool, LpPool, MaxPool, MaxUnpool
from graphc.ops.rearrange import CenterCropPad, DepthToSpace, SpaceToDepth
from graphc.ops.resize import Resize
from graphc.ops.windows import Grid, Window
from graphc.types import TensorType, float32, int32, int64

HUGE = 2**40


def value(*shape, dtype=float32):
    return Value(TensorType(dtype, shape), name="x")


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"strides": (0, 1)}, r"strides=\[0, 1\], expected values of at least 1"),
        ({"dilations": (1, 0)}, r"dilations=\[1, 0\], expected values of at least 1"),
        ({"strides": (1,)}, r"strides=\[1\] has 1 entries, expected 2"),
        ({"pads": (1, 1)}, r"pads=\[1, 1\] has 2 entries, expected 4"),
        ({"pads": (0, -1, 0, 0)}, r"pads=\[0, -1, 0, 0\], expected values of at least 0"),
        ({"group": 0}, "group is 0, expected at least 1"),
        ({"group": -3}, "group is -3, expected at least 1"),
        ({"auto_pad": "SAME"}, "auto_pad is 'SAME', expected one of NOTSET, SAME_UPPER, SAME_LOWER, VALID"),
        ({"auto_pad": "VALID", "pads": (1, 1, 1, 1)}, r"auto_pad=VALID and pads=\[1, 1, 1, 1\] exclude each other"),
        ({"kernel_shape": (3, 2)}, r"kernel_shape=\[3, 2\] is not the shape of the kernels in w \[4,3,3,3\]"),
        ({"dilations": (4, 1)}, r"a window of 9 \(kernel 3, dilation 4\) does not fit on spatial axis 0 of size 8"),
        ({"group": 3}, r"x has 3 channels, w takes 3 × 3 groups: f32\[1,3,8,8\], w f32\[4,3,3,3\]"),
    ],
)
def test_conv_refuses_attributes(attributes, error):
    with pytest.raises(InvalidModel, match=error):
        Conv(**attributes)(value(1, 3, 8, 8), value(4, 3, 3, 3))


@pytest.mark.parametrize(
    ("x", "w", "b", "error"),
    [
        ((1, 3, 8, 8), (4, 3, 3), None, r"ranks differ: x f32\[1,3,8,8\], w f32\[4,3,3\]"),
        ((1, 3), (4, 3), None, "expected rank 3 to 64"),
        ((1, 5, 8, 8), (4, 3, 3, 3), None, r"x has 5 channels, w takes 3 × 1 groups: f32\[1,5,8,8\], w f32\[4,3,3,3\]"),
        ((1, 3, 8, 8), (4, 3, 3, 3), (3,), r"b is f32\[3\], expected one entry for each of 4 output channels"),
        ((1, 3, 8, 8), (4, 3, 9, 3), None, "does not fit on spatial axis 0"),
    ],
)
def test_conv_refuses_shapes(x, w, b, error):
    with pytest.raises(ShapeError, match=error):
        Conv()(value(*x), value(*w), None if b is None else value(*b))


def test_conv_refuses_types():
    with pytest.raises(TypeMismatch, match="x is i32"):
        Conv()(value(1, 1, 3, 3, dtype=int32), value(1, 1, 3, 3, dtype=int32))
    with pytest.raises(TypeMismatch, match="element types differ"):
        Conv()(value(1, 1, 3, 3), value(1, 1, 3, 3, dtype=int32))


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"output_padding": (2, 0)}, r"output_padding=\[2, 0\] must be less than strides=\[2, 2\]"),
        ({"output_shape": (7,)}, r"output_shape=\[7\] has 1 entries, expected 2"),
        ({"pads": (9, 0, 9, 0)}, "nothing is left of spatial axis 0"),
        ({"group": 2}, r"3 input channels cannot be split into 2 groups"),
    ],
)
def test_conv_transpose_refuses_attributes(attributes, error):
    with pytest.raises(InvalidModel, match=error):
        ConvTranspose(strides=(2, 2), **attributes)(value(1, 3, 8, 8), value(3, 4, 3, 3))


@pytest.mark.parametrize(
    ("op", "shape", "error"),
    [
        (MaxPool((2, 2), strides=(1, 0)), (1, 1, 4, 4), r"strides=\[1, 0\], expected values of at least 1"),
        (MaxPool((2, 0)), (1, 1, 4, 4), r"kernel_shape=\[2, 0\], expected values of at least 1"),
        (MaxPool((2, 2)), (1, 1, 4), "expected rank 4"),
        (MaxPool((2, 2), pads=(0, 2, 0, 0)), (1, 1, 4, 4), r"pads 2\+0 leave windows of 2 with nothing in them"),
        (MaxPool((2, 2), storage_order=2), (1, 1, 4, 4), "storage_order is 2, expected 0 or 1"),
        (MaxPool((5, 2)), (1, 1, 4, 4), "a window of 5 .* does not fit on spatial axis 0 of size 4"),
        (AveragePool(()), (1, 1), "kernel_shape is empty"),
        (LpPool((2,), p=0), (1, 1, 4), "p is 0, expected at least 1"),
        (DepthToSpace(2), (1, 6, 2, 2), r"depth 6 cannot be split by 4: f32\[1,6,2,2\]"),
        (SpaceToDepth(0), (1, 6, 2, 2), "blocksize is 0, expected at least 1"),
        (SpaceToDepth(2, "CDR"), (1, 6, 2, 2), "mode is 'CDR', expected one of DCR, CRD"),
    ],
)
def test_pooling_and_blocks_refuse(op, shape, error):
    with pytest.raises(InvalidModel, match=error):
        op(value(*shape))


@pytest.mark.parametrize(
    ("attributes", "scales", "sizes", "error"),
    [
        ({}, None, None, "neither scales nor sizes is given"),
        ({}, (1, 2), (3, 4), "both scales .* and sizes .* are given"),
        ({}, (1, 2, 1), None, r"scales \[1.0, 2.0, 1.0\] do not fit axes \[0, 1\]"),
        ({}, (1, -2), None, "scale -2.0 of axis 1, expected a positive number"),
        ({}, None, (3, -1), "an axis of size 4 cannot be resized to -1"),
        ({"mode": "bicubic"}, (1, 2), None, "mode is 'bicubic', expected one of nearest, linear, cubic"),
        ({"antialias": True}, (1, 2), None, "antialias=1 needs mode linear or cubic"),
        ({"axes": (2,)}, (2,), None, "axis 2 is out of range for rank 2"),
    ],
)
def test_resize_refuses(attributes, scales, sizes, error):
    given = [const(np.array(scales, np.float32)) if scales else None, const(np.array(sizes)) if sizes else None]
    with pytest.raises(InvalidModel, match=error):
        Resize(**attributes)(value(3, 4), None, *given)


def test_what_comes_from_data_is_checked():
    x = value(2, 1, 4, 4)
    indices = value(1, dtype=int64)
    for y, data, error in [
        (RoiAlign()(x, value(1, 4), indices), [np.zeros((1, 4), "f"), np.array([2])], "batch indices from 2 to 2"),
        (RoiAlign()(x, value(1, 4), indices), [np.full((1, 4), np.nan, "f"), np.array([0])], "not finite"),
        (MaxUnpool((2, 2))(x, value(2, 1, 4, 4, dtype=int64)), [np.full((2, 1, 4, 4), 50)], "valid 0..49"),
        (Resize()(x, None, None, value(4, dtype=int64)), [None, None, np.array([1, 1, 2, -2])], "cannot be resized"),
        (CenterCropPad()(x, value(4, dtype=int64)), [np.array([1, 1, 2, -2])], "has not one size for each"),
    ]:
        with pytest.raises(ExecutionError, match=error):
            evaluate(y.node, [np.zeros((2, 1, 4, 4), np.float32), *data])


@pytest.mark.parametrize("strides", [(1, 1), (HUGE, HUGE)])
def test_huge_pads_allocate_nothing(strides):
    x, w = np.ones((1, 1, 2, 2), np.float32), np.ones((1, 1, 2, 2), np.float32)
    y = Conv(pads=(HUGE, HUGE, HUGE, HUGE), strides=strides)(value(*x.shape), value(*w.shape))
    with pytest.raises(ResourceLimit, match="bytes"):
        evaluate(y.node, [x, w])


def test_symbolic_sizes():
    n, h = sym("n"), sym("h")
    x, w = value(n, 3, h, 8), value(4, 3, 3, 3)
    assert Conv(pads=(1, 1, 1, 1))(x, w).shape == (n, 4, h, 8)
    assert Conv(auto_pad="SAME_UPPER", strides=(2, 2))(x, w).shape == (n, 4, ceildiv(h, 2), 4)
    assert ConvTranspose(strides=(2, 2), auto_pad="SAME_LOWER")(x, value(3, 4, 3, 3)).shape == (n, 4, h * 2, 16)


def test_gradient_needs_spatial_sizes():
    x, w = value(2, 3, sym("h"), 8), value(4, 3, 3, 3)
    y = Conv()(x, w)
    with pytest.raises(CompileError, match=r"needs known sizes, got f32\[2,3,h,8\]"):
        y.node.op.grad(y, y, x, w)


def test_gradient_takes_a_symbolic_batch():
    x, w = value(sym("n"), 4, 7, 8), value(6, 2, 3, 2)
    y = Conv(group=2, strides=(2, 3))(x, w)
    dx, dw = y.node.op.grad(y, y, x, w)
    assert (dx.shape, dw.shape) == (x.shape, w.shape)


def test_windows_against_their_definition():
    """`touching` and `overlap` list exactly the pairs (window, element) that lie on the input."""
    for size, kernel, stride, dilation, before, count in product(
        (0, 1, 2, 5), (1, 2, 4), (1, 2, 7), (1, 3), (0, 1, 4), (1, 3)
    ):
        w = Window(size, kernel, stride, dilation, before, count)
        expected = {
            (i, k): i * stride + k * dilation - before
            for i, k in product(range(count), range(kernel))
            if 0 <= i * stride + k * dilation - before < size
        }
        found = {}
        for k in w.touching():
            windows, positions = w.overlap(k)
            found.update({(i, k): p for i, p in zip(range(count)[windows], range(size)[positions], strict=True)})
        assert found == expected


def test_a_window_of_a_huge_kernel_is_found_at_once():
    assert list(Window(2, HUGE, HUGE // 2, 1, HUGE // 2, 2).touching()) == [0, 1, HUGE // 2, HUGE // 2 + 1]


def test_ceil_mode_does_not_start_windows_behind_the_input():
    assert Grid.of([1], strides=(2,), ceil_mode=True).counts([4]) == (2,)
    assert Grid.of([2], strides=(2,), ceil_mode=True).counts([5]) == (3,)
    assert Grid.of([2], strides=(3,), pads=(0, 1), ceil_mode=True).counts([3]) == (1,)
    with pytest.raises(GraphcError, match="does not fit"):
        Grid.of([4]).counts([3])
