"""The tokeniser of onnxruntime's domain com.microsoft, with which skl2onnx writes what scikit-learn does with texts."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np

from graphc.dims import unknown
from graphc.errors import InvalidModel
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_deadline, check_tensor
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank
from graphc.ops.strings import compile_pattern
from graphc.types import string

START, END = "\x02", "\x03"


class Tokenizer(Op):
    """y = the tokens of each string of x, (C) or (N, C), along a further axis. com.microsoft Tokenizer-1.

    Where no string has a token, that axis is empty. Patterns are RE2's, and match the longest text there is.

    Attributes:
        mincharnum: the least length of a token.
        pad_value: what fills up rows of fewer tokens.
        mark: whether the characters 2 and 3 stand before the first and after the last token.
        separators: patterns of what stands between tokens, applied in turn; a single "" makes each character a token.
        tokenexp: without separators, the pattern of a token; "." makes each character one.
    """

    domain = "com.microsoft"
    mincharnum: int
    pad_value: str
    mark: bool
    separators: tuple[str, ...] | None = None
    tokenexp: str | None = None

    def infer(self, x: Value) -> TensorType:
        check_dtype(x, {string}, "x")
        check_rank(x, "x", 1, 2)
        if self.mincharnum < 1 or (self._by_character and self.mincharnum > 1):
            raise InvalidModel(f"mincharnum is {self.mincharnum}, expected 1{'' if self._by_character else ' or more'}")
        if not self.separators and not self.tokenexp:
            raise InvalidModel("expected separators or tokenexp")
        if find_spec("re2") is not None:  # without it the model loads, prints and exports all the same
            self._compiled()
        return TensorType(string, None if x.shape is None else (*x.shape, unknown()))

    @property
    def _by_character(self) -> bool:
        return self.separators == ("",) or (not self.separators and self.tokenexp == ".")

    def _compiled(self) -> list[object]:
        if self._by_character:
            return []
        if self.separators and "" in self.separators:
            raise InvalidModel("one of several separators is empty")
        return [compile_pattern(p, longest=True) for p in self.separators or (self.tokenexp or "",)]

    def eval(self, x: Array) -> Array:
        patterns = self._compiled()
        found = [self._tokens(text, patterns) for text in x.flat]
        most = max(map(len, found), default=0)
        if self.mark and most:
            found = [[START, *tokens, END] for tokens in found]
            most += 2
        check_tensor((*x.shape, most), 8, "the tokens")
        y = np.full((x.size, most), self.pad_value, object)
        for row, tokens in zip(y, found, strict=True):
            row[: len(tokens)] = tokens
        return y.reshape(*x.shape, most)

    def _tokens(self, text: str, patterns: Sequence[object]) -> list[str]:
        check_deadline()
        if self._by_character:
            return list(text)
        if self.separators:
            tokens = [text]
            for pattern in patterns:
                tokens = [part for t in tokens for part in _between(t, pattern)]
        else:
            tokens = [text[i:j] for i, j in _matches(text, patterns[0])]
        return [t for t in tokens if len(t) >= self.mincharnum]

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        return Cost(elements(xs[0]), traffic(xs, ys))


def _matches(text: str, pattern: object) -> list[tuple[int, int]]:
    """Where the matches that are not empty begin and end."""
    return [span for m in pattern.finditer(text) if (span := m.span())[0] < span[1]]  # type: ignore[attr-defined]


def _between(text: str, pattern: object) -> list[str]:
    """What stands before, between and after the matches."""
    ends = [0, *(i for span in _matches(text, pattern) for i in span), len(text)]
    return [text[i:j] for i, j in zip(ends[::2], ends[1::2], strict=True)]
