"""Expressions and indices as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphc.expr import Call, Const, Expr, Load, Position, Reduce, Select
from graphc.index import Atom, Datum, Index, Linear, Quotient
from graphc.types import DType, bool_

Names = Mapping[Any, str]  # of indices, buffers and expressions; what is not in it is called as it calls itself


def show_index(index: Linear, names: Names | None = None) -> str:
    """`4*i + j - 1`."""
    parts: list[str] = []
    for atom, c in index.terms.items():
        name = _show_atom(atom, names or {})
        parts.append(("-" if c < 0 else "+") + (name if abs(c) == 1 else f"{abs(c)}*{name}"))
    if index.constant or not parts:
        parts.append(f"{'-' if index.constant < 0 else '+'}{abs(index.constant)}")
    first, *others = parts
    return first.removeprefix("+") + "".join(f" {p[0]} {p[1:]}" for p in others)


def _show_atom(atom: Atom, names: Names) -> str:
    if isinstance(atom, Index):
        return names.get(atom, atom.name)
    if isinstance(atom, Datum):
        low, high = (str(x if math.isinf(x) else int(x)) for x in (atom.low, atom.high))
        return f"[{show(atom.expr, names)} in {low}..{high}]"
    sign = "//" if isinstance(atom, Quotient) else "%"
    return f"(({show_index(atom.index, names)}) {sign} {atom.divisor})"


INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}


def show(e: Expr, names: Names | None = None) -> str:
    """One line of text: `exp((x[i] - m[0]))`. Constants state their type where nothing beside them does: `f32(0.5)`."""
    names = names or {}
    if e in names:
        return names[e]
    if isinstance(e, Const):
        return show_number(e) if e.dtype is bool_ else f"{e.dtype.short}({show_number(e)})"
    if isinstance(e, Position):
        return f"<{show_index(e.index, names)}>"
    if isinstance(e, Load):
        return f"{names.get(e.buffer, e.buffer.name)}[{show_index(e.offset, names)}]"
    if isinstance(e, Select):
        return f"select({show(e.condition, names)}, {', '.join(_show_alike((e.then, e.other), names))})"
    if isinstance(e, Reduce):
        axes = ", ".join(f"{a.name}<{a.extent}" for a in e.axes)
        return f"{e.function}({axes}: {show(e.body, names)})"
    assert isinstance(e, Call)
    args = _show_alike(e.args, names)
    if e.dtype is not result_type(e.function, e.args):
        return f"{e.function}.{e.dtype.short}({', '.join(args)})"
    return f"({args[0]} {INFIX[e.function]} {args[1]})" if e.function in INFIX else f"{e.function}({', '.join(args)})"


def _show_alike(args: Sequence[Expr], names: Names) -> list[str]:
    """Arguments of one element type: where one is no constant, it is the type of those that are."""
    known = next((a.dtype for a in args if not isinstance(a, Const)), None)
    return [show_number(a) if isinstance(a, Const) and a.dtype is known else show(a, names) for a in args]


def show_number(e: Const) -> str:
    """The value of a constant, as a number that reads back."""
    if e.dtype is bool_:
        return "true" if e.value else "false"
    # NumPy writes as few digits as the type needs; the text is that of a Python float, as it will be read.
    return str(int(e.value)) if isinstance(e.value, (int, np.integer, np.bool_)) else str(float(str(e.value)))


def result_type(function: str, args: Sequence[Expr]) -> DType:
    """The element type of `function` of `args`, where it is not stated."""
    return bool_ if function in ("lt", "le", "eq", "ne", "isnan", "isinf") else args[-1].dtype
