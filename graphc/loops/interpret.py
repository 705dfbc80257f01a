"""What a nest means: its loops run in Python, each access checked. What an emitter makes of a nest is held to this.

The lanes of a vector loop are the elements of a NumPy array, so that each operation is done for all of them in step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.expr import Buffer, Call, Const, Expr, Load, Position, Select
from graphc.frozen import Frozen
from graphc.index import Atom, Datum, Index, Linear, Quotient, Remainder
from graphc.loops.nest import Alloc, Block, For, If, Nest, Prefetch, Stmt, Store, Update
from graphc.show import show_index
from graphc.traverse import children
from graphc.types import Array, DType, bool_

Value = Any  # a NumPy scalar, the same for all lanes, or an array of one element for each lane


def interpret(nest: Nest, memory: Mapping[Buffer, Array], *, seed: int | None = None, fused: bool = True) -> bool:
    """Run `nest` on `memory`. Returns False where a guard does not hold, or an integer is divided by zero.

    Args:
        nest: a kernel without reductions in its expressions.
        memory: for each argument a flat array; what is written, is written there. An array may be longer than its
            buffer, where there is memory after it that may be read.
        seed: iterations of parallel loops come in an order that is drawn with it; None is their own order.
        fused: `fma` rounds once (up to double rounding), else it is a product and a sum.

    Raises:
        IndexError: an access outside of a buffer.
        ValueError: something undefined: an element is read before it is stored, lanes or iterations of a parallel
            loop meet in one element, an index is outside of the range that it is said to have.
        TypeError: element types do not fit.
    """
    run = _Run(fused, None if seed is None else np.random.default_rng(seed))
    for b in nest.arguments:
        data = memory[b]
        if data.ndim != 1 or data.size < b.size or data.dtype != b.dtype.numpy:
            raise TypeError(f"{b.name} needs {b.size} × {b.dtype}, got {data.size} × {data.dtype}")
        run.memory[b] = _Memory.new(data) if b in nest.written else _Memory(data, None, None)
    with np.errstate(all="ignore"):
        run.block(nest.body)
    return run.ok


class _Memory(Frozen, eq=False):
    """The elements of a buffer, or [elements, lanes] where each lane has its own.

    Attributes:
        data: the elements.
        defined: which of them have been stored (None: all).
        writer: the iteration of a parallel loop that stored each, or −1 (None: nothing is stored).
    """

    data: Array
    defined: Array | None
    writer: Array | None

    @staticmethod
    def new(data: Array) -> _Memory:
        """Memory that is to be written."""
        return _Memory(data, np.zeros(data.shape, np.bool_), np.full(data.shape, -1))

    @property
    def is_private(self) -> bool:
        return self.data.ndim == 2


class _Run:
    """The state of a run; `known` holds what the statement at hand has computed, `active` the lanes that compute."""

    def __init__(self, fused: bool, random: np.random.Generator | None):
        self.fused, self.random, self.ok = fused, random, True
        self.memory: dict[Buffer, _Memory] = {}
        self.at: dict[Index, Value] = {}
        self.lane: Index | None = None
        self.active: Array | None = None  # None: all
        self.iteration: int | None = None  # of a parallel loop; they count through the whole run
        self.first = self.count = 0  # the first iteration of that loop, and how many there have been
        self.known: dict[Expr, Value] = {}
        self._orders: dict[Expr, list[Expr]] = {}

    # -- statements ---------------------------------------------------------------------------------------------------
    def block(self, body: Block) -> None:
        for s in body:
            self._statement(s)

    def _statement(self, s: Stmt) -> None:
        self.known = {}
        if isinstance(s, For):
            (self._lanes if s.kind == "vector" else self._loop)(s)
        elif isinstance(s, Alloc):
            shape = (s.buffer.size,) if self.lane is None else (s.buffer.size, self.lane.extent)
            self.memory[s.buffer] = _Memory.new(np.zeros(shape, s.buffer.dtype.numpy))
        elif isinstance(s, If):
            condition = self.value(s.condition)
            if np.ndim(condition):
                with self._only(condition):
                    self.block(s.body)
            elif condition:
                self.block(s.body)
        elif isinstance(s, Store):
            self._store(s.buffer, s.offset, self.value(s.value))
        elif isinstance(s, Update):
            old = self._load(s.buffer, s.offset)
            self._store(s.buffer, s.offset, self._apply(s.function, [old, self.value(s.value)], s.buffer.dtype))
        else:
            assert isinstance(s, Prefetch)  # changes nothing

    def _loop(self, s: For) -> None:
        order: Sequence[int] = range(s.index.extent)
        if s.kind == "parallel" and self.random is not None:
            order = [int(i) for i in self.random.permutation(s.index.extent)]
        is_shared = s.kind == "parallel" and self.iteration is None
        if is_shared:
            self.first = self.count
        for i in order:
            self.at[s.index] = i
            if is_shared:
                self.iteration = self.count
                self.count += 1
            self.block(s.body)
        self.at.pop(s.index, None)
        if is_shared:
            self.iteration = None

    def _lanes(self, s: For) -> None:
        if self.lane is not None:
            raise ValueError(f"vector loop {s.index.name} is inside of vector loop {self.lane.name}")
        self.lane, self.at[s.index] = s.index, np.arange(s.index.extent)
        self.block(s.body)
        self.lane = None
        del self.at[s.index]

    @contextmanager
    def _only(self, lanes: Array) -> Iterator[None]:
        """Within, only some lanes compute; what is known stays so."""
        active, known = self.active, self.known
        self.active, self.known = (lanes if active is None else lanes & active), dict(known)
        yield
        self.active, self.known = active, known

    # -- memory -------------------------------------------------------------------------------------------------------
    def _place(self, buffer: Buffer, offset: Linear) -> tuple[_Memory, Any]:
        """The memory of `buffer` and the place in it, which is checked; lanes that do not compute are anywhere."""
        memory, at = self.memory[buffer], self.index(offset)
        n = len(memory.data)
        is_usual = self.active is None and not memory.is_private
        if is_usual and (0 <= at < n if isinstance(at, int) else at.min() >= 0 and at.max() < n):
            return memory, at
        outside = (at < 0) | (at >= n)
        if self.active is not None:
            outside = outside & self.active
        if outside if isinstance(outside, bool) else outside.any():
            wrong = int(np.broadcast_to(at, np.shape(outside))[outside][0]) if np.ndim(outside) else at
            raise IndexError(f"{buffer.name}[{wrong}] ({offset}) is outside of {n} elements")
        if self.active is not None:
            at = np.clip(at, 0, max(n - 1, 0))
        return memory, (at, np.arange(self.lane.extent)) if memory.is_private and self.lane is not None else at

    def _alone(self, memory: _Memory, place: Any, buffer: Buffer, offset: Linear) -> None:
        """Raise `ValueError` where another iteration of the parallel loop has written."""
        if self.iteration is not None and memory.writer is not None:
            writer = memory.writer[place]
            others = (writer >= self.first) & (writer != self.iteration)
            if (others if self.active is None else others & self.active).any():
                raise ValueError(f"iterations of a parallel loop meet in {buffer.name}[{show_index(offset)}]")

    def _load(self, buffer: Buffer, offset: Linear) -> Value:
        memory, place = self._place(buffer, offset)
        if not len(memory.data):  # no lane computes
            return buffer.dtype.numpy.type(0)
        self._alone(memory, place, buffer, offset)
        if memory.defined is not None:
            defined = memory.defined[place]
            if not (defined if self.active is None else defined | ~self.active).all():
                raise ValueError(f"{buffer.name}[{offset}] is read before it is stored")
        return memory.data[place]

    def _store(self, buffer: Buffer, offset: Linear, value: Value) -> None:
        if value.dtype != buffer.dtype.numpy:
            raise TypeError(f"{buffer.name} of {buffer.dtype} is given {value.dtype}")
        memory, place = self._place(buffer, offset)
        where = place[0] if memory.is_private else place
        if not memory.is_private and (np.ndim(value) > np.ndim(where) or not self._apart(where)):
            raise ValueError(f"lanes meet in {buffer.name}[{show_index(offset)}]")
        self._alone(memory, place, buffer, offset)
        active = self.active
        if active is not None:
            if memory.is_private:
                place = tuple(np.broadcast_to(p, active.shape)[active] for p in place)
            elif np.ndim(where):
                place = where[active]
            elif not active.any():
                return
            value = value[active] if np.ndim(value) else value
        memory.data[place] = value
        if memory.defined is not None:
            memory.defined[place] = True
        if memory.writer is not None:
            memory.writer[place] = -1 if self.iteration is None else self.iteration

    def _apart(self, place: Any) -> bool:
        """True if lanes write to elements of their own."""
        if not np.ndim(place):
            return True
        written = place if self.active is None else place[self.active]
        return bool((written[1:] > written[:-1]).all()) or len(np.unique(written)) == len(written)

    # -- indices ------------------------------------------------------------------------------------------------------
    def index(self, index: Linear) -> Any:
        """The value of an index; the data in it must be known."""
        total: Any = index.constant
        for atom, c in index.terms.items():
            at = self.at[atom] if type(atom) is Index else self._atom(atom)
            total = total + (at if c == 1 else c * at)
        return total

    def _atom(self, atom: Atom) -> Any:
        if isinstance(atom, Quotient):
            return self.index(atom.index) // atom.divisor
        if isinstance(atom, Remainder):
            return self.index(atom.index) % atom.divisor
        assert isinstance(atom, Datum)
        data = self.value(atom.expr)
        wrong = (data < atom.low) | (data > atom.high)
        if np.any(wrong if self.active is None else wrong & self.active):
            raise ValueError(f"an index of {data} is not in [{atom.low}, {atom.high}]")
        return data.astype(np.int64) if np.ndim(data) else int(data)

    # -- expressions --------------------------------------------------------------------------------------------------
    def value(self, e: Expr) -> Value:
        """The value of `e`, of its element type."""
        for x in self._order(e):
            if x not in self.known:
                result = self._compute(x)
                if result.dtype != x.dtype.numpy:
                    name = x.function if isinstance(x, Call) else type(x).__name__
                    raise TypeError(f"{name} of {x.dtype} gives {result.dtype}")
                self.known[x] = result
        return self.known[e]

    def _order(self, e: Expr) -> list[Expr]:
        """Every expression that is computed whenever `e` is, parts first: sides of a selection are not."""
        if e not in self._orders:
            order: dict[Expr, None] = {}
            stack = [(e, False)]
            while stack:
                x, ready = stack.pop()
                if ready:
                    order[x] = None
                elif x not in order:
                    parts = (x.condition,) if isinstance(x, Select) else children(x)
                    stack += [(x, True), *((p, False) for p in reversed(parts))]
            self._orders[e] = list(order)
        return self._orders[e]

    def _compute(self, e: Expr) -> Value:
        if isinstance(e, Load):
            return self._load(e.buffer, e.offset)
        if isinstance(e, Const):
            return np.asarray(e.value, e.dtype.numpy)[()]
        if isinstance(e, Position):
            return np.asarray(self.index(e.index), np.int64)[()]
        if isinstance(e, Select):
            return self._select(e)
        if not isinstance(e, Call):
            raise TypeError(f"{type(e).__name__} in a nest")
        args = [self.known[a] for a in e.args]
        if e.function == "guard":
            self._check(args[0])
            return args[1]
        return self._apply(e.function, args, e.dtype)

    def _select(self, e: Select) -> Value:
        condition = self.known[e.condition]
        if not np.ndim(condition):
            return self.value(e.then if condition else e.other)
        with self._only(condition):
            then = self.value(e.then)
        with self._only(~condition):
            other = self.value(e.other)
        if then.dtype != other.dtype:
            raise TypeError(f"a choice between {then.dtype} and {other.dtype}")
        return np.where(condition, then, other)

    def _check(self, ok: Value) -> None:
        """The run fails where a lane that computes is not `ok`."""
        self.ok &= bool(np.all(ok if self.active is None else ok | ~self.active))

    def _apply(self, function: str, args: list[Value], dtype: DType) -> Value:
        if function not in ("cast", "bitcast") and len({a.dtype for a in args}) > 1:
            raise TypeError(f"{function} of {', '.join(str(a.dtype) for a in args)}")
        if function == "cast":
            return convert(args[0], dtype)
        if function == "bitcast":
            return np.asarray(args[0]).view(dtype.numpy)[()]
        if function == "fma":
            return _fma(*args) if self.fused else args[0] * args[1] + args[2]
        if function in DIVISIONS and args[0].dtype.kind in "iu":
            a, b = args
            self._check(b != 0)
            return DIVISIONS[function](a, np.where(b == 0, b.dtype.type(1), b)).astype(a.dtype)[()]
        if function in REAL:
            wide = [a.astype(np.promote_types(a.dtype, np.float64)) for a in args]
            return np.asarray(REAL[function](*wide)).astype(args[0].dtype)[()]
        return OPERATIONS[function](*args)


# -- functions --------------------------------------------------------------------------------------------------------
def convert(x: Value, dtype: DType) -> Value:
    """`x` as `dtype`, as ONNX Cast: floats saturate on the way to integers, NaN gives 0; integers wrap."""
    if not np.issubdtype(x.dtype, np.integer) and x.dtype != np.bool_ and dtype.is_integer:
        limits, wide = np.iinfo(dtype.numpy), x.astype(np.float64)
        low, high = wide <= float(limits.min), wide >= float(limits.max)
        inner = np.where(low | high | np.isnan(wide), 0, wide).astype(dtype.numpy)
        return np.where(low, dtype.numpy.type(limits.min), np.where(high, dtype.numpy.type(limits.max), inner))[()]
    return (x != 0) if dtype is bool_ else x.astype(dtype.numpy)


def _fma(a: Value, b: Value, c: Value) -> Value:
    if a.dtype.kind in "iu":
        return a * b + c
    wide = np.longdouble if a.dtype == np.float64 else np.float64
    return (a.astype(wide) * b.astype(wide) + c.astype(wide)).astype(a.dtype)


def _truncated(a: Value, b: Value) -> Value:
    floor = np.floor_divide(a, b)
    return floor + ((np.remainder(a, b) != 0) & ((a < 0) != (b < 0))).astype(floor.dtype)


def _logical(on_bits: Callable[..., Value], on_bools: Callable[..., Value]) -> Callable[..., Value]:
    return lambda *args: (on_bools if args[0].dtype == np.bool_ else on_bits)(*args)


def _sigmoid(x: Value) -> Value:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _kept_if_integer(function: Callable[..., Value]) -> Callable[..., Value]:
    return lambda x: x if x.dtype.kind in "iub" else function(x)


# Of integers: the quotient rounds towards zero or down, and the remainder goes with it.
DIVISIONS: dict[str, Callable[..., Value]] = {
    "div": _truncated, "fmod": np.fmod, "floordiv": np.floor_divide, "mod": np.remainder,
}  # fmt: skip
# Computed in float64, then rounded.
REAL: dict[str, Callable[..., Value]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "pow": np.power,
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "erf": np.vectorize(math.erf, otypes=[np.float64]),
    "sigmoid": _sigmoid, "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
}  # fmt: skip
# Rounded to the type of the arguments. NumPy's shifts by the width or more give 0, or the sign.
OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "mod": np.remainder, "fmod": np.fmod,
    "floordiv": np.floor_divide, "max": np.maximum, "min": np.minimum, "neg": np.negative, "abs": np.abs,
    "sign": np.sign, "floor": _kept_if_integer(np.floor), "ceil": _kept_if_integer(np.ceil),
    "round": _kept_if_integer(np.rint), "trunc": _kept_if_integer(np.trunc), "sqrt": np.sqrt,
    "isnan": np.isnan, "isinf": np.isinf, "lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal,
    "and": _logical(np.bitwise_and, np.logical_and), "or": _logical(np.bitwise_or, np.logical_or),
    "xor": _logical(np.bitwise_xor, np.logical_xor), "not": _logical(np.invert, np.logical_not),
    "shl": np.left_shift, "shr": np.right_shift,
}  # fmt: skip
