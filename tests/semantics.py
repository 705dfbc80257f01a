"""What graphc decides where engines disagree: the rows of docs/semantics.md, each with examples that are executed.

`python tests/semantics.py` writes the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conformance import type_of
from numpy import inf, nan

from graphc import types
from graphc.errors import ExecutionError
from graphc.ir import Graph, Op, Value
from graphc.ops import (
    activation,
    arithmetic,
    cast,
    conv,
    dropout,
    logic,
    math,
    minmax,
    ml_maps,
    pool,
    quantize,
    ranking,
    recurrent,
    reduction,
    resize,
    sampling,
    strings,
)
from graphc.runtime.compile import compile

PAGE = Path(__file__).parent.parent / "docs" / "semantics.md"
ORT, MACHINE = "1.32", "x86_64"  # what the column about onnxruntime speaks of
FATAL = "no: it ends the process"


@dataclass(frozen=True)
class Example:
    """`ops` applied in turn to `inputs` give `want`: arrays, or ExecutionError."""

    ops: Op | Sequence[Op]
    inputs: Sequence[Any]
    want: Any
    zeros: bool = False  # whether the signs of zeros count

    def graph(self) -> Graph:
        values = [None if x is None else Value(type_of(x), name=f"x{i}") for i, x in enumerate(self.inputs)]
        inputs, outputs = [v for v in values if v is not None], tuple[Value, ...]()
        for op in [self.ops] if isinstance(self.ops, Op) else self.ops:
            outputs = op.apply(values)
            values = list(outputs)
        return Graph(inputs, outputs, [f"y{i}" for i in range(len(outputs))], name="example")

    def run(self, backend: str, level: int = 2) -> list[Any]:
        feeds = {f"x{i}": x for i, x in enumerate(self.inputs) if x is not None}
        return list(compile(self.graph(), backend=backend, level=level).run(feeds).values())

    def agrees(self, got: Sequence[Any]) -> bool:
        """Whether `got` is exactly what is wanted."""
        want = self.want if isinstance(self.want, tuple) else (self.want,)
        return len(want) == len(got) and all(_same(w, g, self.zeros) for w, g in zip(want, got, strict=True))


def _same(want: Any, got: Any, zeros: bool) -> bool:
    if isinstance(want, list):
        return bool(want == got) and [list(x) for x in want] == [list(x) for x in got]
    if (want.dtype, want.shape) != (got.dtype, got.shape):
        return False
    if want.dtype.kind in "biuO":
        return bool(np.array_equal(want, got))
    want, got = want.astype(np.float64), got.astype(np.float64)  # ml_dtypes have no equal_nan
    signs = np.array_equal(np.signbit(want), np.signbit(got)) if zeros else True
    return signs and np.array_equal(want, got, equal_nan=True)


@dataclass(frozen=True)
class Row:
    """A line of the page; `onnxruntime` says "yes", "no: what it does instead", or what its answer depends on."""

    op: str
    decision: str
    onnxruntime: str
    examples: Sequence[Example]


def f(*x: float) -> Any:
    return np.array(x, np.float32)


def i(*x: int) -> Any:
    return np.array(x, np.int32)


def n(*x: int) -> Any:
    return np.array(x, np.int64)


def s(*x: str) -> Any:
    return np.array(x, object)


def m(**entries: float) -> Any:
    return types.Map(types.MapType(types.string, types.float32), {key: float(x) for key, x in entries.items()})


def k(*keys: int) -> Any:
    return types.Map(types.MapType(types.int64, types.float32), dict.fromkeys(keys, 0.5))


def scalar(x: float | bool, dtype: Any = np.float32) -> Any:
    return np.array(x, dtype)


def e4m3(*x: float) -> Any:
    return np.array(x, types.float8e4m3fn.numpy)


LOWEST, HIGHEST = -(2**31), 2**31 - 1
EMPTY, NO_INTEGERS = np.zeros(0, np.float32), np.zeros(0, np.int32)
MASK = np.random.RandomState(0).uniform(0, 1, 8) >= 0.5
UNIFORM = np.random.default_rng(int(np.float64(1).view(np.uint64))).random(3).astype(np.float32)
LINEAR = resize.Resize(mode="linear")
CORNERS = resize.Resize(mode="linear", coordinate_transformation_mode="align_corners")
CROP = resize.Resize(mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
SCALE_2, SCALE_0625 = f(1, 1, 2), f(1, 1, 0.625)
UNPOOLED = np.zeros((1, 1, 5, 5), np.float32)
UNPOOLED[0, 0, 1:4:2, 1:4:2] = [[1, 2], [3, 4]]
GATE = f(9, 9, 9, 9).reshape(1, 4, 1)

ROWS = [
    # -- integers -----------------------------------------------------------------------------------------------------
    Row("Div", "integers truncate towards zero", "yes",
        [Example(arithmetic.Div(), [i(7, -7, 7, -7), i(2, 2, -2, -2)], i(3, -3, -3, 3))]),
    Row("Div, Mod", "an integer divided by zero is an `ExecutionError`", "yes",
        [Example(op, [i(1), i(0)], ExecutionError) for op in (arithmetic.Div(), arithmetic.Mod())]),
    Row("Div", "INT_MIN / −1 wraps to INT_MIN", FATAL,
        [Example(arithmetic.Div(), [i(LOWEST), i(-1)], i(LOWEST))]),
    Row("Mod", "the sign of the divisor, with `fmod` of the dividend; INT_MIN mod −1 is 0", "yes",
        [Example(arithmetic.Mod(), [i(7, -7, 7, -7), i(3, 3, -3, -3)], i(1, 2, -2, -1)),
         Example(arithmetic.Mod(fmod=True), [i(7, -7, 7, -7), i(3, 3, -3, -3)], i(1, -1, 1, -1)),
         Example(arithmetic.Mod(), [i(LOWEST), i(-1)], i(0))]),
    Row("Mod", "a float modulo 0 is NaN", "yes", [Example(arithmetic.Mod(fmod=True), [f(1), f(0)], f(nan))]),
    Row("Pow", "an integer power wraps", "no: powers of 2³¹ and more give INT_MIN",
        [Example(math.Pow(), [i(3, -2), i(21, 3)], i(1870418611, -8))]),
    Row("Pow", "an integer to a negative power truncates towards zero; 0⁻¹ is the largest integer",
        "no: 0⁻¹ is INT_MIN",
        [Example(math.Pow(), [i(2, -1, 1, 0), i(-1, -1, -5, -1)], i(0, -1, 1, HIGHEST))]),
    Row("Pow", "0⁰ = 1; a negative float to a fractional power is NaN", "yes",
        [Example(math.Pow(), [f(0, -8), f(0, 1 / 3)], f(1, nan))]),
    Row("Abs, Neg, Add", "what does not fit wraps", "yes",
        [Example(math.Abs(), [i(LOWEST)], i(LOWEST)),
         Example(arithmetic.Neg(), [i(LOWEST)], i(LOWEST)), Example(arithmetic.Add(), [i(HIGHEST), i(1)], i(LOWEST))]),
    # -- casts --------------------------------------------------------------------------------------------------------
    Row("Cast", "float → integer truncates; out of range gives the nearest end of the range",
        "no: INT_MIN; for narrow types its low bits",
        [Example(cast.Cast(types.int32), [f(1.9, -1.9, 3e9, -3e9, inf, -inf)],
                 i(1, -1, HIGHEST, LOWEST, HIGHEST, LOWEST)),
         Example(cast.Cast(types.uint8), [f(300, -5)], np.array([255, 0], np.uint8))]),
    Row("Cast", "NaN → integer gives 0", "no: INT_MIN", [Example(cast.Cast(types.int32), [f(nan)], i(0))]),
    Row("Cast", "integer → integer wraps", "yes",
        [Example(cast.Cast(types.int8), [i(300, -129)], np.array([44, 127], np.int8))]),
    Row("Cast", "float → 4- and 2-bit integers truncates, then wraps", "no: it rounds",
        [Example([cast.Cast(types.int4), cast.Cast(types.int8)], [f(9, -9, 2.7)], np.array([-7, 7, 2], np.int8)),
         Example([cast.Cast(types.int2), cast.Cast(types.int8)], [f(3, -3)], np.array([-1, 1], np.int8))]),
    Row("Cast", "float → float8 saturates, ±∞ too; NaN stays", "yes",
        [Example(cast.Cast(types.float8e4m3fn), [f(1e6, -1e6, inf, nan)], e4m3(448, -448, 448, nan))]),
    Row("Cast", "with `saturate=0` what is out of range is NaN (±∞ in float8e5m2)", "yes",
        [Example(cast.Cast(types.float8e4m3fn, saturate=False), [f(1e6, inf)], e4m3(nan, nan)),
         Example(cast.Cast(types.float8e5m2, saturate=False), [f(1e6, -1e6)],
                 np.array([inf, -inf], types.float8e5m2.numpy))]),
    Row("Cast", "float → float4e2m1 saturates; ties to even", "no: it has no such cast",
        [Example([cast.Cast(types.float4e2m1), cast.Cast(types.float32)], [f(100, -100, 2.5)], f(6, -6, 2))]),
    Row("Cast", "float → bool: NaN is true, −0 is false", "yes",
        [Example(cast.Cast(types.bool_), [f(nan, 0.0, -0.0, 0.1)], np.array([True, False, False, True]))]),
    # -- NaN ----------------------------------------------------------------------------------------------------------
    Row("Max, Min", "NaN if one is NaN", "yes",
        [Example(op, [f(nan, 1), f(1, nan)], f(nan, nan)) for op in (minmax.Max(), minmax.Min())]),
    Row("ReduceMax, ReduceMin", "NaN if one is NaN", "no: it skips NaN",
        [Example(op, [f(1, nan, 2)], f(nan)) for op in (reduction.ReduceMax(), reduction.ReduceMin())]),
    Row("MaxPool", "NaN if one in the window is NaN", "no: it skips NaN",
        [Example(pool.MaxPool(kernel_shape=(2,)), [f(1, nan, 2, 3).reshape(1, 1, 4)],
                 f(nan, nan, 3).reshape(1, 1, 3))]),
    Row("ArgMax, ArgMin", "the first NaN, if there is one", "no: it skips NaN",
        [Example(op, [f(1, nan, 3, nan)], n(1)) for op in (ranking.ArgMax(), ranking.ArgMin())]),
    Row("TopK", "NaN is greater than all numbers", "yes",
        [Example(ranking.TopK(), [f(1, nan, 3, 2), n(2)], (f(nan, 3), n(1, 2))),
         Example(ranking.TopK(largest=False), [f(1, nan, 3, 2), n(4)], (f(1, 2, 3, nan), n(0, 3, 2, 1)))]),
    Row("TopK", "of equals, the first", "yes",
        [Example(ranking.TopK(), [f(1, 2, 2, 0), n(1)], (f(2), n(1)))]),
    Row("Unique", "NaNs are equal, and come last", "no: it takes NaN and 1 for one",
        [Example(ranking.Unique(outputs=4), [f(nan, 1, nan, 1)], (f(1, nan), n(1, 0), n(1, 0, 1, 0), n(2, 2)))]),
    Row("Clip", "NaN stays; where low > high, high", "yes",
        [Example(minmax.Clip(), [f(nan, 5, -5), scalar(-1), scalar(1)], f(nan, 1, -1)),
         Example(minmax.Clip(), [f(5, -5), scalar(2), scalar(1)], f(1, 1))]),
    Row("Relu, Sign", "NaN stays", "yes",
        [Example(op, [f(nan, -1 if op.name == "Relu" else 0)], f(nan, 0)) for op in (activation.Relu(), math.Sign())]),
    Row("Equal", "NaN equals nothing; −0 equals 0", "yes",
        [Example(logic.Equal(), [f(nan, 0.0), f(nan, -0.0)], np.array([False, True]))]),
    # -- rounding and zeros -------------------------------------------------------------------------------------------
    Row("Round", "halves to even", "yes", [Example(math.Round(), [f(0.5, 1.5, -2.5)], f(0, 2, -2))]),
    Row("QuantizeLinear", "halves to even, then the zero point, then saturates", "yes",
        [Example(quantize.QuantizeLinear(), [f(0.5, 1.5, 2.5, 300, -300), scalar(1), scalar(0, np.int8)],
                 np.array([0, 2, 2, 127, -128], np.int8)),
         Example(quantize.QuantizeLinear(), [f(0.5, 1.5), scalar(1), scalar(1, np.uint8)],
                 np.array([1, 3], np.uint8))]),
    Row("QuantizeLinear", "NaN gives the zero point", "no: 0",
        [Example(quantize.QuantizeLinear(), [f(nan), scalar(1), scalar(3, np.uint8)], np.array([3], np.uint8))]),
    Row("ReduceMean", "the mean of integers truncates towards zero", "yes",
        [Example(reduction.ReduceMean(), [i(-1, -2)], i(-1))]),
    Row("Neg, Round, Ceil", "keep the sign of a zero", "yes",
        [Example(arithmetic.Neg(), [f(0)], f(-0.0), zeros=True),
         Example(math.Round(), [f(-0.4)], f(-0.0), zeros=True),
         Example(math.Ceil(), [f(-0.4)], f(-0.0), zeros=True)]),
    # -- nothing ------------------------------------------------------------------------------------------------------
    Row("ReduceSum, ReduceL2, ReduceProd", "of nothing: 0, 0 and 1", "yes",
        [Example(reduction.ReduceSum(), [EMPTY], f(0)), Example(reduction.ReduceL2(), [EMPTY], f(0)),
         Example(reduction.ReduceProd(), [EMPTY], f(1))]),
    Row("ReduceMax, ReduceMin", "of nothing: −∞ and ∞, or the ends of an integer's range", "yes",
        [Example(reduction.ReduceMax(), [EMPTY], f(-inf)), Example(reduction.ReduceMin(), [EMPTY], f(inf)),
         Example(reduction.ReduceMax(), [NO_INTEGERS], i(LOWEST))]),
    Row("ReduceLogSum, ReduceLogSumExp", "of nothing: −∞", "yes",
        [Example(op, [EMPTY], f(-inf)) for op in (reduction.ReduceLogSum(), reduction.ReduceLogSumExp())]),
    Row("ReduceMean", "of no floats NaN; of no integers an `ExecutionError`", "no: 0",
        [Example(reduction.ReduceMean(), [EMPTY], f(nan)),
         Example(reduction.ReduceMean(), [NO_INTEGERS], ExecutionError)]),
    # -- sizes and places ---------------------------------------------------------------------------------------------
    Row("Resize", "linear on integers computes in floats and rounds, halves to even", "no: it truncates",
        [Example(LINEAR, [i(0, 3, -3).reshape(1, 1, 3), None, SCALE_2], i(0, 1, 2, 2, -2, -3).reshape(1, 1, 6))]),
    Row("Resize", "`align_corners` and `tf_crop_and_resize` with `scales`: the length of the output in the formula is"
        " scale · size, before it is rounded down", "no: the rounded length",
        [Example(CORNERS, [f(1, 2, 3, 4).reshape(1, 1, 4), None, SCALE_0625], f(1, 3).reshape(1, 1, 2)),
         Example(CROP, [f(1, 2, 3, 4).reshape(1, 1, 4), f(0, 0, 0, 1, 1, 1), SCALE_0625], f(1, 3).reshape(1, 1, 2))]),
    Row("ConvTranspose", "`SAME_UPPER` and `SAME_LOWER`: the output is input · stride; the odd element is cut off at"
        " the end (UPPER) or the start (LOWER)", "yes",
        [Example(conv.ConvTranspose(auto_pad=pad, strides=(2,)),
                 [f(1, 1, 1).reshape(1, 1, 3), f(1, 2, 4).reshape(1, 1, 3)], f(*want).reshape(1, 1, 6))
         for pad, want in (("SAME_UPPER", (1, 2, 5, 2, 5, 2)), ("SAME_LOWER", (2, 5, 2, 5, 2, 4)))]),
    Row("ConvTranspose", "`SAME_UPPER` with a kernel smaller than the stride: zeros fill up input · stride",
        "no: the output is shorter",
        [Example(conv.ConvTranspose(auto_pad="SAME_UPPER", strides=(3,)),
                 [f(1, 1).reshape(1, 1, 2), f(1, 2).reshape(1, 1, 2)], f(1, 2, 0, 1, 2, 0).reshape(1, 1, 6))]),
    Row("MaxUnpool", "with `output_shape`, indices count in the shape that x has without it; zeros follow on each axis",
        "no: indices count in `output_shape`",
        [Example(pool.MaxUnpool(kernel_shape=(2,), strides=(2,)),
                 [f(1, 2).reshape(1, 1, 2), n(1, 2).reshape(1, 1, 2), n(1, 1, 6)],
                 f(0, 1, 2, 0, 0, 0).reshape(1, 1, 6)),
         Example(pool.MaxUnpool(kernel_shape=(2, 2), strides=(2, 2)),
                 [f(1, 2, 3, 4).reshape(1, 1, 2, 2), n(5, 7, 13, 15).reshape(1, 1, 2, 2), n(1, 1, 5, 5)], UNPOOLED)]),
    Row("LSTM", "`clip` bounds what enters the gates and the candidate, not the cell", "yes",
        [Example(recurrent.LSTM(hidden_size=1, clip=1.0, outputs=3, activations=("Affine", "Affine", "Affine"),
                                activation_alpha=(1.0, 1.0, 1.0), activation_beta=(0.0, 0.0, 0.0)),
                 [f(1).reshape(1, 1, 1), GATE, 0 * GATE, None, None, f(0).reshape(1, 1, 1), f(5).reshape(1, 1, 1)],
                 (f(6).reshape(1, 1, 1, 1), f(6).reshape(1, 1, 1), f(6).reshape(1, 1, 1)))]),
    # -- maps ---------------------------------------------------------------------------------------------------------
    Row("DictVectorizer", "keys that are not in the vocabulary are passed over", "yes",
        [Example(ml_maps.DictVectorizer(string_vocabulary=("a", "b")), [m(a=1, c=2)], f(1, 0).reshape(1, 2))]),
    Row("ZipMap", "entries in the order of their keys; of equal labels the last counts", "yes",
        [Example(ml_maps.ZipMap(classlabels_strings=("b", "a", "b")), [f(1, 2, 3)], [{"a": 2.0, "b": 3.0}])]),
    Row("CastMap", "sparse: a key of `max_map` or more is an `ExecutionError`", "no: it drops the entry",
        [Example(ml_maps.CastMap(map_form="SPARSE", max_map=2), [k(1, 3)], ExecutionError)]),
    Row("CastMap", "to strings as Cast does; what is absent is empty", "no: six decimals; `0.f`",
        [Example(ml_maps.CastMap("TO_STRING", "SPARSE", 3), [k(0, 2)], s("0.5", "", "0.5").reshape(1, 3))]),
    # -- random numbers -----------------------------------------------------------------------------------------------
    Row("Dropout", "in training with a `seed`, NumPy's RandomState draws the mask, as in ONNX's reference",
        "no: other numbers",
        [Example(dropout.Dropout(seed=0, outputs=2), [np.ones(8, np.float32), scalar(0.5), scalar(True, bool)],
                 (np.where(MASK, 2, 0).astype(np.float32), MASK))]),
    Row("RandomUniform and its kin", "the numbers of a `seed` are those of NumPy's default_rng, the same in each run",
        "no: other numbers",
        [Example(sampling.RandomUniform(shape=(3,), seed=1.0), [], UNIFORM)]),
    # -- strings ------------------------------------------------------------------------------------------------------
    Row("Cast", "number → string: the shortest that reads back; `NaN`, `INF`", "no: 1 for 1.0",
        [Example(cast.Cast(types.string), [f(0.1, nan, -inf, 1e10, 1)], s("0.1", "NaN", "-INF", "1e+10", "1.0"))]),
    Row("Cast", "string → integer: scientific notation too, clipped to the range; NaN gives 0", "no: it fails",
        [Example(cast.Cast(types.int32), [s("3e9", "-7", "nan")], i(HIGHEST, -7, 0))]),
    Row("Cast", "a string that is no number is an `ExecutionError`", "yes",
        [Example(cast.Cast(types.float32), [s("abc")], ExecutionError)]),
    Row("StringSplit", "without a delimiter, runs of white space; with one, empty parts stay", "yes",
        [Example(strings.StringSplit(), [s(" a  b ", "")], (np.array([["a", "b"], ["", ""]], object), n(2, 0))),
         Example(strings.StringSplit(delimiter=","), [s("a,,b,")], (np.array([["a", "", "b", ""]], object), n(4)))]),
    Row("StringNormalizer", "case as in Unicode, whatever the locale: ß becomes SS",
        "depends on the locales of the system",
        [Example(strings.StringNormalizer(case_change_action="UPPER"), [s("straße", "é")], s("STRASSE", "É"))]),
    Row("StringNormalizer", "where no string is left, one empty string", "yes",
        [Example(strings.StringNormalizer(stopwords=("a",), locale="C"), [s("a")], s(""))]),
    Row("RegexFullMatch", "the whole string matches", "yes",
        [Example(strings.RegexFullMatch(pattern="a."), [s("ab", "abc")], np.array([True, False]))]),
]  # fmt: skip

HEADER = f"""# Semantics

What graphc decides where ONNX leaves it open, or where engines disagree. The NumPy backend defines the semantics, and
other backends are held to them; where ONNX's text, test data or reference give a general rule, it is theirs. Every
row has examples in `tests/semantics.py`, which `tests/test_semantics.py` runs;
`python tests/semantics.py` writes this page. The last column is onnxruntime {ORT} on {MACHINE}, on the same examples.

"""


def page() -> str:
    lines = ["| op | graphc | onnxruntime agrees |", "|---|---|---|"]
    lines += [f"| {row.op} | {row.decision} | {row.onnxruntime} |" for row in ROWS]
    notes = """
Without a `seed`, random ops give new numbers at each run. Which of −0 and 0 is the greater is not decided: Max, Relu
and ReduceMax may give either.
"""
    return HEADER + "\n".join(lines) + "\n" + notes


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
