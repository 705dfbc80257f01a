"""Listing -> nest: the inverse of `format_nest`.

    nest      = "kernel(" ["out"] name ":" type "[" size "]", … ") {" statement… "}"
    statement = ("for" | "parallel" | "unrolled" | "vector") name "<" extent "{" statement… "}"
              | "if" expr "{" statement… "}" | space name ":" type "[" size "]" | "let" name "=" expr
              | name "[" index "]" (":=" | [function] "=") expr | ("prefetch1" | "prefetch2") name "[" index "]"
    expr      = number | type "(" number ")" | "true" | "false" | name | name "[" index "]" | "<" index ">"
              | "(" expr operator expr ")" | "select(" expr "," expr "," expr ")" | function ["." type] "(" expr, … ")"
    index     = ["-"] term (("+" | "-") term)…
    term      = number | [number "*"] atom
    atom      = name | "((" index ") //" number ")" | "((" index ") %" number ")" | "[" expr "in" bound ".." bound "]"

A name is that of a buffer, of a loop or of an expression, defined in the block or in one around it.
"""

from __future__ import annotations

import re
from typing import cast

from graphc.errors import InvalidModel
from graphc.expr import FUNCTIONS, Buffer, Call, Const, Expr, ExprLike, Load, Position, Select, lift
from graphc.index import Atom, Datum, Index, Linear, Quotient, Remainder
from graphc.loops.nest import Alloc, Block, For, If, Kind, Nest, Prefetch, Stmt, Store, Update
from graphc.scanner import Scanner
from graphc.show import INFIX, result_type
from graphc.types import BY_SHORT, DType, bool_

_SPACE = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INTEGER = re.compile(r"\d+")
_NUMBER = re.compile(r"-?(?:inf\b|nan\b|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)")
_BOUND = re.compile(r"-?(?:inf\b|\d+)")
_KINDS = {"for": "serial", "parallel": "parallel", "unrolled": "unrolled", "vector": "vector"}
_SPACES = ("global", "register", "scratch", "shared")
_OPERATORS = {sign: function for function, sign in INFIX.items()}


def parse_nest(text: str) -> Nest:
    """The nest that `text` lists. Raises `InvalidModel`, with the line at fault."""
    parser = _Parser(text)
    try:
        return parser.nest()
    except InvalidModel as e:
        raise InvalidModel(f"line {parser.line}: {e.message}") from e
    except RecursionError:
        raise InvalidModel("the listing is nested too deeply") from None


class _Parser(Scanner):
    def __init__(self, text: str):
        super().__init__(text, _SPACE)
        self.names: dict[str, Buffer | Index | Expr] = {}

    # -- names --------------------------------------------------------------------------------------------------------
    def name(self) -> str:
        return self.match(_NAME, "a name")

    def size(self) -> int:
        return int(self.match(_INTEGER, "a number"))

    def known(self, kind: type[Buffer] | type[Index] | type[Expr], name: str) -> Buffer | Index | Expr:
        found = self.names.get(name)
        if not isinstance(found, kind):
            raise InvalidModel(f"{name} is no {kind.__name__.lower()} that is defined above")
        return found

    def define(self, name: str, x: Buffer | Index | Expr) -> None:
        if name in self.names:
            raise InvalidModel(f"{name} is defined twice")
        self.names[name] = x

    # -- statements ---------------------------------------------------------------------------------------------------
    def nest(self) -> Nest:
        self.expect("kernel")
        self.expect("(")
        arguments: list[Buffer] = []
        written: list[Buffer] = []
        while not self.accept(")"):
            if arguments:
                self.expect(",")
            is_written = self.accept("out ")
            arguments.append(self.buffer("global"))
            if is_written:
                written.append(arguments[-1])
        body = self.block()
        self.end()
        return Nest(tuple(arguments), tuple(written), body)

    def buffer(self, space: str) -> Buffer:
        name = self.name()
        self.expect(":")
        dtype = self.type()
        self.expect("[")
        found = Buffer(name, dtype, self.size(), space)
        self.expect("]")
        self.define(name, found)
        return found

    def type(self) -> DType:
        name = self.name()
        if name not in BY_SHORT:
            raise InvalidModel(f"'{name}' is no element type")
        return BY_SHORT[name]

    def block(self) -> Block:
        self.expect("{")
        outside = dict(self.names)
        body: list[Stmt] = []
        while not self.accept("}"):
            body.append(self.statement())
        self.names = outside
        return tuple(body)

    def statement(self) -> Stmt:
        block = dict(self.names)
        while self.accept("let "):
            name = self.name()
            self.expect("=")
            self.define(name, self.typed())
        word = self.name()
        made: Stmt
        if word in _KINDS and not self.accept("["):
            made = self.loop(cast(Kind, _KINDS[word]))
        elif word == "if":
            condition = self.typed(bool_)
            self.names = dict(block)
            made = If(condition, self.block())
        elif word in ("prefetch1", "prefetch2"):
            made = Prefetch(*self.place(self.name()), 1 if word == "prefetch1" else 2)
        elif word in _SPACES:
            self.names = block
            return Alloc(self.buffer(word))
        else:
            made = self.store(word)
        self.names = block
        return made

    def loop(self, kind: Kind) -> For:
        name = self.name()
        self.expect("<")
        index = Index(name, self.size())
        self.define(name, index)
        return For(index, kind, self.block())

    def place(self, name: str) -> tuple[Buffer, Linear]:
        buffer = cast(Buffer, self.known(Buffer, name))
        self.expect("[")
        offset = self.index()
        self.expect("]")
        return buffer, offset

    def store(self, name: str) -> Stmt:
        buffer, offset = self.place(name)
        if (streams := self.accept(":=")) or self.accept("="):
            return Store(buffer, offset, self.typed(buffer.dtype), streams)
        function = self.function(self.name(), 2)
        self.expect("=")
        return Update(buffer, offset, function, self.typed(buffer.dtype))

    # -- expressions --------------------------------------------------------------------------------------------------
    def typed(self, dtype: DType | None = None) -> Expr:
        """An expression; a number becomes a constant of `dtype`."""
        e = self.expr()
        if isinstance(e, Expr):
            return e
        if dtype is None:
            raise InvalidModel(f"the type of {e} is not known")
        return Const(e, dtype)

    def expr(self) -> ExprLike:
        if self.accept("<"):
            at = self.index()
            self.expect(">")
            return Position(at)
        if self.accept("("):
            left = self.expr()
            sign = self.match(re.compile(r"[-+*/]|[<=!]=|<"), "an operator")
            args = self.alike([left, self.expr()])
            self.expect(")")
            return self.call(_OPERATORS[sign], args)
        self.skip()
        if _NUMBER.match(self.text, self.at):
            return self.number()
        name = self.name()
        if self.accept("["):
            at = self.index()
            self.expect("]")
            return Load(cast(Buffer, self.known(Buffer, name)), at)
        dtype = self.type() if self.accept(".") else None
        if self.accept("("):
            return self.applied(name, dtype)
        if name in ("true", "false"):
            return Const(name == "true", bool_)
        return cast(Expr, self.known(Expr, name))

    def number(self) -> int | float:
        text = self.match(_NUMBER, "a number")
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)

    def applied(self, name: str, dtype: DType | None) -> Expr:
        """What follows `name(`."""
        if name in BY_SHORT:
            value = self.number()
            self.expect(")")
            return Const(value, BY_SHORT[name])
        args = [self.expr()]
        while self.accept(","):
            args.append(self.expr())
        self.expect(")")
        if name == "select" and len(args) == 3:
            condition, then, other = self.alike(args[:1]) + self.alike(args[1:])
            return Select(condition, then, other)
        return self.call(self.function(name, len(args)), self.alike(args), dtype)

    def function(self, name: str, arity: int) -> str:
        if FUNCTIONS.get(name) != arity:
            raise InvalidModel(f"no function {name} of {arity} arguments")
        return name

    def alike(self, args: list[ExprLike]) -> list[Expr]:
        """Arguments, numbers among them having the type of another that is none."""
        like = next((a for a in args if isinstance(a, Expr) and not isinstance(a, Const)), None)
        like = like or next((a for a in args if isinstance(a, Expr)), None)
        if like is None:
            raise InvalidModel(f"the type of {args[0]} is not known")
        return [lift(a, like) for a in args]

    def call(self, function: str, args: list[Expr], dtype: DType | None = None) -> Expr:
        return Call(function, tuple(args), dtype or result_type(function, args))

    # -- indices ------------------------------------------------------------------------------------------------------
    def index(self) -> Linear:
        terms: dict[Atom, int] = {}
        constant = 0
        sign = -1 if self.accept("-") else 1
        while True:
            c, atom = self.term()
            if atom is None:
                constant += sign * c
            else:
                terms[atom] = terms.get(atom, 0) + sign * c
            if self.accept("+"):
                sign = 1
            elif self.accept("-"):
                sign = -1
            else:
                return Linear({a: c for a, c in terms.items() if c}, constant)

    def term(self) -> tuple[int, Atom | None]:
        self.skip()
        if self.text[self.at : self.at + 1].isdigit():
            n = self.size()
            return (n, self.atom()) if self.accept("*") else (n, None)
        return 1, self.atom()

    def atom(self) -> Atom:
        if self.accept("["):
            e = self.typed()
            self.expect("in")
            low = float(self.match(_BOUND, "a number"))
            self.expect("..")
            high = float(self.match(_BOUND, "a number"))
            self.expect("]")
            return Datum(e, low, high)
        if self.accept("("):
            self.expect("(")
            inner = self.index()
            self.expect(")")
            is_quotient = self.accept("//")
            if not is_quotient:
                self.expect("%")
            n = self.size()
            self.expect(")")
            return Quotient(inner, n) if is_quotient else Remainder(inner, n)
        return cast(Index, self.known(Index, self.name()))
