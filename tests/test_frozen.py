"""`Frozen`: held to what `@dataclass(frozen=True)` does with the same fields."""

import copy
import dataclasses
import pickle
from dataclasses import dataclass, field

import pytest

from graphc.frozen import Frozen


class Shared(Frozen):
    a: int
    b: tuple[int, ...] = ()
    c: int = field(default=7, metadata={"onnx": False})


class Further(Shared):
    b: tuple[int, ...] = (1,)
    d: str = "d"


@dataclass(frozen=True)
class Compiled:
    a: int
    b: tuple[int, ...] = ()
    c: int = field(default=7, metadata={"onnx": False})


@dataclass(frozen=True)
class FurtherCompiled(Compiled):
    b: tuple[int, ...] = (1,)
    d: str = "d"


PAIRS = [(Shared, Compiled), (Further, FurtherCompiled)]


@pytest.mark.parametrize(("shared", "compiled"), PAIRS)
@pytest.mark.parametrize("named", [{}, {"b": (3,)}, {"c": 9, "b": (2, 3)}])
def test_instances(shared, compiled, named):
    x, y = shared(1, **named), compiled(1, **named)
    assert dataclasses.asdict(x) == dataclasses.asdict(y)
    assert repr(x) == repr(y).replace(compiled.__name__, shared.__name__)
    assert hash(x) == hash(y)
    assert x == shared(a=1, **named)
    assert x != shared(2, **named)
    assert x != y
    assert dataclasses.replace(x, a=5) == shared(5, **named)
    for copied in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert copied == x


@pytest.mark.parametrize(("shared", "compiled"), PAIRS)
def test_fields(shared, compiled):
    def facts(cls):
        return [(f.name, f.type, f.default, dict(f.metadata)) for f in dataclasses.fields(cls)]

    assert facts(shared) == facts(compiled)


@pytest.mark.parametrize("arguments", [[], [1, (), 7, 8], [1, ()]])
@pytest.mark.parametrize("cls", PAIRS[0])
def test_arguments_that_do_not_fit(cls, arguments):
    with pytest.raises(TypeError, match=cls.__name__):
        cls(*arguments, **({"b": ()} if len(arguments) == 2 else {}))
    with pytest.raises(TypeError, match="other"):
        cls(1, other=2)


@pytest.mark.parametrize("cls", PAIRS[0])
def test_fields_cannot_be_assigned(cls):
    x = cls(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        x.a = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del x.a


def test_what_a_subclass_checks():
    class Positive(Frozen):
        n: int

        def __post_init__(self):
            if self.n <= 0:
                raise ValueError(f"n is {self.n}")

    assert Positive(1).n == 1
    with pytest.raises(ValueError, match="n is 0"):
        Positive(0)


def test_comparison_by_identity():
    class One(Frozen, eq=False):
        n: int

    x = One(1)
    assert x == x
    assert x != One(1)
    assert len({x, One(1)}) == 2
    assert hash(x) == object.__hash__(x)
