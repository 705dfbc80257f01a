"""Einstein sums."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property, reduce
from operator import mul
from string import ascii_letters

import numpy as np

from graphc.dims import unknown
from graphc.errors import CompileError, InvalidModel, ShapeError
from graphc.expr import Element, Expr, Source, cast, over, wide
from graphc.index import Linear
from graphc.ir import Cost, traffic
from graphc.ops.base import (
    Array,
    Dim,
    Op,
    Shape,
    TensorType,
    Value,
    check_dtype,
    check_same_dtype,
    const,
    unbroadcast,
)
from graphc.ops.cumulative import EyeLike
from graphc.ops.elementwise import widen
from graphc.ops.generate import zeros
from graphc.ops.movement import Concat
from graphc.ops.reduction import expand_like
from graphc.ops.reshaping import Unsqueeze
from graphc.ops.shape import at_run_time, size_of
from graphc.types import NUMBERS, bfloat16, broadcast, count, float16, int64

_TERM = re.compile(r"([A-Za-z]*)(\.\.\.)?([A-Za-z]*)")


class Einsum(Op):
    """y[output indices] = Σ over the other indices of Π_k x_k[its indices], as `equation` says. ONNX Einsum-28.

    Attributes:
        equation: `ij,jk->ik`, with letters as indices and `...` for axes that broadcast. Without an arrow, the output
            has the axes of `...` and then every index that occurs once, in the order of ASCII.
    """

    equation: str

    # -- the equation -------------------------------------------------------------------------------------------------
    @cached_property
    def terms(self) -> tuple[tuple[str, ...], str]:
        """The inputs' terms, and the output's; the axes that `...` stands for are written as one dot."""
        left, arrow, right = self.equation.replace(" ", "").partition("->")
        inputs = tuple(self._term(t) for t in left.split(","))
        used = "".join(inputs)
        if not arrow:
            return inputs, "." * ("." in used) + "".join(sorted(c for c in set(used) - {"."} if used.count(c) == 1))
        output = self._term(right)
        for c in output.replace(".", ""):
            if output.count(c) > 1 or c not in used:
                problem = "there twice" if output.count(c) > 1 else "in none of the inputs"
                raise InvalidModel(f"equation '{self.equation}': output index '{c}' is {problem}")
        return inputs, output

    def _term(self, text: str) -> str:
        match = _TERM.fullmatch(text)
        if match is None:
            raise InvalidModel(f"equation '{self.equation}': '{text}' is not made of letters and at most one '...'")
        before, dots, after = match.groups()
        return f"{before}{'.' if dots else ''}{after}"

    def _indices(self, shapes: Sequence[Shape]) -> tuple[list[list[str]], list[str]]:
        """One index name for each axis of the inputs, and of the output; `.1` is the last axis of `...`, and so on."""
        terms, output = self.terms
        extra = 0
        found: list[list[str]] = []
        for term, shape in zip(terms, shapes, strict=True):
            named = len(term.replace(".", ""))
            more = len(shape) - named
            if more < 0 or (more and "." not in term):
                term = term.replace(".", "...")
                raise ShapeError(
                    f"equation '{self.equation}': term '{term}' does not fit its input of shape {_list(shape)}"
                )
            extra = max(extra, more)
            found.append(_spread(term, more))
        if extra and "." not in output:
            raise ShapeError(f"equation '{self.equation}': the output lacks the '...' for {extra} axes of the inputs")
        return found, _spread(output, extra)

    def _sizes(self, shapes: Sequence[Shape]) -> tuple[list[list[str]], list[str], dict[str, Dim]]:
        """`_indices` and the size of each index. Raises `ShapeError` where sizes of one index differ."""
        inputs, output = self._indices(shapes)
        sizes: dict[str, Dim] = {}
        for indices, shape in zip(inputs, shapes, strict=True):
            own: dict[str, Dim] = {}
            for index, size in zip(indices, shape, strict=True):
                before = own.setdefault(index, size)
                if isinstance(before, int) and isinstance(size, int) and before != size:
                    raise ShapeError(
                        f"equation '{self.equation}': index '{index}' has sizes {before} and {size} in {_list(shape)}"
                    )
                own[index] = size if isinstance(size, int) else before
            for index, size in own.items():
                try:
                    sizes[index] = broadcast((sizes.get(index, 1),), (size,))[0]  # type: ignore[index]
                except ShapeError:
                    given = ", ".join(_list(s) for s in shapes)
                    raise ShapeError(
                        f"equation '{self.equation}': index '{index}' has sizes {sizes[index]} and {size} in {given}"
                    ) from None
        return inputs, output, sizes

    # -- the op -------------------------------------------------------------------------------------------------------
    def infer(self, *inputs: Value) -> TensorType:
        terms, output = self.terms
        if len(inputs) != len(terms):
            raise InvalidModel(f"equation '{self.equation}' has {len(terms)} terms, got {len(inputs)} inputs")
        check_same_dtype(*inputs)
        check_dtype(inputs[0], NUMBERS, "input")
        shapes = [x.shape for x in inputs if x.shape is not None]
        if len(shapes) == len(inputs):
            _, indices, sizes = self._sizes(shapes)
            return TensorType(inputs[0].dtype, tuple(sizes[i] for i in indices))
        return TensorType(inputs[0].dtype, None if "." in output else tuple(unknown() for _ in output))

    def eval(self, *inputs: Array) -> Array:
        names, output, _ = at_run_time(self._sizes, [x.shape for x in inputs])
        y = np.einsum(_equation(names, output), *map(widen, inputs), optimize=True)
        return np.asarray(y).astype(inputs[0].dtype, copy=False)

    def element(self, y: TensorType, *inputs: Source) -> Element:
        names, output, _ = self._sizes([x.shape for x in inputs])
        sizes: dict[str, int] = {}
        for indices, x in zip(names, inputs, strict=True):
            for index, n in zip(indices, x.shape, strict=True):
                sizes[index] = n if sizes.get(index, 1) == 1 else sizes[index]
        summed = [index for index in sizes if index not in output]

        def element(*i: Linear) -> Expr:
            def term(*k: Linear) -> Expr:
                at = dict(zip([*output, *summed], [*i, *k], strict=True))
                factors = [
                    wide(x[[0 if n == 1 else at[index] for index, n in zip(indices, x.shape, strict=True)]])
                    for indices, x in zip(names, inputs, strict=True)
                ]
                return reduce(mul, factors)

            return cast(over("sum", [sizes[index] for index in summed], term), y.dtype)

        return element

    def decompose(self, *inputs: Value) -> tuple[Value] | None:
        """Two inputs at a time: what only they have is summed over before the next one comes in."""
        shapes = [x.shape for x in inputs]
        if len(inputs) < 3 or any(s is None for s in shapes) or inputs[0].dtype in (float16, bfloat16):
            return None
        names, output, _ = self._sizes(shapes)  # type: ignore[arg-type]
        wanted = {*output, *(index for indices in names[2:] for index in indices)}
        kept = [index for index in dict.fromkeys([*names[0], *names[1]]) if index in wanted]
        (first,) = Einsum(_equation(names[:2], kept)).apply(inputs[:2])
        return (Einsum(_equation([kept, *names[2:]], output)).apply((first, *inputs[2:]))[0],)

    def grad(self, dy: Value, y: Value, *inputs: Value) -> Sequence[Value | None]:
        if any(x.shape is None for x in inputs):
            raise CompileError("the gradient of Einsum needs known ranks", hint="Give the graph's inputs shapes")
        names, output, _ = self._sizes([x.shape for x in inputs])  # type: ignore[misc]
        return [self._slope(dy, inputs, k, names, output) for k in range(len(inputs))]

    def _slope(self, dy: Value, inputs: Sequence[Value], k: int, names: list[list[str]], output: list[str]) -> Value:
        """Σ dy · the other inputs over the indices that input k lacks; dy flows into its diagonals only."""
        x = inputs[k]
        factors = [(dy, output), *((v, n) for i, (v, n) in enumerate(zip(inputs, names, strict=True)) if i != k)]
        there = {i for _, indices in factors for i in indices}
        # The second 'i' of 'ii' gets a name of its own, and an identity matrix ties it to the first.
        target: list[str] = []
        for axis, index in enumerate(names[k]):
            if index not in target:
                target.append(index)
                continue
            target.append(f"{index}{axis}")
            factors.append((_identity(x, axis), [index, target[-1]]))
            there |= {index, target[-1]}
        equation = _equation([n for _, n in factors], [i for i in target if i in there])
        dx: Value = Einsum(equation).apply([v for v, _ in factors])[0]
        # Indices that only input k has are summed over: dy is the same all along them.
        missing = [axis for axis, i in enumerate(target) if i not in there]
        if missing:
            dx = Unsqueeze().apply((dx, const(missing, int64)))[0]
        return expand_like(unbroadcast(dx, x), x)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        shapes = [x.shape for x in xs if x is not None and x.shape is not None]
        if len(shapes) < len(xs):
            return Cost(0, traffic(xs, ys))
        _, _, sizes = self._sizes(shapes)
        return Cost(count(list(sizes.values())) * max(2 * (len(xs) - 1), 1), traffic(xs, ys))


def _spread(term: str, more: int) -> list[str]:
    """The characters of `term`, the dot replaced by names for `more` axes."""
    result: list[str] = []
    for c in term:
        result += [f".{i}" for i in range(more, 0, -1)] if c == "." else [c]
    return result


def _equation(terms: Sequence[Sequence[str]], output: Sequence[str]) -> str:
    """The equation with a letter for each name. Raises `CompileError` when there are more names than letters."""
    names = list(dict.fromkeys(name for term in terms for name in term))
    if len(names) > len(ascii_letters):
        raise CompileError(f"an Einstein sum over {len(names)} indices, the limit is {len(ascii_letters)}")
    letters = dict(zip(names, ascii_letters, strict=False))
    written = ["".join(letters[name] for name in term) for term in (*terms, output)]
    return f"{','.join(written[:-1])}->{written[-1]}"


def _identity(x: Value, axis: int) -> Value:
    """The identity matrix as large as axis `axis` of `x`."""
    size = size_of(x, axis)
    return EyeLike().apply((zeros(Concat(0).apply((size, size))[0], x.dtype),))[0]


def _list(shape: Shape) -> str:
    return f"[{','.join(map(str, shape))}]"
