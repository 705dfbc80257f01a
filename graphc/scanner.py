"""Reading a listing from front to back: what the parsers of graphs and of loop nests are built on."""

from __future__ import annotations

import re

from graphc.errors import InvalidModel


class Scanner:
    """A text and a place in it.

    Args:
        text: what is read.
        space: what is passed over between tokens; it matches nothing as well.

    Attributes:
        at: how many characters have been read.
    """

    def __init__(self, text: str, space: re.Pattern[str]) -> None:
        self.text, self.at, self._space = text, 0, space

    @property
    def line(self) -> int:
        """The number of the line that has been come to, from 1 on."""
        return self.text.count("\n", 0, self.at) + 1

    def skip(self) -> None:
        """Go on to the next token."""
        match = self._space.match(self.text, self.at)
        assert match is not None
        self.at = match.end()

    def accept(self, token: str) -> bool:
        """Read `token` if it is next; a word only where it ends there."""
        self.skip()
        end = self.at + len(token)
        if not self.text.startswith(token, self.at) or (token[-1].isalpha() and self.text[end : end + 1].isalnum()):
            return False
        self.at = end
        return True

    def expect(self, token: str) -> None:
        """Read `token`. Raises `InvalidModel` if it is not next."""
        if not self.accept(token):
            raise self.wrong(f"'{token}'")

    def match(self, pattern: re.Pattern[str], what: str) -> str:
        """Read what matches `pattern`, which a message calls `what`. Raises `InvalidModel`."""
        self.skip()
        found = pattern.match(self.text, self.at)
        if found is None:
            raise self.wrong(what)
        self.at = found.end()
        return found.group()

    def end(self) -> None:
        """Raises `InvalidModel` if there is more to come."""
        self.skip()
        if self.at < len(self.text):
            raise self.wrong("the end")

    def wrong(self, expected: str) -> InvalidModel:
        """The error that something else is next."""
        self.skip()
        found = self.text[self.at : self.at + 20].split("\n")[0]
        return InvalidModel(f"expected {expected}, found '{found}'")
