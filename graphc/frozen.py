"""Frozen dataclasses, of which there are hundreds, with methods that they share."""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, Field, FrozenInstanceError
from reprlib import recursive_repr
from typing import Any, ClassVar, NoReturn, dataclass_transform


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
class Frozen:
    """What `@dataclass(frozen=True)` makes, of each subclass; `dataclasses.fields` and `replace` work on them.

    That decorator compiles six methods for each class, which took longer than all else of `import graphc`. Where many
    instances are made it is the better choice: theirs are made in half the time. Fields have plain defaults, no
    factories. With `eq=False` instances are compared by identity.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _names: ClassVar[tuple[str, ...]]  # of the fields, in order
    _defaults: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, *, eq: bool = True, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
        fields = dataclasses.fields(cls)
        cls._names = tuple(f.name for f in fields)
        cls._defaults = {f.name: f.default for f in fields if f.default is not MISSING}
        if not eq:
            cls.__eq__ = object.__eq__  # type: ignore[method-assign]
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]

    def __init__(self, *values: Any, **named: Any) -> None:
        names = self._names
        if not named and len(values) == len(names):  # the most frequent form, in a third of the time
            self.__dict__.update(zip(names, values, strict=True))
            self.__post_init__()
            return
        given = {**dict(zip(names, values, strict=False)), **named}
        unknown = [name for name in named if name not in names]
        if unknown or len(given) < len(values) + len(named):
            raise TypeError(f"{type(self).__name__}({', '.join(names)}) got {', '.join(unknown) or 'too many values'}")
        found = {**self._defaults, **given}
        if len(found) < len(names):
            raise TypeError(f"{type(self).__name__}() needs {', '.join(n for n in names if n not in found)}")
        self.__dict__.update(found)
        self.__post_init__()

    def __post_init__(self) -> None:
        """What a subclass checks."""

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def __hash__(self) -> int:
        return hash(_values(self))

    @recursive_repr()
    def __repr__(self) -> str:
        fields = zip(self._names, _values(self), strict=True)
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in fields)})"


def _values(frozen: Frozen) -> tuple[Any, ...]:
    return tuple([getattr(frozen, name) for name in frozen._names])
