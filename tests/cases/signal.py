"""Fourier transforms, windows and mel filters."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
from conformance import Case, random

from graphc.ops import signal as op
from graphc.types import bfloat16, float16, float64, int32, uint8

R = "reference"
HALF = {"rtol": 5e-3, "atol": 5e-3}


def i64(x: int) -> np.ndarray:
    return np.array(x, np.int64)


def parts(y: np.ndarray, like: np.ndarray) -> np.ndarray:
    return np.stack((y.real, y.imag), -1).astype(like.dtype)


def joined(x: np.ndarray) -> np.ndarray:
    return x[..., 0] + 1j * (x[..., 1] if x.shape[-1] == 2 else 0)


def transform(inverse: bool) -> Callable[..., np.ndarray]:
    """The sum itself, in float64."""

    def oracle(x: np.ndarray, length: np.ndarray | None = None, axis: np.ndarray | None = None) -> np.ndarray:
        at = (-2 if axis is None else int(axis)) % x.ndim
        values = np.moveaxis(joined(x.astype(np.float64)), at, -1)
        n = values.shape[-1] if length is None else int(length)
        values = values[..., :n]
        k, t = np.arange(n)[:, None], np.arange(values.shape[-1])
        y = values @ np.exp((2j if inverse else -2j) * np.pi * k * t / n).T / (n if inverse else 1)
        return parts(np.moveaxis(y, -1, at), x)

    return oracle


def stft(onesided: bool) -> Callable[..., np.ndarray]:
    def oracle(
        x: np.ndarray, step: np.ndarray, window: np.ndarray | None = None, length: np.ndarray | None = None
    ) -> np.ndarray:
        n = int(length) if length is not None else x.shape[1] if window is None else len(window)
        starts = range(0, x.shape[1] - n + 1, int(step))
        frames = np.stack([joined(x.astype(np.float64))[:, s : s + n] for s in starts], 1)
        y = np.fft.fft(frames * (1 if window is None else window.astype(np.float64)))
        return parts(y[..., : n // 2 + 1] if onesided else y, x)

    return oracle


real, spectrum = random(2, 5, 1), random(2, 5, 2, seed=1)
deep, small = random(2, 3, 4, 2, seed=2), random(1, 4, 2, seed=3)
wave = random(2, 12, 1, seed=4)
window = random(4, seed=5, low=0.2)


def mel(bins: int, length: int, rate: int, low: float, high: float, dtype: object = np.float32) -> list[np.ndarray]:
    return [i64(bins), i64(length), i64(rate), np.array(low, dtype), np.array(high, dtype)]


CASES = [
    *(
        # The gradient needs to know axis and length.
        Case(op.DFT(inverse=inverse), [x, *rest], transform(inverse), f"{'inverse-' * inverse}{id}", const=const,
             grad="run-time" not in id)
        for inverse in (False, True)
        for id, x, rest, const in (
            ("real", real, (), ()),
            ("complex", spectrum, (), ()),
            ("small", small, (), ()),
            ("axis", deep, (None, i64(1)), (2,)),
            ("axis-negative", deep, (None, i64(-4)), (2,)),
            ("axis-run-time", deep, (None, i64(0)), ()),
            ("padded", spectrum, (i64(8),), (1,)),
            ("cut", spectrum, (i64(3), i64(1)), (1, 2)),
            ("length-run-time", spectrum, (i64(3), i64(1)), ()),
            ("length-int32", spectrum, (np.array(7, np.int32),), (1,)),
            ("batch-of-none", random(0, 4, 2), (), ()),
            ("one-point", random(3, 1, 1), (), ()),
        )
    ),
    *(
        Case(op.DFT(onesided=True, inverse=inverse), [x, *rest], R, f"onesided-{'inverse-' * inverse}{id}", const=const)
        for inverse, x in ((False, random(2, 6, 1, seed=7)), (True, random(2, 4, 2, seed=8)))
        for id, rest, const in (
            ("plain", (), ()),
            ("odd", (i64(5),), (1,)),
            ("padded", (i64(9), i64(1)), (1, 2)),
            ("cut", (i64(4), i64(-2)), (1, 2)),
            ("axis", (None, i64(0)), (2,)),
        )
    ),
    *(
        Case(op.DFT(onesided=onesided), [real.astype(dtype)], transform(False) if not onesided else R,
             f"{np.dtype(dtype).name}-{onesided}", **({} if dtype == np.float64 else HALF))
        for dtype in (np.float16, np.float64) for onesided in (False, True)
    ),
    Case(op.DFT(), [real.astype(ml_dtypes.bfloat16)], transform(False), "bfloat16", rtol=2e-2, atol=2e-2),
    Case(op.DFT(), [spectrum, None, i64(1)], id="onnxruntime", const=(2,), opset=20),
    # STFT
    Case(op.STFT(), [wave, i64(3), window], stft(True), "onesided-window", const=(1,)),
    Case(op.STFT(onesided=False), [wave, i64(3), window], stft(False), "two-sided", const=(1,)),
    Case(op.STFT(), [random(1, 6, 1), i64(2), random(3)], stft(True), "onesided-small", const=(1,)),
    Case(op.STFT(), [wave, i64(2), None, i64(5)], stft(True), "onesided-length", const=(1, 3)),
    Case(op.STFT(), [wave, i64(2), window, i64(4)], stft(True), "onesided-both", const=(1, 3)),
    Case(op.STFT(), [wave, i64(1)], stft(True), "one-frame", const=(1,)),
    Case(op.STFT(onesided=False), [random(2, 9, 2), i64(4), window], stft(False), "complex", const=(1,)),
    # The gradient needs to know the step.
    Case(op.STFT(), [wave, i64(3), window], stft(True), "step-run-time", grad=False),
    Case(op.STFT(), [wave, i64(3), None, i64(6)], stft(True), "length-run-time", grad=False),
    Case(op.STFT(), [wave.astype(np.float16), i64(3), window.astype(np.float16)], stft(True), "onesided-float16",
         const=(1,), **HALF),
    Case(op.STFT(), [wave, i64(3), window], id="onesided-onnxruntime", const=(1,)),
    # windows
    *(
        Case(cls(periodic=periodic), [i64(n)], "onnxruntime", f"{periodic}-{n}{const}", const=const)
        for cls in (op.HannWindow, op.HammingWindow, op.BlackmanWindow)
        for periodic in (True, False)
        for n, const in ((8, ()), (9, (0,)), (2, (0,)))
    ),
    *(
        Case(cls(output_datatype=dtype), [np.array(10, np.int32)], R, dtype.name, rtol=rtol)
        for cls in (op.HannWindow, op.HammingWindow, op.BlackmanWindow)
        for dtype, rtol in ((float64, 1e-12), (int32, 0), (uint8, 0))
        if cls is not op.HannWindow or dtype is float64  # the reference computes in the output's element type
    ),
    Case(op.HannWindow(output_datatype=float16), [i64(10)], lambda n: np.hanning(11)[:10].astype(np.float16),
         "float16"),
    *(Case(op.HannWindow(output_datatype=dtype), [i64(4)], lambda n, d=dtype: np.array([0, 0, 1, 0], d.numpy),
           f"peak-{dtype.name}") for dtype in (int32, uint8)),
    Case(op.HannWindow(output_datatype=bfloat16), [i64(4)],
         lambda n: np.array([0, 0.5, 1, 0.5], ml_dtypes.bfloat16), "bfloat16"),
    Case(op.HannWindow(), [i64(0)], lambda n: np.zeros(0, np.float32), "empty"),
    Case(op.HannWindow(), [i64(1)], lambda n: np.zeros(1, np.float32), "one-periodic"),
    Case(op.HannWindow(periodic=False), [i64(1)], lambda n: np.ones(1, np.float32), "one-symmetric"),
    # mel filters
    Case(op.MelWeightMatrix(), mel(8, 16, 8192, 0, 4096), "onnxruntime", "few"),
    Case(op.MelWeightMatrix(), mel(20, 512, 16000, 80, 7600), "onnxruntime", "speech", const=(0, 1)),
    Case(op.MelWeightMatrix(), mel(3, 9, 100, 10, 40), "onnxruntime", "odd", const=(0, 1, 2, 3, 4)),
    Case(op.MelWeightMatrix(output_datatype=float64), mel(8, 16, 8192, 20, 4090, np.float64), R, "float64"),
    Case(op.MelWeightMatrix(), mel(0, 16, 8192, 0, 4096), lambda *_: np.zeros((9, 0), np.float32), "no-bins"),
]  # fmt: skip
