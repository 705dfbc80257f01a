r"""Regular expressions in RE2's syntax, without backtracking: time is bounded by pattern size times text length.

A pattern becomes a program for a machine that is in many states at once (Thompson 1968). Jumps are relative, so that
programs are concatenated and repeated like lists. Scripts such as `\p{Greek}` and single bytes (`\C`) are refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from graphc.errors import InvalidModel
from graphc.limits import check_deadline

MAX_PROGRAM = 50_000  # instructions; counted repetition multiplies them
MAX_REPEAT = 1000  # as in RE2
_LAST = 0x10FFFF

Range = tuple[int, int]


@dataclass(frozen=True)
class Chars:
    """A set of characters.

    Attributes:
        ranges: first and last code points.
        categories: Unicode general categories, such as L or Lu, and whether they are negated.
        negated: whether the set is everything else.
        fold: whether upper and lower case are the same.
    """

    ranges: tuple[Range, ...] = ()
    categories: tuple[tuple[str, bool], ...] = ()
    negated: bool = False
    fold: bool = False

    def __contains__(self, c: str) -> bool:
        forms = {c, c.lower(), c.upper()} if self.fold else (c,)
        return any(len(f) == 1 and self._has(f) for f in forms) != self.negated

    def _has(self, c: str) -> bool:
        if any(a <= ord(c) <= b for a, b in self.ranges):
            return True
        return any(unicodedata.category(c).startswith(name) != negated for name, negated in self.categories)


@dataclass(frozen=True)
class Split:
    """Go on at each of the two, relative to here."""

    a: int
    b: int


# What holds between two characters, of which the first or second is None at the ends of the text.
Assertion = Callable[[str | None, str | None], bool]
Instruction = Chars | Split | Assertion
Program = list[Instruction]


def _is_word(c: str | None) -> bool:
    return c is not None and c.isascii() and (c.isalnum() or c == "_")


_BOUNDARIES: dict[str, Assertion] = {
    "A": lambda before, after: before is None,
    "z": lambda before, after: after is None,
    "b": lambda before, after: _is_word(before) != _is_word(after),
    "B": lambda before, after: _is_word(before) == _is_word(after),
    "^": lambda before, after: before in (None, "\n"),
    "$": lambda before, after: after in (None, "\n"),
}


def _ranges(text: str) -> tuple[Range, ...]:
    """`"az09__"` -> a to z, 0 to 9, and _."""
    return tuple((ord(a), ord(b)) for a, b in zip(text[::2], text[1::2], strict=True))


_DIGIT, _SPACE, _WORD = _ranges("09"), _ranges("\t\n\f\r  "), _ranges("09AZaz__")
_PERL = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_POSIX = {
    "alnum": _ranges("09AZaz"), "alpha": _ranges("AZaz"), "ascii": _ranges("\x00\x7f"), "blank": _ranges("\t\t  "),
    "cntrl": _ranges("\x00\x1f\x7f\x7f"), "digit": _DIGIT, "graph": _ranges("!~"), "lower": _ranges("az"),
    "print": _ranges(" ~"), "punct": _ranges("!/:@[`{~"), "space": _ranges("\t\r  "), "upper": _ranges("AZ"),
    "word": _WORD, "xdigit": _ranges("09AFaf"),
}  # fmt: skip
_LETTERS = {"a": "\a", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_CATEGORIES = frozenset(
    major + minor
    for major, minors in (
        ("C", "cfos"), ("L", "lmotu"), ("M", "cen"), ("N", "dlo"), ("P", "cdefios"), ("S", "ckmo"), ("Z", "lps")
    )
    for minor in ("", *minors)
)  # fmt: skip


def _complement(ranges: Iterable[Range]) -> tuple[Range, ...]:
    found, at = [], 0
    for a, b in sorted(ranges):
        if a > at:
            found.append((at, a - 1))
        at = max(at, b + 1)
    return tuple([*found, (at, _LAST)] if at <= _LAST else found)


# -- programs ---------------------------------------------------------------------------------------------------------
def _either(branches: list[Program]) -> Program:
    program = branches[-1]
    for branch in reversed(branches[:-1]):
        program = [Split(1, len(branch) + 2), *branch, Split(len(program) + 1, len(program) + 1), *program]
    return program


def _repeat(body: Program, least: int, most: int | None) -> Program:
    maybe: Program = [Split(1, len(body) + 1), *body]
    if most is None:
        size = len(body) * max(least, 1) + 2
        _check_size(size)
        if least == 0:
            return [Split(1, len(body) + 2), *body, Split(-len(body) - 1, -len(body) - 1)]
        return [*(body * least), Split(-len(body), 1)]
    _check_size(len(body) * least + len(maybe) * (most - least))
    return body * least + maybe * (most - least)


def _check_size(size: int) -> None:
    if size > MAX_PROGRAM:
        raise InvalidModel(f"pattern is too large: it takes {size:,} steps, at most {MAX_PROGRAM:,} are possible")


# -- the parser -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Flags:
    i: bool = False
    m: bool = False
    s: bool = False
    U: bool = False  # which match is preferred, which makes no difference to whether there is one


class _Group:
    """An open parenthesis: the branches before the current one, and its parts."""

    def __init__(self, outside: _Flags):
        self.outside = outside
        self.branches: list[Program] = []
        self.parts: list[Program] = []
        self.repeatable = False

    def add(self, part: Program, *, repeatable: bool = True) -> None:
        self.parts.append(part)
        self.repeatable = repeatable

    def branch(self) -> None:
        self.branches.append([step for part in self.parts for step in part])
        _check_size(sum(map(len, self.branches)))
        self.parts, self.repeatable = [], False


_COUNT = re.compile(r"\{(\d{1,9})(,(\d{1,9})?)?\}")
_OPENING = re.compile(r"\(\?(?:P?<([A-Za-z0-9_]+)>|([imsU]*)(-[imsU]+)?([:)]))")


class _Parser:
    def __init__(self, pattern: str):
        self.text, self.at = pattern, 0
        self.flags = _Flags()
        self.added = 0  # steps that repetitions have added

    def fail(self, what: str) -> InvalidModel:
        return InvalidModel(f"pattern {self.text!r} is not in RE2's syntax: {what} at {self.at}")

    def take(self, text: str) -> bool:
        """Whether `text` comes next; if so, it is consumed."""
        found = self.text.startswith(text, self.at)
        self.at += len(text) * found
        return found

    def parse(self) -> Program:
        groups = [_Group(self.flags)]
        while self.at < len(self.text):
            group = groups[-1]
            c = self.text[self.at]
            if c == "(":
                self._open(groups)
            elif c == ")":
                self.at += 1
                if len(groups) == 1:
                    raise self.fail("unexpected )")
                group.branch()
                self.flags = group.outside
                groups.pop()
                groups[-1].add(_either(group.branches))
            elif c == "|":
                self.at += 1
                group.branch()
            elif c in "*+?" or (c == "{" and _COUNT.match(self.text, self.at)):
                self._quantify(group)
            else:
                self._atom(group)
        if len(groups) > 1:
            raise self.fail("missing )")
        groups[0].branch()
        return _either(groups[0].branches)

    def _open(self, groups: list[_Group]) -> None:
        if not self.text.startswith("(?", self.at):
            self.at += 1
            groups.append(_Group(self.flags))
            return
        found = _OPENING.match(self.text, self.at)
        if found is None:
            raise self.fail("a group that is not a group, such as a look-around,")
        self.at = found.end()
        outside = self.flags
        on, off = found[2] or "", (found[3] or "-")[1:]
        self.flags = replace(outside, **dict.fromkeys(on, True), **dict.fromkeys(set(off) - set(on), False))
        if found[4] != ")":
            groups.append(_Group(outside))

    def _quantify(self, group: _Group) -> None:
        if not group.repeatable:
            raise self.fail("nothing to repeat")
        counted = _COUNT.match(self.text, self.at)
        least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(self.text[self.at], (0, None))
        if counted is None:
            self.at += 1
        else:
            least = int(counted[1])
            most = least if counted[2] is None else None if counted[3] is None else int(counted[3])
            if max(least, most or 0) > MAX_REPEAT or (most is not None and most < least):
                raise self.fail(f"a repetition of {counted[0]}")
            self.at = counted.end()
        self.take("?")
        once = group.parts[-1]
        group.parts[-1] = _repeat(once, least, most)
        group.repeatable = False
        self.added += len(group.parts[-1]) - len(once)
        _check_size(self.added)

    def _atom(self, group: _Group) -> None:
        c = self.text[self.at]
        if self.take("\\Q"):
            end = self.text.find("\\E", self.at)
            quoted = self.text[self.at : end if end >= 0 else None]
            self.at = len(self.text) if end < 0 else end + 2
            for q in quoted:
                group.add([self._chars(((ord(q), ord(q)),))])
        elif c == "\\" and self.text[self.at + 1 : self.at + 2] in ("A", "z", "b", "B"):
            group.add([_BOUNDARIES[self.text[self.at + 1]]])
            self.at += 2
        elif c in "^$":
            self.at += 1
            group.add([_BOUNDARIES[c if self.flags.m else {"^": "A", "$": "z"}[c]]])
        elif c == ".":
            self.at += 1
            group.add([Chars(((0, _LAST),) if self.flags.s else _complement([(10, 10)]))])
        elif c == "[":
            self.at += 1
            group.add([self._set()])
        elif c == "\\":
            self.at += 1
            found = self._escape()
            group.add([found if isinstance(found, Chars) else self._chars(((found, found),))])
        else:
            self.at += 1
            group.add([self._chars(((ord(c), ord(c)),))])

    def _chars(self, ranges: tuple[Range, ...]) -> Chars:
        return Chars(ranges, fold=self.flags.i)

    def _escape(self) -> Chars | int:
        """What follows a backslash: a set of characters, or the code point of one."""
        c = self.text[self.at : self.at + 1]
        self.at += 1
        if c.lower() in _PERL and c:
            ranges = _PERL[c.lower()]
            return self._chars(ranges if c.islower() else _complement(ranges))
        if c and c in "pP":
            return self._category(c == "P")
        if c in _LETTERS:
            return ord(_LETTERS[c])
        if c == "x":
            found = re.compile(r"([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,8})\}").match(self.text, self.at)
            code = _LAST + 1 if found is None else int(found[1] or found[2], 16)
            if found is None or code > _LAST:
                raise self.fail("an invalid \\x")
            self.at = found.end()
            return code
        octal = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}").match(self.text, self.at - 1)
        if octal:
            self.at = octal.end()
            return int(octal[0], 8)
        if not c or _is_word(c):
            raise self.fail(f"the escape \\{c}")
        return ord(c)

    def _category(self, negated: bool) -> Chars:
        found = re.compile(r"([A-Z])|\{(\^?)(\w+)\}").match(self.text, self.at)
        name = "" if found is None else found[1] or found[3]
        if found is None or name not in _CATEGORIES:
            raise self.fail(f"the Unicode class {name!r}, which is not known here,")
        self.at = found.end()
        return Chars(categories=((name, negated != (found[2] == "^")),), fold=self.flags.i)

    def _set(self) -> Chars:
        """[…], after its bracket."""
        negated, ranges, categories = self.take("^"), list[Range](), list[tuple[str, bool]]()
        first = True
        while first or not self.take("]"):
            first = False
            if self.at >= len(self.text):
                raise self.fail("missing ]")
            posix = re.compile(r"\[:(\^?)(\w+):\]").match(self.text, self.at)
            if posix:
                if posix[2] not in _POSIX:
                    raise self.fail(f"the class {posix[0]}")
                self.at = posix.end()
                ranges += _complement(_POSIX[posix[2]]) if posix[1] else _POSIX[posix[2]]
                continue
            low = self._member()
            if isinstance(low, Chars):
                ranges += low.ranges
                categories += low.categories
                continue
            high: Chars | int = low
            if self.text.startswith("-", self.at) and self.text[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                high = self._member()
            if isinstance(high, Chars) or high < low:
                raise self.fail("an invalid range")
            ranges.append((low, high))
        return Chars(tuple(ranges), tuple(categories), negated, self.flags.i)

    def _member(self) -> Chars | int:
        if self.take("\\"):
            return self._escape()
        self.at += 1
        return ord(self.text[self.at - 1])


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> tuple[Instruction, ...]:
    """The program of `pattern`. Raises `InvalidModel` for what RE2 does not take."""
    return tuple(_Parser(pattern).parse())


# -- the machine ------------------------------------------------------------------------------------------------------
class Matcher:
    """Matches whole texts against a pattern, remembering which states follow which."""

    _REMEMBERED = 10_000

    def __init__(self, pattern: str):
        self._program = compile_pattern(pattern)
        self._next: dict[tuple[frozenset[int], str | None, str | None], frozenset[int]] = {}

    def fullmatch(self, text: str) -> bool:
        """Whether the whole of `text` matches."""
        states, before = frozenset((0,)), None
        for c in text:
            states = self._step(states, before, c)
            if not states:
                return False
            before = c
        return bool(self._step(states, before, None))

    def _step(self, states: frozenset[int], before: str | None, c: str | None) -> frozenset[int]:
        """The states after `c`; at the end of the text, where `c` is None, whether one of them is the final one."""
        # All that assertions ask about the character before is which of these it is like.
        like = before if before in (None, "\n") else "a" if _is_word(before) else " "
        key = (states, like, c)
        found = self._next.get(key)
        if found is None:
            check_deadline()
            if len(self._next) >= self._REMEMBERED:
                self._next.clear()
            found = self._next[key] = self._advance(states, like, c)
        return found

    def _advance(self, states: frozenset[int], before: str | None, c: str | None) -> frozenset[int]:
        program, final = self._program, len(self._program)
        seen, waiting, after = set(states), list(states), set()
        while waiting:
            at = waiting.pop()
            if at == final:
                if c is None:
                    after.add(final)
                continue
            step = program[at]
            if isinstance(step, Chars):
                if c is not None and c in step:
                    after.add(at + 1)
                continue
            targets = (at + step.a, at + step.b) if isinstance(step, Split) else (at + 1,) * step(before, c)
            for target in targets:
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return frozenset(after)
