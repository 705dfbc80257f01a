"""Strings, and the counts of what they are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import numpy as np

from graphc.dims import Dim, dim_max, unknown
from graphc.errors import BackendUnavailable, ExecutionError, InvalidModel, ShapeError, TypeMismatch
from graphc.ir import Cost, Op, elements, traffic
from graphc.limits import check_deadline, check_tensor, current_limits
from graphc.ops.base import Array, TensorType, Value, check_dtype, check_rank
from graphc.types import bool_, broadcast, float32, int32, int64, string


def _mapped(function: Callable[[str], object], x: Array, dtype: np.dtype) -> Array:
    """The results of `function` for each string of `x`."""
    y = np.empty(x.size, dtype)
    for i, text in enumerate(x.flat):
        y[i] = function(text)
    return y.reshape(x.shape)


class StringConcat(Op):
    """z = x followed by y, with broadcasting. ONNX StringConcat-20."""

    def infer(self, X: Value, Y: Value) -> TensorType:
        check_dtype(X, (string,), "X")
        check_dtype(Y, (string,), "Y")
        return TensorType(string, broadcast(X.shape, Y.shape))

    def eval(self, X: Array, Y: Array) -> Array:
        lengths = np.add(*(_mapped(len, x, np.dtype(np.int64)) for x in (X, Y)))
        current_limits().check("the strings' length", int(lengths.sum()), "max_tensor_bytes")
        return np.asarray(np.add(X, Y), object)


class StringSplit(Op):
    """y = the parts of each string, along a further axis filled up with ""; z = how many. ONNX StringSplit-20.

    Attributes:
        delimiter: what stands between parts; without it (or with ""), runs of white space, and none around the ends.
        maxsplit: how often a string is split at most, from the left.
    """

    delimiter: str | None = None
    maxsplit: int | None = None

    def infer(self, X: Value) -> tuple[TensorType, ...]:
        check_dtype(X, (string,), "X")
        shape = None if X.shape is None else (*X.shape, unknown())
        return TensorType(string, shape), TensorType(int64, X.shape)

    def eval(self, X: Array) -> tuple[Array, Array]:
        limit = -1 if self.maxsplit is None else self.maxsplit
        parts = [text.split(self.delimiter or None, limit) for text in X.flat]
        counts = np.array([len(p) for p in parts], np.int64)
        most = int(counts.max(initial=0))
        check_tensor((*X.shape, most), 8, "the parts")
        y = np.full((X.size, most), "", object)
        for row, found in zip(y, parts, strict=True):
            row[: len(found)] = found
        return y.reshape(*X.shape, most), counts.reshape(X.shape)


class StringNormalizer(Op):
    """y = the strings of x, (C) or (1, C), without stop words and in one case. ONNX StringNormalizer-10.

    Where nothing is left, y is a single "". Case is Unicode's, whatever the locale.

    Attributes:
        case_change_action: LOWER, UPPER or NONE.
        is_case_sensitive: whether stop words must be written as they are in `stopwords`.
        locale: taken, and without influence.
        stopwords: strings to leave out.
    """

    case_change_action: str = "NONE"
    is_case_sensitive: bool = False
    locale: str | None = None
    stopwords: tuple[str, ...] | None = None

    def infer(self, X: Value) -> TensorType:
        check_dtype(X, (string,), "X")
        check_rank(X, "X", 1, 2)
        if self.case_change_action not in ("LOWER", "UPPER", "NONE"):
            raise InvalidModel(f"case_change_action is '{self.case_change_action}', expected LOWER, UPPER or NONE")
        if X.shape is None:
            return TensorType(string, None)
        if len(X.shape) == 2 and isinstance(X.shape[0], int) and X.shape[0] != 1:
            raise ShapeError(f"X is {X.tensor}, expected (C) or (1, C)", value=X.name)
        left: Dim = unknown() if self.stopwords else dim_max(X.shape[-1], 1)
        return TensorType(string, (left,) if len(X.shape) == 1 else (1, left))

    def eval(self, X: Array) -> Array:
        if X.ndim == 2 and X.shape[0] != 1:
            raise ExecutionError(f"X has the shape {list(X.shape)}, expected (C) or (1, C)")
        same: Callable[[str], str] = str if self.is_case_sensitive else str.lower
        stops = {same(word) for word in self.stopwords or ()}
        changes: dict[str, Callable[[str], str]] = {"LOWER": str.lower, "UPPER": str.upper, "NONE": str}
        change = changes[self.case_change_action]
        kept = [change(text) for text in X.flat if same(text) not in stops] or [""]
        return np.array(kept, object).reshape((-1,) if X.ndim == 1 else (1, -1))


class RegexFullMatch(Op):
    r"""y = whether the whole of each string matches `pattern`, a regular expression of RE2. ONNX RegexFullMatch-20.

    RE2 itself matches (`pip install 'graphc[text]'`): its time is linear in the text, whatever the pattern.
    """

    pattern: str | None = None

    def infer(self, X: Value) -> TensorType:
        check_dtype(X, (string,), "X")
        if find_spec("re2") is not None:  # without it the model loads, prints and exports all the same
            compile_pattern(self.pattern or "")
        return TensorType(bool_, X.shape)

    def eval(self, X: Array) -> Array:
        matches = compile_pattern(self.pattern or "").fullmatch
        return _mapped(lambda text: matches(text) is not None, X, np.dtype(np.bool_))


def compile_pattern(pattern: str, *, longest: bool = False) -> Any:
    """`pattern` as RE2 understands it; of several matches at one place the first, or the longest."""
    try:
        import re2
    except ImportError as e:
        raise BackendUnavailable("RE2 is not installed", hint="Install it: pip install 'graphc[text]'") from e
    options = re2.Options()
    options.log_errors, options.longest_match = False, longest
    try:
        return re2.compile(pattern, options)
    except re2.error as e:
        reason = e.args[0].decode() if isinstance(e.args[0], bytes) else e.args[0]
        raise InvalidModel(f"not a regular expression of RE2: {pattern!r}: {reason}") from e


# -- n-grams ----------------------------------------------------------------------------------------------------------
MODES = ("TF", "IDF", "TFIDF")


class TfIdfVectorizer(Op):
    """y_i = how often the n-grams with index i occur in each row of x, of tokens. ONNX TfIdfVectorizer-9.

    An n-gram is n tokens at equal distances of up to max_skip_count + 1; those of the pool are counted.

    Attributes:
        max_gram_length, min_gram_length: the lengths n that are counted.
        max_skip_count: how many tokens may lie between two neighbours; single tokens are counted once.
        mode: TF the count, IDF the weight of what occurs, TFIDF the weight times the count.
        ngram_counts: where in the pool the n-grams of length 1, 2, … begin.
        ngram_indexes: for each n-gram of the pool, its column of y.
        pool_int64s, pool_strings: the n-grams, one after the other; one of the two is given.
        weights: one for each n-gram of the pool (the reference evaluator takes them by columns); by default 1.
    """

    max_gram_length: int
    max_skip_count: int
    min_gram_length: int
    mode: str
    ngram_counts: tuple[int, ...]
    ngram_indexes: tuple[int, ...]
    pool_int64s: tuple[int, ...] | None = None
    pool_strings: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None

    def infer(self, X: Value) -> TensorType:
        self._check()
        if self.pool_strings is not None:
            check_dtype(X, (string,), "X")
        else:
            check_dtype(X, (int32, int64), "X")
        check_rank(X, "X", 1, 2)
        return TensorType(float32, None if X.shape is None else (*X.shape[:-1], self._columns))

    def _check(self) -> None:
        if self.mode not in MODES:
            raise InvalidModel(f"mode is '{self.mode}', expected one of {', '.join(MODES)}")
        if (self.pool_strings is None) == (self.pool_int64s is None):
            raise TypeMismatch("exactly one of pool_strings and pool_int64s is needed")
        if not 1 <= self.min_gram_length <= self.max_gram_length <= len(self.ngram_counts):
            raise InvalidModel(
                f"n-grams of {self.min_gram_length} to {self.max_gram_length} tokens are wanted, ngram_counts has "
                f"{len(self.ngram_counts)} entries"
            )
        if self.max_skip_count < 0:
            raise InvalidModel(f"max_skip_count is {self.max_skip_count}, expected 0 or more")
        if not self.ngram_indexes or min(self.ngram_indexes) < 0:
            raise InvalidModel("ngram_indexes needs entries of at least 0")
        bounds = [*self.ngram_counts, len(self._pool)]
        sizes = [b - a for a, b in pairwise(bounds)]
        if bounds[0] < 0 or any(size < 0 or size % (n + 1) for n, size in enumerate(sizes)):
            raise InvalidModel(f"ngram_counts {list(self.ngram_counts)} does not divide a pool of {len(self._pool)}")
        total = sum(size // (n + 1) for n, size in enumerate(sizes))
        if total != len(self.ngram_indexes):
            raise InvalidModel(f"the pool has {total} n-grams, ngram_indexes {len(self.ngram_indexes)} entries")
        if self.weights is not None and len(self.weights) != len(self.ngram_indexes):
            raise InvalidModel(f"there are {len(self.weights)} weights for {len(self.ngram_indexes)} n-grams")

    @property
    def _pool(self) -> Sequence[str | int]:
        return self.pool_strings or self.pool_int64s or ()

    @property
    def _columns(self) -> int:
        return max(self.ngram_indexes) + 1

    @cached_property
    def _tables(self) -> tuple[dict[str | int, int], list[tuple[Array, Array]]]:
        """The numbers of the pool's tokens; for each n, the n-grams as sorted rows of numbers, and their places.

        Of an n-gram that is there twice, the last one counts.
        """
        numbers = {token: i for i, token in enumerate(dict.fromkeys(self._pool))}
        bounds = [*self.ngram_counts, len(self._pool)]
        tables: list[tuple[Array, Array]] = []
        before = 0
        for n in range(1, len(self.ngram_counts) + 1):
            tokens = [numbers[t] for t in self._pool[bounds[n - 1] : bounds[n]]]
            grams = np.array(tokens, np.int64).reshape(-1, n)
            places = {tuple(g): before + i for i, g in enumerate(grams.tolist())}
            before += len(grams)
            ordered = sorted(places)
            tables.append(
                (np.array(ordered, np.int64).reshape(-1, n), np.array([places[g] for g in ordered], np.int64))
            )
        return numbers, tables

    def eval(self, X: Array) -> Array:
        rows = X.reshape(-1, X.shape[-1]) if X.size else np.empty((X.shape[0] if X.ndim == 2 else 1, 0), X.dtype)
        pool = len(self.ngram_indexes)
        check_tensor((len(rows), max(self._columns, pool)), 8, "the counts")
        numbers, tables = self._tables
        tokens = np.array([numbers.get(t, -1) for t in rows.ravel().tolist()], np.int64).reshape(rows.shape)
        counts: Array = np.zeros((len(rows), pool), np.int64)
        for n in range(self.min_gram_length, self.max_gram_length + 1):
            grams, places = tables[n - 1]
            for distance in range(1, 2 + (self.max_skip_count if n > 1 else 0)):
                check_deadline()
                starts = tokens.shape[1] - distance * (n - 1)
                if starts <= 0 or not len(grams):
                    break
                at = _find(grams, [tokens[:, i * distance : i * distance + starts] for i in range(n)], len(numbers))
                row, start = np.nonzero(at >= 0)
                np.add.at(counts, (row, places[at[row, start]]), 1)
        if self.mode == "IDF":
            counts = np.minimum(counts, 1)
        if self.mode != "TF" and self.weights is not None:
            counts = counts * np.array(self.weights)
        y: Array = np.zeros((self._columns, len(rows)), counts.dtype)
        np.add.at(y, np.array(self.ngram_indexes), counts.T)
        return y.T.reshape(*X.shape[:-1], self._columns).astype(np.float32)

    def cost(self, xs: Sequence[Value | None], ys: Sequence[Value]) -> Cost:
        """A look-up for each n-gram of each length and distance."""
        lengths = self.max_gram_length - self.min_gram_length + 1
        return Cost(elements(xs[0]) * lengths * (self.max_skip_count + 1), traffic(xs, ys))


def _find(grams: Array, tokens: Sequence[Array], vocabulary: int) -> Array:
    """Which row of `grams`, sorted, has the tokens `tokens[0]`, `tokens[1]`, …; -1 for none.

    Token by token: a prefix has a number, and so has each prefix with one token more.
    """
    prefixes, found = np.zeros(len(grams), np.int64), np.where(tokens[0] >= 0, 0, -1)
    for column, token in zip(grams.T, tokens, strict=True):
        known, prefixes = np.unique(prefixes * vocabulary + column, return_inverse=True)
        code = found * vocabulary + token
        at = np.minimum(np.searchsorted(known, code), len(known) - 1)
        found = np.where((found >= 0) & (token >= 0) & (known[at] == code), at, -1)
    return found
