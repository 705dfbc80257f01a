"""Loop nests to LLVM IR, as text. The one emitter: targets differ in vector width and in a few instructions.

Each loop is a scope with its own list of lines. Index arithmetic is written in the outermost scope that knows its
variables, once; so the text is short, and little is left for LLVM to hoist or to merge.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from graphc import expr, index, traverse
from graphc.errors import CompileError
from graphc.expr import Buffer, Call, Const, Expr, Load, Position, Select
from graphc.index import Datum, Index, Linear, Quotient, Remainder, index_variables, linear
from graphc.loops import functions, halves, polynomials
from graphc.loops import nest as nest_
from graphc.loops.functions import expand
from graphc.loops.layout import LINE
from graphc.loops.nest import STRIDES, Alloc, Block, For, If, Nest, Prefetch, Stmt, Store, Update, map_exprs
from graphc.traverse import walk
from graphc.types import DType, bool_

from . import lanes as lanes_
from . import scalars, small_types, writer
from .lanes import masks, mixed_places, windows
from .scalars import instruction, literal, memory_type, register_type, splat
from .target import Target
from .writer import Offset, Scope, Value, Writer


class Emitter(Writer):
    """Writes one kernel: `void name(ptr argument…, ptr scratch…, ptr status, i64 thread, i64 threads)`.

    Every buffer is aligned to its element type at least. A scratch buffer is there once for each thread, one after the
    other. `status` is set to 1 where a guard does not hold.
    """

    def __init__(self, nest: Nest, name: str, target: Target):
        super().__init__()
        self.nest, self.name, self.target = nest, name, target
        self.fma, self.half = target.fma, target.half
        self.bound: dict[Index, int | tuple[str, int]] = {}  # a number, or (register, depth of its scope)
        self.lane: Index | None = None  # the index of the vector loop that is open
        self.mask: str | None = None  # the lanes that may read memory, where not all may
        self.streams = False  # whether something is stored past the caches
        # Buffer -> pointer, and the vector loop whose lanes each have a copy of their own.
        self.pointers: dict[Buffer, tuple[str, Index | None]] = {
            b: (f"%b{i}", None) for i, b in enumerate(nest.arguments)
        }
        self.is_read_only = {b for b in nest.arguments if b not in nest.written}

    def emit(self) -> str:
        """The function and the declarations that it needs."""
        self._top_level(self.nest.body)
        if self.streams and (fence := self.target.fence):
            self.declared[fence] = f"declare void @{fence}()"
            self.line(f"call void @{fence}()")
        self.scopes[-1].lines.append("ret void")
        arguments = [
            f"ptr noalias {'readonly ' if b in self.is_read_only else ''}%b{i}"
            for i, b in enumerate((*self.nest.arguments, *self.nest.scratch))
        ]
        head = (
            f"define void @{self.name}({', '.join([*arguments, 'ptr %status', 'i64 %thread', 'i64 %threads'])}) #0 {{"
        )
        attributes = f'attributes #0 = {{ nounwind "prefer-vector-width"="{self.target.vector_bytes * 8}" }}'
        return "\n".join([*self.declared.values(), head, "entry:", *self.entry.lines, "}", attributes, ""])

    # -- statements -----------------------------------------------------------------------------------------------
    def _top_level(self, body: Block) -> None:
        """Loops that are shared out run on every thread, everything else on the first one."""
        alone: list[Stmt] = []
        for s in (*body, None):
            if s is not None and not (isinstance(s, For) and s.kind == "parallel"):
                alone.append(s)
                continue
            if alone:
                first, after = self.new_label("alone"), self.new_label("after")
                self.line(f"br i1 {self.op('icmp eq i64 %thread, 0')}, label %{first}, label %{after}")
                self.start(first)
                self._nested(alone)
                self.line(f"br label %{after}")
                self.start(after)
                alone = []
            if s is not None:
                self._block((s,))

    def _block(self, body: Sequence[Stmt]) -> None:
        for s in body:
            if isinstance(s, For):
                {"vector": self._vector, "unrolled": self._unrolled}.get(s.kind, self._loop)(s)
            elif isinstance(s, Alloc):
                self._alloc(s.buffer)
            elif isinstance(s, Store):
                self._store(s.buffer, s.offset, s.value, streams=s.streams)
            elif isinstance(s, Update):
                old = Load(s.buffer, s.offset)
                self._store(s.buffer, s.offset, Call(s.function, (old, s.value), old.dtype))
            elif isinstance(s, Prefetch):
                self._prefetch(s)
            else:
                self._if(s)

    def _loop(self, s: For) -> None:
        if s.index.extent == 0:
            return
        low, high = "0", str(s.index.extent)
        if s.kind == "parallel":
            low = self.op(f"udiv i64 {self.op(f'mul i64 %thread, {high}')}, %threads")
            next_ = self.op("add i64 %thread, 1")
            high = self.op(f"udiv i64 {self.op(f'mul i64 {next_}, {high}')}, %threads")
        head, after = self.new_label("loop"), self.new_label("done")
        guard = self.op(f"icmp ult i64 {low}, {high}") if s.kind == "parallel" else None
        outer = self.scopes[-1]
        inner = Scope(head)
        self.scopes.append(inner)
        register = f"%{s.index.name}.{self.count}"
        self.bound[s.index] = (register, len(self.scopes) - 1)
        self.depths[register] = len(self.scopes) - 1
        self._block(s.body)
        following = self.op(f"add nuw nsw i64 {register}, 1")
        again = self.op(f"icmp ult i64 {following}, {high}")
        self.scopes.pop()
        del self.bound[s.index]
        before = outer.label
        enter = f"br i1 {guard}, label %{head}, label %{after}" if guard else f"br label %{head}"
        phi = f"{register} = phi i64 [ {low}, %{before} ], [ {following}, %{inner.label} ]"
        outer.lines += [enter, f"{head}:", phi, *inner.lines, f"br i1 {again}, label %{head}, label %{after}"]
        outer.lines.append(f"{after}:")
        outer.label = after

    def _unrolled(self, s: For) -> None:
        for i in range(s.index.extent):
            self.bound[s.index] = i
            self.scopes[-1].values = {}  # what depends on the index
            self._block(s.body)
        self.bound.pop(s.index, None)

    def _vector(self, s: For) -> None:
        if self.lane is not None:
            raise CompileError("vector loops do not nest")
        self.lane = s.index
        self._block(s.body)
        self.lane = None

    def _if(self, s: If) -> None:
        condition = self.value(s.condition)
        if condition.lanes > 1:
            raise CompileError("a condition differs between lanes")
        then, after = self.new_label("then"), self.new_label("after")
        self.line(f"br i1 {condition.name}, label %{then}, label %{after}")
        self.start(then)
        self._nested(s.body)
        self.line(f"br label %{after}")
        self.start(after)

    def _prefetch(self, s: Prefetch) -> None:
        self.declared.setdefault("llvm.prefetch.p0", "declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
        at = self._pointer(s.buffer, self._offset(s.offset))
        write = int(s.buffer not in self.is_read_only)
        locality = 4 - s.cache  # LLVM's number for it
        self.line(f"call void @llvm.prefetch.p0(ptr {at}, i32 {write}, i32 {locality}, i32 1)")  # 1: data, not code

    def _nested(self, body: Sequence[Stmt]) -> None:
        """A conditional block: what it computes is forgotten after it."""
        scope = self.scopes[-1]
        kept = scope.state()
        self._block(body)
        scope.known, scope.values, scope.lasting = kept

    def _alloc(self, buffer: Buffer) -> None:
        lanes = self.lane.extent if self.lane is not None else 1
        self.count += 1
        name = f"%{buffer.name}.{self.count}"
        kind = memory_type(buffer.dtype)
        if buffer.space == "scratch":
            number = len(self.nest.arguments) + self.nest.scratch.index(buffer)
            start = self.op(f"mul i64 %thread, {buffer.size}")
            self.line(f"{name} = getelementptr {kind}, ptr %b{number}, i64 {start}")
        else:
            self.entry.lines.insert(0, f"{name} = alloca [{buffer.size * lanes} x {kind}], align 64")
        self.pointers[buffer] = (name, self.lane)

    def _store(self, buffer: Buffer, at: Linear, e: Expr, *, streams: bool = False) -> None:
        value, dtype = self.value(e), e.dtype
        self.scopes[-1].values = {}  # registers and outputs may change now
        offset, lanes = self._place(buffer, at)
        if lanes == 1 and value.lanes > 1 and self.lane is not None:
            raise CompileError(f"lanes of {buffer.name} meet in one element")
        name = self.widened(value, dtype, lanes)
        if dtype is bool_:
            name = self.op(f"zext {register_type(bool_, lanes)} {name} to {memory_type(bool_, lanes)}")
        kind = memory_type(dtype, lanes)
        align = dtype.numpy.itemsize
        if lanes == 1 or (offset.stride == 1 and offset.lanes is None):
            how = f"align {align}"
            if streams:
                self.streams, self.declared["!nontemporal"] = True, "!0 = !{i32 1}"
                how = f"align {LINE}, !nontemporal !0"
            self.line(f"store {kind} {name}, ptr {self._pointer(buffer, offset)}, {how}")
            return
        for i in range(lanes):
            element = self.op(f"extractelement {kind} {name}, i64 {i}")
            pointer = self._lane_pointer(buffer, offset, i, lanes)
            self.line(f"store {memory_type(dtype)} {element}, ptr {pointer}, align {align}")

    # -- positions ------------------------------------------------------------------------------------------------
    def _place(self, buffer: Buffer, at: Linear) -> tuple[Offset, int]:
        """Where `at` is, and over how many lanes it reaches."""
        offset = self._offset(at)
        private = self.pointers[buffer][1]
        if private is not None:  # each lane has its own elements, side by side
            if offset.lanes is not None or offset.stride:
                raise CompileError(f"an index into {buffer.name} differs between lanes")
            n = private.extent
            base = "" if not offset.base else self.op(f"mul i64 {offset.base}, {n}")
            if self.lane is private:
                return Offset(base, offset.constant * n, 1), n
            lane = self.bound[private]
            assert isinstance(lane, int)
            return Offset(base, offset.constant * n + lane, 0), 1
        varies = offset.stride != 0 or offset.lanes is not None
        return offset, self.lane.extent if varies and self.lane is not None else 1

    def _offset(self, at: Linear) -> Offset:
        """`at` in registers."""
        constant, stride = at.constant, 0
        terms: list[tuple[str, int, int]] = []
        vectors: list[tuple[str, int]] = []
        for atom, c in at.terms.items():
            if atom is self.lane and self.lane is not None:
                stride = c
                continue
            if isinstance(atom, Index):
                bound = self.bound[atom]
                if isinstance(bound, int):
                    constant += c * bound
                else:
                    terms.append((bound[0], c, bound[1]))
                continue
            value, depth = self._atom(atom)
            if value.lanes > 1:
                vectors.append((value.name, c))
            elif value.name.lstrip("-").isdigit():
                constant += c * int(value.name)
            else:
                terms.append((value.name, c, depth))
        base = self._sum(terms)
        if not vectors:
            return Offset(base, constant, stride)
        assert self.lane is not None
        n = self.lane.extent
        total = self.op(f"add <{n} x i64> {self.spread(base or '0', 'i64', n)}, {splat(str(constant), 'i64', n)}")
        if stride:
            steps = ", ".join(f"i64 {i * stride}" for i in range(n))
            total = self.op(f"add <{n} x i64> {total}, <{steps}>")
        for name, c in vectors:
            scaled = self.op(f"mul <{n} x i64> {name}, {splat(str(c), 'i64', n)}")
            total = self.op(f"add <{n} x i64> {total}, {scaled}")
        return Offset("", 0, 0, total)

    def _sum(self, terms: list[tuple[str, int, int]]) -> str:
        """Σ c · register, each partial sum in the outermost scope that has its parts; empty for 0."""
        total, depth = "", 0
        for name, c, at in sorted(terms, key=lambda t: t[2]):
            depth = max(depth, at)
            scope = self.scopes[depth]
            product = name if c == 1 else self.once(scope, ("mul", name, c), f"mul i64 {name}, {c}")
            total = product if not total else self.once(scope, ("add", total, product), f"add i64 {total}, {product}")
        return total

    def _atom(self, atom: Datum | Quotient | Remainder) -> tuple[Value, int]:
        """The value of an atom that is no loop variable, and the depth of the scope that it is known in."""
        here = len(self.scopes) - 1
        if isinstance(atom, Datum):
            return self.value(atom.expr), here
        inner = self._offset(atom.index)
        name = "udiv" if isinstance(atom, Quotient) else "urem"
        n, low = atom.divisor, atom.index.range()[0]
        if inner.lanes is None and not inner.stride:
            if not inner.base:
                digit = inner.constant // n if isinstance(atom, Quotient) else inner.constant % n
                return Value(str(digit), 1), 0
            depth = self.depth_of(inner.base)
            scope = self.scopes[depth]
            x = inner.base
            if inner.constant:
                x = self.once(scope, ("add", x, inner.constant), f"add i64 {x}, {inner.constant}")
            return Value(self._divide(scope, name, x, n, low, 1), 1), depth
        assert self.lane is not None
        lanes = self.lane.extent
        return Value(self._divide(self.scopes[-1], name, self._lanes_of(inner), n, low, lanes), lanes), here

    def _divide(self, scope: Scope, name: str, x: str, n: int, low: float, lanes: int) -> str:
        """Floor division or modulo by a positive number."""
        kind, by = ("i64" if lanes == 1 else f"<{lanes} x i64>"), splat(str(n), "i64", lanes)
        if low >= 0:
            return self.once(scope, (name, x, n), f"{name} {kind} {x}, {by}")
        # Moved up by a multiple of n that makes it positive.
        if low == float("-inf"):
            raise CompileError("a division of an index without a lower bound")
        shift = -(int(low) // n) * n
        moved = self.once(scope, ("add", x, shift), f"add {kind} {x}, {splat(str(shift), 'i64', lanes)}")
        digit = self.once(scope, (name, moved, n), f"{name} {kind} {moved}, {by}")
        if name == "urem":
            return digit
        return self.once(
            scope, ("sub", digit, shift // n), f"sub {kind} {digit}, {splat(str(shift // n), 'i64', lanes)}"
        )

    def _lanes_of(self, offset: Offset) -> str:
        """The positions of all lanes as a vector."""
        if offset.lanes is not None:
            return offset.lanes
        assert self.lane is not None
        n = self.lane.extent
        if n == 1:  # what is left over of a loop that was split: a vector of one is a scalar
            return self.op(f"add i64 {offset.base or 0}, {offset.constant}")
        steps = ", ".join(f"i64 {offset.constant + i * offset.stride}" for i in range(n))
        if not offset.base:
            return f"<{steps}>"
        return self.op(f"add <{n} x i64> {self.spread(offset.base, 'i64', n)}, <{steps}>")

    def _pointer(self, buffer: Buffer, offset: Offset) -> str:
        pointer = self.pointers[buffer][0]
        kind = memory_type(buffer.dtype)
        if offset.base:
            scope = self.scopes[self.depth_of(offset.base)]
            text = f"getelementptr {kind}, ptr {pointer}, i64 {offset.base}"
            pointer = self.once(scope, ("gep", pointer, offset.base), text)
        return self.op(f"getelementptr {kind}, ptr {pointer}, i64 {offset.constant}") if offset.constant else pointer

    def _lane_pointer(self, buffer: Buffer, offset: Offset, i: int, lanes: int) -> str:
        if offset.lanes is None:
            return self._pointer(buffer, Offset(offset.base, offset.constant + i * offset.stride, 0))
        at = self.op(f"extractelement <{lanes} x i64> {offset.lanes}, i64 {i}")
        return self.op(f"getelementptr {memory_type(buffer.dtype)}, ptr {self.pointers[buffer][0]}, i64 {at}")

    # -- expressions ----------------------------------------------------------------------------------------------
    def value(self, e: Expr) -> Value:
        """The register that holds `e`; each expression is computed once for each iteration."""
        known = self.scopes[-1].values.get(e)
        if known is None:
            known = self.scopes[-1].values[e] = self._compute(e)
        return known

    def widened(self, value: Value, dtype: DType, lanes: int) -> str:
        """The value in `lanes` lanes."""
        if value.lanes == lanes:
            return value.name
        if value.lanes != 1:
            raise CompileError("a vector where one number is wanted")
        if not value.name.startswith("%"):
            return splat(value.name, register_type(dtype), lanes)
        key = ("splat", value.name, lanes)
        known = self.scopes[-1].lasting.get(key)
        if known is None:
            known = Value(self.spread(value.name, register_type(dtype), lanes), lanes)
            self.scopes[-1].lasting[key] = known
        return known.name

    def _compute(self, e: Expr) -> Value:
        if isinstance(e, Const):
            return Value(literal(e.value, e.dtype), 1)
        if isinstance(e, Load):
            return self._load(e)
        if isinstance(e, Position):
            return self._position(e.index)
        if isinstance(e, Select):
            return self._select(e)
        assert isinstance(e, Call), e
        if e.function == "guard":
            ok = self.value(e.args[0])
            self.fail_unless(ok.name, ok.lanes)
            return self.value(e.args[1])
        args = [self.value(a) for a in e.args]
        lanes = max(a.lanes for a in args)
        source = e.args[0].dtype
        names = [self.widened(a, x.dtype, lanes) for a, x in zip(args, e.args, strict=True)]
        return Value(instruction(self, e.function, names, source, e.dtype, lanes), lanes)

    def _position(self, index: Linear) -> Value:
        offset = self._offset(index)
        if offset.lanes is not None or offset.stride:
            assert self.lane is not None
            return Value(self._lanes_of(offset), self.lane.extent)
        if not offset.base:
            return Value(str(offset.constant), 1)
        return Value(self.op(f"add i64 {offset.base}, {offset.constant}") if offset.constant else offset.base, 1)

    def _load(self, e: Load) -> Value:
        if self.lane is not None and e.buffer.space == "register" and self.pointers[e.buffer][1] is None:
            places = mixed_places(e.offset, self.lane, self.bound)
            if places is not None:
                return Value(self._shuffled(e, "", places), len(places))
        offset, lanes = self._place(e.buffer, e.offset)
        key = ("load", e.buffer, offset, lanes)
        if e.buffer in self.is_read_only and key in self.scopes[-1].lasting:
            return self.scopes[-1].lasting[key]
        value = Value(self._read(e, offset, lanes), lanes)
        if e.buffer in self.is_read_only:
            self.scopes[-1].lasting[key] = value
        return value

    def _read(self, e: Load, offset: Offset, lanes: int) -> str:
        kind, align = memory_type(e.dtype, lanes), e.dtype.numpy.itemsize
        if self.mask is not None and self._matters(e):
            name = self._masked_load(e, offset, self.mask, lanes)
        elif lanes == 1 or (offset.stride == 1 and offset.lanes is None):
            name = self.op(f"load {kind}, ptr {self._pointer(e.buffer, offset)}, align {align}")
        elif offset.lanes is None and 1 < offset.stride <= STRIDES:
            return self._shuffled(e, offset.base, [offset.constant + i * offset.stride for i in range(lanes)])
        else:
            name = "poison"
            for i in range(lanes):
                pointer = self._lane_pointer(e.buffer, offset, i, lanes)
                element = self.op(f"load {memory_type(e.dtype)}, ptr {pointer}, align {align}")
                name = self.op(f"insertelement {kind} {name}, {memory_type(e.dtype)} {element}, i64 {i}")
        return self._held(e.dtype, name, lanes)

    def _masked_load(self, e: Load, offset: Offset, mask: str, lanes: int) -> str:
        """Neighbours in memory, of which only those of `mask` are read."""
        kind, scalar = memory_type(e.dtype, lanes), memory_type(e.dtype)
        short = scalar if scalar.startswith("i") else f"f{8 * e.dtype.numpy.itemsize}"
        return self.intrinsic(
            f"llvm.masked.load.v{lanes}{short}.p0",
            kind,
            ("ptr", self._pointer(e.buffer, offset)),
            ("i32", str(e.dtype.numpy.itemsize)),  # the alignment
            (f"<{lanes} x i1>", mask),
            (kind, "zeroinitializer"),
        )

    def _held(self, dtype: DType, name: str, lanes: int) -> str:
        """What was in memory, as it is in registers."""
        if dtype is not bool_:
            return name
        return self.op(f"trunc {memory_type(dtype, lanes)} {name} to {register_type(bool_, lanes)}")

    def _shuffled(self, e: Load, base: str, places: Sequence[int]) -> str:
        """Lanes at `places` after `base`, from whole vectors; those of a register buffer are where it is written."""
        lanes = len(places)
        kind, align = memory_type(e.dtype, lanes), e.dtype.numpy.itemsize
        starts = windows(places, aligned=e.buffer.space == "register")
        name = "poison"
        for start, mask in zip(starts, masks(places, starts), strict=True):
            pointer = self._pointer(e.buffer, Offset(base, start, 0))
            vector = self.op(f"load {kind}, ptr {pointer}, align {align}")
            name = self.op(f"shufflevector {kind} {name}, {kind} {vector}, {mask}")
        return self._held(e.dtype, name, lanes)

    def _select(self, e: Select) -> Value:
        condition = self.value(e.condition)
        matter = [x for x in walk(e.then, e.other) if self._matters(x)]
        if matter and condition.lanes == 1:
            return self._branch(e, condition.name)
        if not all(self._are_neighbours(x) for x in matter):
            return self._lane_by_lane(e)
        if matter:
            then, other = self._masked(e, condition)
        else:
            then, other = self.value(e.then), self.value(e.other)
        lanes = max(condition.lanes, then.lanes, other.lanes)
        a, b = self.widened(then, e.dtype, lanes), self.widened(other, e.dtype, lanes)
        mask = condition.name if condition.lanes == 1 else self.widened(condition, bool_, lanes)
        kind = register_type(e.dtype, lanes)
        return Value(self.op(f"select {register_type(bool_, condition.lanes)} {mask}, {kind} {a}, {kind} {b}"), lanes)

    def _matters(self, e: Expr) -> bool:
        """Whether it matters if `e` is computed where it is not chosen: it may fail, or read outside of its buffer."""
        if isinstance(e, Load):
            if e in self.scopes[-1].values:
                return False
            low, high = e.offset.range()
            return low < 0 or high >= e.buffer.size or bool(e.offset.data)
        if not isinstance(e, Call) or e.function == "guard":
            return isinstance(e, Call)
        divides = e.function in ("div", "floordiv", "mod", "fmod") and e.dtype.is_integer
        return divides and not (isinstance(e.args[1], Const) and e.args[1].value != 0)

    def _are_neighbours(self, e: Expr) -> bool:
        """True for a load whose lanes are side by side."""
        if not isinstance(e, Load) or self.lane is None or self.pointers[e.buffer][1] is not None:
            return False
        rest = e.offset - linear(self.lane)
        return self.lane not in index_variables(rest) and not rest.data

    def _masked(self, e: Select, condition: Value) -> tuple[Value, Value]:
        """Both sides, where lanes choose differently: each lane reads memory only for the side that it chooses."""
        kind = register_type(bool_, condition.lanes)
        chosen = condition.name
        others = self.op(f"xor {kind} {chosen}, {splat('true', 'i1', condition.lanes)}")
        return self._under(chosen, kind, e.then), self._under(others, kind, e.other)

    def _under(self, mask: str, kind: str, e: Expr) -> Value:
        """`e`, of which only the lanes in `mask` may read memory."""
        outer, scope = self.mask, self.scopes[-1]
        kept = scope.state()
        self.mask = mask if outer is None else self.op(f"and {kind} {outer}, {mask}")
        value = self.value(e)
        self.mask = outer
        _, scope.values, scope.lasting = kept
        return value

    def _branch(self, e: Select, condition: str) -> Value:
        """Only one side is computed, so that it alone reads memory."""
        scope = self.scopes[-1]
        then, other, after = self.new_label("then"), self.new_label("other"), self.new_label("after")
        self.line(f"br i1 {condition}, label %{then}, label %{other}")
        sides: list[tuple[Value, str, int]] = []
        for label, side in ((then, e.then), (other, e.other)):
            self.start(label)
            kept = scope.state()
            value = self.value(side)
            scope.known, scope.values, scope.lasting = kept
            sides.append((value, scope.label, len(scope.lines)))
            scope.lines.append("")  # filled in when both sides are known
        lanes = max(v.lanes for v, _, _ in sides)
        incoming = []
        for value, label, at in sides:
            name = value.name
            lines: list[str] = []
            if value.lanes < lanes:
                scope.lines, outside = lines, scope.lines
                name = self.widened(value, e.dtype, lanes)
                scope.lines = outside
            scope.lines[at] = "\n".join([*lines, f"br label %{after}"])
            incoming.append(f"[ {name}, %{label} ]")
            scope.lasting = {k: v for k, v in scope.lasting.items() if k[0] != "splat"}
        self.start(after)
        return Value(self.op(f"phi {register_type(e.dtype, lanes)} {', '.join(incoming)}"), lanes)

    def _lane_by_lane(self, e: Select) -> Value:
        """Lanes choose differently, and a side may fail or reads scattered memory: one lane after the other."""
        lane, self.lane = self.lane, None
        assert lane is not None
        kind = register_type(e.dtype, lane.extent)
        result = "poison"
        bound = self.bound
        for i in range(lane.extent):
            self.bound = {**bound, lane: i}
            scope = self.scopes[-1]
            kept = scope.values, scope.lasting
            scope.values, scope.lasting = {}, {}
            element = self.value(e)
            scope.values, scope.lasting = kept
            result = self.op(f"insertelement {kind} {result}, {register_type(e.dtype)} {element.name}, i64 {i}")
        self.bound, self.lane = bound, lane
        return Value(result, lane.extent)


def emit(nest: Nest, name: str, target: Target) -> str:
    """`nest` as the text of an LLVM module with one function, `name`."""
    body = map_exprs(nest.body, expand, lambda i: i)
    return Emitter(Nest(nest.arguments, nest.written, body), name, target).emit()


@cache
def emitter() -> str:
    """A digest of the code that writes LLVM IR: what is cached on disk is not used after a change of it."""
    modules = (
        scalars,
        small_types,
        writer,
        lanes_,
        functions,
        halves,
        polynomials,
        nest_,
        index,
        expr,
        traverse,
        sys.modules[__name__],
    )
    files = [Path(m.__file__).read_bytes() for m in modules if m.__file__]
    return hashlib.sha256(b"".join(files)).hexdigest()
