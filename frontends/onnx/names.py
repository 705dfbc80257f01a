"""Names that must not occur twice."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class UniqueNames:
    """The names given so far in one place."""

    _taken: set[str] = field(default_factory=set)
    _numbers: dict[str, int] = field(default_factory=dict)  # wanted name -> the last number that was put after it

    def new(self, wanted: str) -> str:
        """`wanted`, with a number where it was given before; "" stays, however often."""
        name = wanted
        while name and name in self._taken:
            self._numbers[wanted] = k = self._numbers.get(wanted, 0) + 1
            name = f"{wanted}_{k}"
        self._taken.add(name)
        return name
