"""The sizes that one run gives to the symbols of a model, and whether its inputs agree about them."""

from __future__ import annotations

from graphc.dims import Dim, SymDim, plain_symbol, substitute
from graphc.errors import FeedError, escape


class Sizes:
    """Symbol -> size, with the input that said so. Raises `FeedError` as soon as two inputs disagree."""

    __slots__ = ("expressions", "known")

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, str]] = {}
        self.expressions: list[tuple[SymDim, int, int, str]] = []

    def bind(self, symbol: str, size: int, name: str) -> None:
        """Input `name` says that `symbol` is `size`."""
        known, where = self.known.setdefault(symbol, (size, name))
        if known != size:
            raise FeedError(
                f"sizes disagree: {symbol} is {known} ({escape(where)}) and {size} ({escape(name)})", value=name
            )

    def expect(self, dim: SymDim, size: int, axis: int, name: str) -> None:
        """Input `name` says that the expression `dim`, its axis `axis`, is `size`; `check` holds it against others."""
        self.expressions.append((dim, size, axis, name))

    def check(self) -> None:
        """Hold the sizes declared as expressions, such as `2*n + 1`, against those of the symbols in them."""
        for dim, size, axis, name in self.expressions:
            free = {s.name for s in dim.symbols()} - self.known.keys()
            if not free:
                self._compare(dim, size, axis, name)
            elif len(free) == 1:
                self._solve(dim, size, axis, name, free.pop())

    def _value(self, dim: SymDim) -> Dim:
        return substitute(dim, lambda s: self.known[s.name][0] if s.name in self.known else None)

    def _compare(self, dim: SymDim, size: int, axis: int, name: str) -> None:
        value = self._value(dim)
        if value == size:
            return
        symbols = dict.fromkeys(s.name for s in dim.symbols())
        given = ", ".join(f"{s} is {self.known[s][0]} ({escape(self.known[s][1])})" for s in symbols)
        raise FeedError(
            f"input '{escape(name)}': dimension {axis} is {size}, expected {dim} = {value}, as {given}", value=name
        )

    def _solve(self, dim: SymDim, size: int, axis: int, name: str, symbol: str) -> None:
        """c*symbol + d = size gives the symbol; an expression of another form says nothing."""
        value = self._value(dim)
        if not isinstance(value, SymDim) or any(
            m and plain_symbol(SymDim(((m, 1),))) != symbol for m, _ in value.terms
        ):
            return
        factors = dict(value.terms)
        constant = factors.pop((), 0)
        ((_, factor),) = factors.items()
        quotient, rest = divmod(size - constant, factor)
        if rest or quotient < 0:
            raise FeedError(
                f"input '{escape(name)}': dimension {axis} is {size}, which no {symbol} makes {dim}", value=name
            )
        self.bind(symbol, quotient, name)
