"""MatMulInteger, QLinearMatMul, ConvInteger, QLinearConv."""

from __future__ import annotations

import numpy as np
from conformance import Case, random

from graphc.ops import quantized as op


def u8(*shape: int, seed: int = 0) -> np.ndarray:
    return random(*shape, dtype=np.uint8, low=0, high=255, seed=seed)


def i8(*shape: int, seed: int = 0) -> np.ndarray:
    return random(*shape, dtype=np.int8, low=-128, high=127, seed=seed)


def f32(*values: float) -> np.ndarray:
    return np.array(values if len(values) > 1 else values[0], np.float32)


def point(value: int, like: np.ndarray) -> np.ndarray:
    return np.array(value, like.dtype)


def sums(a: np.ndarray, b: np.ndarray, p: np.ndarray | int = 0, q: np.ndarray | int = 0) -> np.ndarray:
    return ((a.astype(np.int64) - np.int64(p)) @ (b.astype(np.int64) - np.int64(q))).astype(np.int32)


def qlinear(*shapes: tuple[int, ...], make=(u8, u8), y=np.uint8) -> list[np.ndarray]:
    a, b = make[0](*shapes[0]), make[1](*shapes[1], seed=1)
    return [a, f32(0.01), point(3, a), b, f32(0.02), point(100, b), f32(0.9), np.array(60, y)]


a, b = u8(3, 4), i8(4, 5, seed=1)
x, w, v = u8(2, 4, 6, 5), i8(6, 4, 3, 2, seed=1), u8(6, 2, 3, 3, seed=2)
rows, columns = np.array([1, 200, 7], np.uint8), i8(5, seed=4)


def qconv(x: np.ndarray, w: np.ndarray, channels: bool = False, bias: bool = False, y=np.uint8) -> list[np.ndarray]:
    m = w.shape[0]
    w_scale = random(m, low=0.01, high=0.05) if channels else f32(0.03)
    w_point = np.zeros(m, w.dtype) if channels else point(0, w)
    inputs = [x, f32(0.02), point(7, x), w, w_scale, w_point, f32(1.1), np.array(50, y)]
    return inputs + ([random(m, dtype=np.int32, low=-9999, high=9999)] if bias else [])


CASES = [
    Case(op.MatMulInteger(), [a, b], id="plain"),
    Case(op.MatMulInteger(), [a, b, point(9, a), point(-3, b)], id="zero-points"),
    Case(op.MatMulInteger(), [a, b, None, point(-3, b)], id="b-zero-point", const=(3,)),
    Case(op.MatMulInteger(), [a, b, rows, columns], id="vectors",
         oracle=lambda a, b, p, q: sums(a, b, p[:, None].astype(np.int64), q.astype(np.int64))),
    Case(op.MatMulInteger(), [u8(2, 3, 4), i8(4, 2)], id="batch"),
    Case(op.MatMulInteger(), [u8(2, 3, 4), i8(2, 4, 2), u8(2, 3, 1), i8(2, 1, 2)], id="zero-points-of-rank-3",
         oracle=lambda a, b, p, q: sums(a, b, p.astype(np.int64), q.astype(np.int64))),
    Case(op.MatMulInteger(), [u8(4), u8(4, seed=1), point(1, a)], id="vectors-product", oracle=sums),
    Case(op.MatMulInteger(), [u8(0, 4), u8(4, 2)], id="empty", oracle=sums),
    Case(op.MatMulInteger(), [np.full((1, 400), 255, np.uint8), np.full((400, 1), 255, np.uint8)], id="large-sums"),
    Case(op.QLinearMatMul(), qlinear((3, 4), (4, 5)), id="uint8"),
    Case(op.QLinearMatMul(), qlinear((3, 4), (4, 5), make=(i8, i8), y=np.int8), id="int8"),
    Case(op.QLinearMatMul(), qlinear((2, 3, 4), (2, 4, 5)), id="batch", const=(1, 2, 4, 5, 6, 7)),
    Case(op.QLinearMatMul(), [a, f32(0.01, 0.02, 0.03), rows, b, f32(0.1, 0.2, 0.3, 0.4, 0.5), columns, f32(2.0),
                              np.array(5, np.int8)], id="vectors",
         oracle=lambda a, s, p, b, t, q, u, r: np.clip(np.rint(
             sums(a, b, p[:, None].astype(np.int64), q.astype(np.int64)) * (s[:, None] * t / u)) + r, -128, 127
         ).astype(np.int8)),
    *(
        Case(op.ConvInteger(**fields), [x, w, point(11, x)], id=id)
        for id, fields in (("plain", {}), ("pads", {"pads": (1, 0, 2, 1)}), ("strides", {"strides": (2, 1)}),
                           ("same", {"auto_pad": "SAME_UPPER"}), ("dilations", {"dilations": (1, 2)}))
    ),
    Case(op.ConvInteger(group=2), [x, v], id="group"),
    Case(op.ConvInteger(), [x, w, None, i8(6, seed=5)], id="w-zero-points",
         oracle=lambda x, w, _, q: op.ConvInteger().eval(x, w) - q.astype(np.int32)[None, :, None, None]
         * op.ConvInteger().eval(x, np.ones((1, 4, 3, 2), np.int8))),
    Case(op.ConvInteger(), [u8(1, 2, 7), i8(3, 2, 3)], id="one-axis"),
    Case(op.QLinearConv(), qconv(x, v[:, :, :, :2].repeat(2, 1)), id="plain"),
    Case(op.QLinearConv(pads=(1, 1, 1, 1)), qconv(x, w, channels=True, bias=True), id="channels-bias"),
    Case(op.QLinearConv(group=2, strides=(2, 2)), qconv(x, v, bias=True), id="group", const=(1, 2, 3, 4, 5, 6, 7, 8)),
    Case(op.QLinearConv(), qconv(i8(1, 4, 5, 5), w, channels=True, y=np.int8), id="int8"),
]  # fmt: skip
