"""Shape computations with symbolic sizes, and what shape and movement ops refuse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphc.autodiff import grad
from graphc.dims import parse_dim, sym, unknown
from graphc.errors import CompileError, ExecutionError, GraphcError, InvalidModel, ResourceLimit, ShapeError
from graphc.interpret import interpret
from graphc.ir import Graph, Value
from graphc.limits import Limits, limited
from graphc.ops.base import const
from graphc.ops.generate import ConstantOfShape, Range
from graphc.ops.movement import Compress, Concat, ReverseSequence, Split, Tile, Transpose
from graphc.ops.padding import Pad
from graphc.ops.reshaping import Expand, Flatten, Reshape, Squeeze, Unsqueeze
from graphc.ops.sequence import SequenceAt, SequenceConstruct, SequenceInsert, SplitToSequence
from graphc.ops.shape import Shape, Size
from graphc.ops.slicing import Slice
from graphc.types import SequenceType, Tensor, TensorType, float32, int64

LEAST, MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


def tensor(*shape: int | str | None, dtype: object = float32, name: str = "x") -> Value:
    """A graph input; sizes may be written as text, None is an unknown one."""
    sizes = [unknown() if n is None else parse_dim(n) if isinstance(n, str) else n for n in shape]
    return Value(TensorType(dtype, tuple(sizes)), name=name)  # type: ignore[arg-type]


def ints(*values: int) -> Value:
    return const(np.array(values, np.int64))


def shape_text(x: Value) -> str:
    return "?" if x.shape is None else ",".join("?" if str(d).startswith("?") else str(d) for d in x.shape)


x = tensor("n", 3, "m")
# What exporters write: the shape taken apart, computed with, and put together again.
n_of_x = Slice()(Shape()(x), ints(0), ints(1))
m_of_x = Shape(-1)(x)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        (Reshape()(x, Concat(0)(n_of_x, ints(-1))), "n,3*m"),
        (Reshape()(x, Concat(0)(ints(-1), m_of_x)), "3*n,m"),
        (Reshape()(x, ints(0, -1)), "n,3*m"),
        (Reshape()(x, ints(-1, 3)), "m*n,3"),
        (Reshape()(x, Concat(0)(n_of_x * const(3), m_of_x)), "3*n,m"),
        (Reshape()(tensor("h + 1", 4, "w"), ints(0, -1)), "h + 1,4*w"),
        (Reshape()(tensor("h + 1", "w"), Concat(0)(Shape(0, 1)(tensor("h + 1")), ints(-1))), "h + 1,w"),
        (Reshape()(tensor(2, 6), tensor(3, dtype=int64, name="s")), "?,?,?"),
        (Expand()(tensor("n", 1), Concat(0)(ints(4), n_of_x, ints(5))), "4,n,5"),
        (Expand()(tensor(2, 1), tensor(3, dtype=int64, name="s")), "?,2,?"),
        (Tile()(tensor(2, "m"), Concat(0)(n_of_x, ints(2))), "2*n,2*m"),
        (ConstantOfShape()(Concat(0)(n_of_x, ints(7))), "n,7"),
        (Range()(const(0), Squeeze()(n_of_x, ints(0)), const(1)), "n"),
        (Range()(const(0), Size()(x), const(2)), "(3*m*n + 1)//2"),
        (Squeeze()(Unsqueeze()(x, ints(0, -1)), ints(0)), "n,3,m,1"),
        (Flatten(2)(x), "3*n,m"),
        (Transpose((2, 0, 1))(x), "m,n,3"),
        (Concat(-1)(x, x), "n,3,2*m"),
        (Split(2, 2)(tensor("n", 3, "2*m"))[1], "n,3,m"),
        (Slice()(x, ints(1), ints(MOST), ints(2)), "n,3,max(m - 1, 0)"),
        (Slice()(x, ints(0), ints(-1), ints(2)), "n,3,max(m - 1, 0)"),
        (Slice()(x, ints(-2), ints(MOST), ints(0)), "min(2, n),3,m"),
        (Slice()(x, ints(0), ints(4), ints(0)), "min(4, n),3,m"),
        (Slice()(x, ints(-1), ints(LEAST), ints(0), ints(-1)), "n,3,m"),
        (Slice()(x, ints(0), ints(MOST), ints(0), ints(2)), "(n + 1)//2,3,m"),
        (Slice()(x, ints(0), n_of_x, ints(0)), "n,3,m"),
        (Pad()(x, ints(1, 0, 1, 0, 0, 2)), "n + 1,3,m + 3"),
    ],
)  # fmt: skip
def test_sizes_are_followed_through_shape_computations(y: Value, expected: str) -> None:
    assert shape_text(y) == expected


def test_contents_are_followed() -> None:
    s = Shape()(x)
    assert list(s.dims) == [sym("n"), 3, sym("m")]  # type: ignore[arg-type]
    assert list(Slice()(s, ints(-1), ints(LEAST), ints(0), ints(-1)).dims) == [sym("m"), 3, sym("n")]
    assert list(Tile()(n_of_x, ints(2)).dims) == [sym("n")] * 2
    assert list(Expand()(n_of_x, ints(2)).dims) == [sym("n")] * 2
    assert list(Range()(Squeeze()(n_of_x), Squeeze()(n_of_x + const(2)), const(1)).dims) == [sym("n"), sym("n") + 1]
    assert Size()(x).dims.item() == sym("n") * 3 * sym("m")
    ones = ConstantOfShape(Tensor(np.array([1])))(ints(2))
    assert list(ones.const) == [1, 1]
    assert Split(0, 3)(s)[0].dims.item() == sym("n")
    # Parameters that hold symbols, of which an output of no elements does not depend.
    assert Tile()(ConstantOfShape(Tensor(np.array([1])))(ints(0)), n_of_x).shape == (0,)


@pytest.mark.parametrize(
    ("apply", "error", "message"),
    [
        (lambda: Reshape()(x, ints(-1, -1)), ShapeError, "more than one -1"),
        (lambda: Reshape()(x, ints(-2)), ShapeError, "negative"),
        (lambda: Reshape()(tensor(2, 3), ints(4, 2)), ShapeError, r"\[2,3\] \(6 elements\) to \[4, 2\] \(8 elements"),
        (lambda: Reshape()(tensor(2, 3), ints(4, -1)), ShapeError, "cannot reshape"),
        (lambda: Reshape()(tensor(6), ints(3, 0)), ShapeError, "only 1 axes"),
        (lambda: Reshape(allowzero=True)(tensor(0), ints(0, -1)), ShapeError, "both 0 and -1"),
        (lambda: Reshape()(tensor(0, 3), ints(0, -1)), ShapeError, "any size would do"),
        (lambda: Transpose((0, 0))(tensor(2, 3)), ShapeError, "not an order"),
        (lambda: Transpose((0, 2, 1))(tensor(2, 3)), ShapeError, "not an order"),
        (lambda: Concat(0)(tensor(2, 3), tensor(2, 4)), ShapeError, "outside axis 0"),
        (lambda: Concat(0)(tensor(2, 3), tensor(2)), ShapeError, "ranks differ"),
        (lambda: Concat(2)(tensor(2, 3)), ShapeError, "out of range"),
        (lambda: Concat(0)(), InvalidModel, "at least one"),
        (lambda: Split(0)(tensor(4), ints(1, 2)), ShapeError, "sums to 3, the size is 4"),
        (lambda: Split(0)(tensor(4), ints(5, -1)), ShapeError, "negative"),
        (lambda: Split(0, 4)(tensor(5)), ShapeError, "cannot be split in 4"),
        (lambda: Split(0, 2)(tensor(4), ints(2, 2)), InvalidModel, "either split or num_outputs"),
        (lambda: Split(0, outputs=3)(tensor(4), ints(2, 2)), InvalidModel, "agree with the outputs"),
        (lambda: Split(0)(tensor(4)), InvalidModel, "either split or num_outputs"),
        (lambda: Slice()(tensor(4), ints(0), ints(1), ints(0), ints(0)), ShapeError, "step is 0"),
        (lambda: Slice()(tensor(4), ints(0, 1), ints(1)), ShapeError, "differ in length"),
        (lambda: Slice()(tensor(4, 2), ints(0, 0), ints(1, 1), ints(0, -2)), ShapeError, "twice"),
        (lambda: Squeeze()(tensor(1, 3), ints(1)), ShapeError, "expected 1"),
        (lambda: Unsqueeze()(tensor(3), ints(0, 0)), ShapeError, "twice"),
        (lambda: Unsqueeze()(tensor(3), ints(3)), ShapeError, "out of range"),
        (lambda: Expand()(tensor(2, 3), ints(4, 3)), ShapeError, "cannot broadcast"),
        (lambda: Expand()(tensor(2, 3), ints(-1, 3)), ShapeError, "negative"),
        (lambda: Tile()(tensor(2, 3), ints(2)), ShapeError, "expected 2"),
        (lambda: Tile()(tensor(2), ints(-2)), ShapeError, "negative"),
        (lambda: Pad()(tensor(2), ints(1)), ShapeError, "expected 2"),
        (lambda: Pad()(tensor(2), ints(-1, -2)), ShapeError, "more away"),
        (lambda: Pad("mirror")(tensor(2), ints(0, 0)), InvalidModel, "mode"),
        (lambda: ConstantOfShape()(ints(2, -1)), ShapeError, "negative"),
        (lambda: ConstantOfShape(Tensor(np.zeros(2)))(ints(2)), InvalidModel, "one element"),
        (lambda: Range()(const(0), const(5), const(0)), InvalidModel, "delta is 0"),
        (lambda: Range()(const(0.0), const(np.inf), const(1.0)), InvalidModel, "do not bound"),
        (lambda: ReverseSequence()(tensor(4, 3), ints(1, 2)), ShapeError, "one entry for each"),
        (lambda: Compress(0)(tensor(2), const(np.ones(3, bool))), ShapeError, "3 entries"),
        (lambda: SplitToSequence()(tensor(4), const(0)), ShapeError, "split is 0"),
    ],
)  # fmt: skip
def test_invalid_models_are_refused(apply: Callable[[], object], error: type[GraphcError], message: str) -> None:
    with pytest.raises(error, match=message):
        apply()


def vector(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


two = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("evaluate", "error", "message"),
    [
        (lambda: Reshape().eval(two, vector(4, 2)), ExecutionError, "cannot reshape"),
        (lambda: Split(0, outputs=2).eval(two, vector(1, 2)), ExecutionError, "sums to 3"),
        (lambda: Slice().eval(two, vector(0), vector(1), vector(0), vector(0)), ExecutionError, "step of 0"),
        (lambda: Tile().eval(two, vector(1, -1)), ExecutionError, "negative"),
        (lambda: Tile().eval(two, vector(2**40, 1)), ResourceLimit, "limit"),
        (lambda: Expand().eval(two[:1], vector(2**40, 3)), ResourceLimit, "limit"),
        (lambda: ConstantOfShape().eval(vector(2**40)), ResourceLimit, "limit"),
        (lambda: ConstantOfShape().eval(vector(-1)), ExecutionError, "negative"),
        (lambda: Pad().eval(two, vector(2**50, 0, 0, 0)), ResourceLimit, "limit"),
        (lambda: Pad().eval(two, vector(-3, 0, 0, 0)), ExecutionError, "more away"),
        (lambda: Pad("edge").eval(two[:0], vector(1, 0, 0, 0)), ExecutionError, "no elements"),
        (lambda: Range().eval(vector(0)[0], vector(2**62)[0], vector(1)[0]), ResourceLimit, "limit"),
        (lambda: Range().eval(vector(0)[0], vector(2)[0], vector(0)[0]), ExecutionError, "delta is 0"),
        (lambda: ReverseSequence().eval(two, vector(1, 3, 0)), ExecutionError, "outside 0..2"),
        (lambda: Compress(0).eval(two, np.ones(3, bool)), ExecutionError, "3 entries"),
        (lambda: Squeeze().eval(two, vector(0)), ExecutionError, "expected 1"),
        (lambda: SplitToSequence().eval(two, np.array(0)), ExecutionError, "split is 0"),
        (lambda: SequenceAt().eval([two], np.array(1)), ExecutionError, "position 1"),
        (lambda: SequenceInsert().eval([two], two, np.array(-2)), ExecutionError, "position -2"),
    ],
)  # fmt: skip
def test_data_that_breaks_the_contract(evaluate: Callable[[], object], error: type[GraphcError], message: str) -> None:
    with limited(Limits(max_tensor_bytes=1 << 30)), pytest.raises(error, match=message):
        evaluate()


def test_gradients_with_run_time_sizes() -> None:
    """One graph with symbolic sizes serves every size: the gradient code reads them at run time."""
    a = tensor("n", "m", name="a")
    sliced = Slice()(a, ints(1), ints(MOST), ints(1), ints(2))
    tiled = Tile()(sliced, ints(2, 1))
    joined = Concat(0)(tiled, Pad("edge")(sliced, ints(1, 0, 0, 0)))
    flat = Flatten()(Unsqueeze()(Transpose()(joined), ints(1)))
    loss = (flat * flat).sum()
    derivative = grad(Graph([a], [loss]))
    for n, m in [(2, 3), (3, 6)]:
        array = np.random.default_rng(0).standard_normal((n, m)).astype(np.float32)
        expected = np.zeros_like(array)
        expected[:, 1::2] = 6 * array[:, 1::2]
        expected[0, 1::2] += 2 * array[0, 1::2]
        (got,) = interpret(derivative, [array])
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_reshape_to_symbolic_sizes() -> None:
    a, n, m = tensor("n", 3, "m"), sym("n"), sym("m")
    for target in [(n * 3, m), (n, m, 3), (m, n * 3), (3, n, 1, m)]:
        y = a.reshape(target)
        assert y.shape == target
        array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
        (got,) = interpret(Graph([a], [y]), [array])
        sizes = {"n": 2, "m": 4, "3*n": 6}
        assert got.shape == tuple(sizes.get(str(d), d) for d in target)
    with pytest.raises(CompileError, match="specialize"):
        a.reshape((n * 2, m * 2, sym("k")))


def test_elements_of_a_sequence_have_sizes_of_their_own() -> None:
    pair = SequenceConstruct()(tensor(2, 3), tensor(5, 3, name="y"))
    assert isinstance(pair.type, SequenceType)
    first, second = SequenceAt()(pair, const(0)), SequenceAt()(pair, const(1))
    assert first.shape is not None
    assert second.shape is not None
    assert first.shape[0] != second.shape[0]
    assert first.shape[1] == 3
