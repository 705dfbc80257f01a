"""The functions of expressions as LLVM instructions, on scalars and on vectors alike."""

from __future__ import annotations

import struct
from typing import Any, Protocol

import numpy as np

from graphc.errors import CompileError
from graphc.expr import Buffer, Call, Const, Expr, Load, Select
from graphc.index import linear
from graphc.loops.halves import float_to_half, half_to_float
from graphc.traverse import children, walk
from graphc.types import (
    SMALL_FLOATS,
    SMALL_INTEGERS,
    DType,
    bfloat16,
    bool_,
    float8e8m0,
    float16,
    float32,
    float64,
    int8,
    int64,
    uint8,
    uint16,
)

from .small_types import (
    SMALL,
    code,
    from_float32,
    from_int8,
    power_of_two,
    to_float32,
    to_int8,
)

# Element types that have instructions: in registers, and in memory (a bool is a byte there).
REGISTER = {
    "float32": "float", "float64": "double", "float16": "half", "bool_": "i1",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "i8", "uint16": "i16", "uint32": "i32", "uint64": "i64", "bfloat16": "i16",
    **{d.name: "i8" for d in SMALL},
}  # fmt: skip


def register_type(dtype: DType, lanes: int = 1) -> str:
    """LLVM's type of a value, `lanes` of them. Raises `CompileError` where there is none."""
    scalar = REGISTER.get(dtype.name)
    if scalar is None:
        raise CompileError(f"no instructions for {dtype.name}")
    return scalar if lanes == 1 else f"<{lanes} x {scalar}>"


def memory_type(dtype: DType, lanes: int = 1) -> str:
    """LLVM's type of what lies in memory."""
    if dtype is bool_:
        return "i8" if lanes == 1 else f"<{lanes} x i8>"
    return register_type(dtype, lanes)


def literal(value: Any, dtype: DType) -> str:
    """A constant as LLVM writes it."""
    if dtype is bool_:
        return "true" if value else "false"
    if dtype in SMALL:
        return str(code(value, dtype))
    if dtype is bfloat16:
        return str(int(np.asarray(value, bfloat16.numpy).view(np.uint16)))
    if dtype is float16:
        return f"0xH{int(np.asarray(value, np.float16).view(np.uint16)):04X}"
    if dtype.is_float:
        rounded = float(np.asarray(value, dtype.numpy))
        return f"0x{struct.unpack('<Q', struct.pack('<d', rounded))[0]:016X}"
    return str(int(value))


class Writer(Protocol):
    """What these functions need of the emitter: a place for instructions."""

    fma: bool
    half: bool

    def op(self, text: str) -> str:
        """Append the instruction `text` and return the name of its result."""
        ...

    def intrinsic(self, name: str, result: str, *arguments: tuple[str, str]) -> str:
        """Append a call of an LLVM intrinsic, which gives the type `result`, on arguments (type, name)."""
        ...

    def fail_unless(self, ok: str, lanes: int) -> None:
        """The run fails where `ok` (one i1, or a vector of them) does not hold."""
        ...


def splat(text: str, scalar: str, lanes: int) -> str:
    """The constant `text` of LLVM type `scalar` for `lanes` lanes."""
    return text if lanes == 1 else f"splat ({scalar} {text})"


_FLOAT = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "fmod": "frem"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_ROUNDING = {"floor": "floor", "ceil": "ceil", "round": "rint", "trunc": "trunc", "sqrt": "sqrt"}
_ORDER = {
    "lt": ("olt", "slt", "ult"),
    "le": ("ole", "sle", "ule"),
    "eq": ("oeq", "eq", "eq"),
    "ne": ("une", "ne", "ne"),
}


_STORED_ONLY = SMALL_FLOATS | {float16, bfloat16}


def instruction(w: Writer, function: str, args: list[str], source: DType, result: DType, lanes: int) -> str:
    """Write `function` of `args` (of element type `source`) and return the name of its result."""
    if function == "cast":
        return convert(w, args[0], source, result, lanes)
    if function == "bitcast":
        return _reinterpret(w, args[0], source, result, lanes)
    if source in SMALL_INTEGERS:
        raise CompileError(f"{function} of {source.name}")
    if source in _STORED_ONLY:  # stored so, computed in float32
        if function in _ORDER or function in ("isnan", "isinf"):
            wide = [convert(w, a, source, float32, lanes) for a in args]
            return instruction(w, function, wide, float32, result, lanes)
        wide = [convert(w, a, source, float32, lanes) for a in args]
        return convert(w, instruction(w, function, wide, float32, float32, lanes), float32, source, lanes)
    if function in _ORDER:
        return _compare(w, function, args, source, lanes)
    if source is bool_:
        return _logic(w, function, args, lanes)
    return (_float if source.is_float else _integer)(w, function, args, source, lanes)


def _reinterpret(w: Writer, x: str, old: DType, new: DType, lanes: int) -> str:
    """The bits of `x` as another type of their number; any byte but 0 is true."""
    if old is bool_ or new is bool_:
        return convert(w, x, bool_ if old is bool_ else uint8, bool_ if new is bool_ else uint8, lanes)
    before, after = register_type(old, lanes), register_type(new, lanes)
    return x if before == after else w.op(f"bitcast {before} {x} to {after}")


def _compare(w: Writer, function: str, args: list[str], dtype: DType, lanes: int) -> str:
    float_, signed, unsigned = _ORDER[function]
    kind = register_type(dtype, lanes)
    if dtype.is_float:
        return w.op(f"fcmp {float_} {kind} {args[0]}, {args[1]}")
    return w.op(f"icmp {signed if dtype.kind == 'int' else unsigned} {kind} {args[0]}, {args[1]}")


def _logic(w: Writer, function: str, args: list[str], lanes: int) -> str:
    kind = register_type(bool_, lanes)
    if function == "not":
        return w.op(f"xor {kind} {args[0]}, {splat('true', 'i1', lanes)}")
    name = {"and": "and", "or": "or", "xor": "xor", "max": "or", "min": "and", "add": "or", "mul": "and"}.get(function)
    if name is None:
        raise CompileError(f"{function} of bool")
    return w.op(f"{name} {kind} {args[0]}, {args[1]}")


def _float(w: Writer, function: str, args: list[str], dtype: DType, lanes: int) -> str:
    scalar, kind = register_type(dtype), register_type(dtype, lanes)
    bits = f"{'' if lanes == 1 else f'v{lanes}'}f{dtype.bits}"
    typed = [f"{kind} {a}" for a in args]
    if function in _FLOAT:
        return w.op(f"{_FLOAT[function]} {typed[0]}, {args[1]}")
    if function == "neg":
        return w.op(f"fneg {typed[0]}")
    if function == "abs":
        return w.intrinsic(f"llvm.fabs.{bits}", kind, (kind, args[0]))
    if function in _ROUNDING:
        return w.intrinsic(f"llvm.{_ROUNDING[function]}.{bits}", kind, (kind, args[0]))
    if function == "fma":
        if w.fma:
            return w.intrinsic(f"llvm.fma.{bits}", kind, *((kind, a) for a in args))
        return w.op(f"fadd {kind} {w.op(f'fmul {typed[0]}, {args[1]}')}, {args[2]}")
    if function in ("max", "min"):
        order = "ogt" if function == "max" else "olt"
        chosen = _choose(w, w.op(f"fcmp {order} {typed[0]}, {args[1]}"), args[0], args[1], kind, lanes)
        return _choose(w, w.op(f"fcmp uno {typed[0]}, {args[0]}"), args[0], chosen, kind, lanes)
    if function == "isnan":
        return w.op(f"fcmp uno {typed[0]}, {args[0]}")
    if function == "isinf":
        size = w.intrinsic(f"llvm.fabs.{bits}", kind, (kind, args[0]))
        return w.op(f"fcmp oeq {kind} {size}, {splat(literal(np.inf, dtype), scalar, lanes)}")
    if function == "sign":
        zero, one = splat(literal(0, dtype), scalar, lanes), splat(literal(1, dtype), scalar, lanes)
        minus = splat(literal(-1, dtype), scalar, lanes)
        same = w.op(f"fadd {typed[0]}, {zero}")  # 0 for −0, NaN for NaN
        below = _choose(w, w.op(f"fcmp olt {typed[0]}, {zero}"), minus, same, kind, lanes)
        return _choose(w, w.op(f"fcmp ogt {typed[0]}, {zero}"), one, below, kind, lanes)
    if function == "mod":
        return _floor_remainder(w, args, dtype, lanes)
    raise CompileError(f"{function} of {dtype.name}")


def _floor_remainder(w: Writer, args: list[str], dtype: DType, lanes: int) -> str:
    """a mod b with the sign of b, also where it is 0."""
    scalar, kind, mask = register_type(dtype), register_type(dtype, lanes), register_type(bool_, lanes)
    zero = splat(literal(0, dtype), scalar, lanes)
    rest = w.op(f"frem {kind} {args[0]}, {args[1]}")
    below = [w.op(f"fcmp olt {kind} {x}, {zero}") for x in (rest, args[1])]
    one_below = w.op(f"xor {mask} {below[0]}, {below[1]}")
    moved = _choose(w, one_below, w.op(f"fadd {kind} {rest}, {args[1]}"), rest, kind, lanes)
    name = f"llvm.copysign.{_suffix(dtype, lanes)}"
    nothing = w.intrinsic(name, kind, (kind, zero), (kind, args[1]))
    return _choose(w, w.op(f"fcmp oeq {kind} {rest}, {zero}"), nothing, moved, kind, lanes)


def _choose(w: Writer, condition: str, a: str, b: str, kind: str, lanes: int) -> str:
    return w.op(f"select {register_type(bool_, lanes)} {condition}, {kind} {a}, {kind} {b}")


def _integer(w: Writer, function: str, args: list[str], dtype: DType, lanes: int) -> str:
    scalar, kind = register_type(dtype), register_type(dtype, lanes)
    signed = dtype.kind == "int"
    typed = [f"{kind} {a}" for a in args]
    zero, ones = splat("0", scalar, lanes), splat("-1", scalar, lanes)
    suffix = f"{'' if lanes == 1 else f'v{lanes}'}{scalar}"
    if function in _INTEGER:
        return w.op(f"{_INTEGER[function]} {typed[0]}, {args[1]}")
    if function in ("max", "min"):
        return w.intrinsic(f"llvm.{'s' if signed else 'u'}{function}.{suffix}", kind, *((kind, a) for a in args))
    if function == "fma":
        return w.op(f"add {kind} {w.op(f'mul {typed[0]}, {args[1]}')}, {args[2]}")
    if function == "neg":
        return w.op(f"sub {kind} {zero}, {args[0]}")
    if function == "not":
        return w.op(f"xor {typed[0]}, {ones}")
    if function == "abs":
        return w.intrinsic(f"llvm.abs.{suffix}", kind, (kind, args[0]), ("i1", "false")) if signed else args[0]
    if function == "sign":
        above = w.op(f"zext {register_type(bool_, lanes)} {w.op(f'icmp ne {typed[0]}, {zero}')} to {kind}")
        if not signed:
            return above
        negative = w.op(f"icmp slt {typed[0]}, {zero}")
        return _choose(w, negative, ones, above, kind, lanes)
    if function in ("floor", "ceil", "round", "trunc"):
        return args[0]
    if function == "shl":
        return _shift(w, "shl", args, dtype, lanes)
    if function == "shr":
        return _shift(w, "ashr" if signed else "lshr", args, dtype, lanes)
    if function in ("div", "floordiv", "mod", "fmod"):
        return _divide(w, function, args, dtype, lanes)
    if function in ("isnan", "isinf"):
        return splat("false", "i1", lanes)
    raise CompileError(f"{function} of {dtype.name}")


def _number(text: str) -> int | None:
    """The integer that a literal, or a literal in every lane, stands for; None for a register."""
    digits = text[text.rindex(" ") + 1 :].rstrip(")") if text.startswith("splat") else text
    return int(digits) if digits.lstrip("-").isdigit() else None


def _shift(w: Writer, name: str, args: list[str], dtype: DType, lanes: int) -> str:
    """Shifts by the width or more give 0 (or the sign), where LLVM's are undefined."""
    scalar, kind = register_type(dtype), register_type(dtype, lanes)
    if (known := _number(args[1])) is not None:
        if not 0 <= known < dtype.bits:
            if name != "ashr":
                return splat("0", scalar, lanes)
            return w.op(f"ashr {kind} {args[0]}, {splat(str(dtype.bits - 1), scalar, lanes)}")
        return w.op(f"{name} {kind} {args[0]}, {args[1]}")
    most = splat(str(dtype.bits - 1), scalar, lanes)
    fits = w.op(f"icmp ule {kind} {args[1]}, {most}")
    count = _choose(w, fits, args[1], most, kind, lanes)
    shifted = w.op(f"{name} {kind} {args[0]}, {count}")
    return shifted if name == "ashr" else _choose(w, fits, shifted, splat("0", scalar, lanes), kind, lanes)


def _divide(w: Writer, function: str, args: list[str], dtype: DType, lanes: int) -> str:
    """Integer division that cannot trap: by 0 the run fails, INT_MIN / -1 wraps."""
    scalar, kind = register_type(dtype), register_type(dtype, lanes)
    signed = dtype.kind == "int"
    zero, one, minus = (splat(n, scalar, lanes) for n in ("0", "1", "-1"))
    known = _number(args[1])
    divisor = args[1]
    if not known:
        ok = w.op(f"icmp ne {kind} {args[1]}, {zero}")
        w.fail_unless(ok, lanes)
        divisor = _choose(w, ok, args[1], one, kind, lanes)
    if not signed:
        return w.op(f"{'udiv' if function in ('div', 'floordiv') else 'urem'} {kind} {args[0]}, {divisor}")
    if known and known != -1:
        quotient = w.op(f"sdiv {kind} {args[0]}, {divisor}")
    else:
        negating = w.op(f"icmp eq {kind} {divisor}, {minus}")
        safe = _choose(w, negating, one, divisor, kind, lanes)
        negative = w.op(f"sub {kind} {zero}, {args[0]}")
        quotient = _choose(w, negating, negative, w.op(f"sdiv {kind} {args[0]}, {safe}"), kind, lanes)
    if function == "div":
        return quotient
    rest = w.op(f"sub {kind} {args[0]}, {w.op(f'mul {kind} {quotient}, {divisor}')}")
    if function == "fmod":
        return rest
    nonzero = w.op(f"icmp ne {kind} {rest}, {zero}")
    apart = w.op(f"icmp slt {kind} {w.op(f'xor {kind} {rest}, {divisor}')}, {zero}")
    crossing = w.op(f"and {register_type(bool_, lanes)} {nonzero}, {apart}")
    if function == "mod":
        return _choose(w, crossing, w.op(f"add {kind} {rest}, {divisor}"), rest, kind, lanes)
    return _choose(w, crossing, w.op(f"sub {kind} {quotient}, {one}"), quotient, kind, lanes)


# -- conversions ------------------------------------------------------------------------------------------------------
def convert(w: Writer, x: str, old: DType, new: DType, lanes: int) -> str:
    """`x` converted as ONNX Cast: floats saturate on the way to integers (NaN gives 0), integers wrap."""
    if old is new:
        return x
    if old in SMALL or new in SMALL:
        return _convert_small(w, x, old, new, lanes)
    if bfloat16 in (old, new):
        return _convert_bfloat16(w, x, old, new, lanes)
    before, after = register_type(old, lanes), register_type(new, lanes)
    if new is bool_ and old is float16:
        return convert(w, convert(w, x, float16, float32, lanes), float32, bool_, lanes)
    if new is bool_:
        zero = splat(literal(0, old), register_type(old), lanes)
        return w.op(f"{'fcmp une' if old.is_float else 'icmp ne'} {before} {x}, {zero}")
    if float16 in (old, new):
        return _convert_float16(w, x, old, new, lanes)
    if old.is_float and new.is_float:
        return w.op(f"{'fpext' if new.bits > old.bits else 'fptrunc'} {before} {x} to {after}")
    if old.is_float:
        sign = "s" if new.kind == "int" else "u"
        kinds = f"{_suffix(new, lanes)}.{_suffix(old, lanes)}"
        return w.intrinsic(f"llvm.fpto{sign}i.sat.{kinds}", after, (before, x))
    if new.is_float:
        return w.op(f"{'sitofp' if old.kind == 'int' else 'uitofp'} {before} {x} to {after}")
    if before == after:
        return x
    if old is not bool_ and new.bits < old.bits:
        return w.op(f"trunc {before} {x} to {after}")
    return w.op(f"{'sext' if old.kind == 'int' else 'zext'} {before} {x} to {after}")


def _convert_small(w: Writer, x: str, old: DType, new: DType, lanes: int) -> str:
    """Where a type is small: integers wrap, floats saturate on the way to small floats."""
    if old in SMALL_FLOATS:
        return convert(w, to_float32(w, x, old, lanes), float32, new, lanes)
    if old in SMALL_INTEGERS:
        return convert(w, to_int8(w, x, old, lanes), uint8 if old.kind == "uint" else int8, new, lanes)
    if new in SMALL_INTEGERS:
        whole = convert(w, convert(w, x, old, int64, lanes), int64, int8, lanes) if old.is_float else None
        return from_int8(w, whole or convert(w, x, old, int8, lanes), new, lanes)
    if new is float8e8m0:
        return power_of_two(w, convert(w, x, old, float64, lanes), lanes)
    return from_float32(w, convert(w, x, old, float32, lanes), new, lanes)


def _convert_float16(w: Writer, x: str, old: DType, new: DType, lanes: int) -> str:
    """By way of float32; from float64 that is rounded to odd first, so that rounding twice is rounding once."""
    half, single = register_type(float16, lanes), register_type(float32, lanes)
    if old is float16:
        return convert(w, _widen(w, x, lanes), float32, new, lanes)
    y = convert(w, x, old, float32, lanes)
    if old is float64:
        double = register_type(float64, lanes)
        i32 = "i32" if lanes == 1 else f"<{lanes} x i32>"
        size = w.intrinsic(f"llvm.fabs.{_suffix(float64, lanes)}", double, (double, x))
        near = w.op(f"fpext {single} {y} to {double}")
        near = w.intrinsic(f"llvm.fabs.{_suffix(float64, lanes)}", double, (double, near))
        bits = w.op(f"bitcast {single} {y} to {i32}")
        mask = register_type(bool_, lanes)
        beyond = w.op(f"sext {mask} {w.op(f'fcmp ogt {double} {near}, {size}')} to {i32}")
        inexact = w.op(f"zext {mask} {w.op(f'fcmp one {double} {near}, {size}')} to {i32}")
        odd = w.op(f"or {i32} {w.op(f'add {i32} {bits}, {beyond}')}, {inexact}")
        y = w.op(f"bitcast {i32} {odd} to {single}")
    if w.half:
        return w.op(f"fptrunc {single} {y} to {half}")
    given = Load(Buffer("x", float32, 1), linear(0))
    bits = _written(w, float_to_half(given), {id(given): y}, lanes)
    return w.op(f"bitcast {register_type(uint16, lanes)} {bits} to {half}")


def _widen(w: Writer, x: str, lanes: int) -> str:
    """float16 as float32."""
    half = register_type(float16, lanes)
    if w.half:
        return w.op(f"fpext {half} {x} to {register_type(float32, lanes)}")
    given = Load(Buffer("x", uint16, 1), linear(0))
    bits = w.op(f"bitcast {half} {x} to {register_type(uint16, lanes)}")
    return _written(w, half_to_float(given), {id(given): bits}, lanes)


def _written(w: Writer, e: Expr, known: dict[int, str], lanes: int) -> str:
    """Write `e`, of calls and selects; `known` has the names of what is written already."""
    for part in walk(e):
        if id(part) in known:
            continue
        names = [known[id(x)] for x in children(part)]
        if isinstance(part, Const):
            known[id(part)] = splat(literal(part.value, part.dtype), register_type(part.dtype), lanes)
        elif isinstance(part, Select):
            known[id(part)] = _choose(w, names[0], names[1], names[2], register_type(part.dtype, lanes), lanes)
        else:
            assert isinstance(part, Call)
            known[id(part)] = instruction(w, part.function, names, part.args[0].dtype, part.dtype, lanes)
    return known[id(e)]


def _suffix(dtype: DType, lanes: int) -> str:
    return f"{'' if lanes == 1 else f'v{lanes}'}{'f' if dtype.is_float else 'i'}{dtype.bits}"


def _convert_bfloat16(w: Writer, x: str, old: DType, new: DType, lanes: int) -> str:
    """bfloat16 is the upper half of a float32; to it, round to nearest, halves to even, NaN staying NaN."""
    i16, i32, f32 = (f"<{lanes} x {t}>" if lanes > 1 else t for t in ("i16", "i32", "float"))
    if old is bfloat16:
        bits = w.op(f"shl {i32} {w.op(f'zext {i16} {x} to {i32}')}, {splat('16', 'i32', lanes)}")
        return convert(w, w.op(f"bitcast {i32} {bits} to {f32}"), float32, new, lanes)
    single = convert(w, x, old, float32, lanes)
    bits = w.op(f"bitcast {f32} {single} to {i32}")
    upper = w.op(f"lshr {i32} {bits}, {splat('16', 'i32', lanes)}")
    odd = w.op(f"and {i32} {upper}, {splat('1', 'i32', lanes)}")
    half = w.op(f"add {i32} {odd}, {splat('32767', 'i32', lanes)}")
    rounded = w.op(f"lshr {i32} {w.op(f'add {i32} {bits}, {half}')}, {splat('16', 'i32', lanes)}")
    quiet = w.op(f"or {i32} {upper}, {splat('64', 'i32', lanes)}")
    nan = w.op(f"fcmp uno {f32} {single}, {single}")
    return w.op(f"trunc {i32} {_choose(w, nan, quiet, rounded, i32, lanes)} to {i16}")
