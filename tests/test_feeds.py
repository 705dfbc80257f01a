"""Feeds: each way in which an input can be wrong, and the message it gets; each way in which it may be given."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from graphc.dims import parse_dim
from graphc.errors import FeedError
from graphc.runtime.feeds import Feeds
from graphc.runtime.ports import Port
from graphc.types import (
    DType,
    MapType,
    OptionalType,
    SequenceType,
    TensorType,
    bfloat16,
    bool_,
    float32,
    float64,
    int8,
    int64,
    string,
    uint8,
)


def port(name: str, shape: str | None, dtype: DType = float32) -> Port:
    """`port("x", "n,4")`; None for an unknown rank."""
    dims = None if shape is None else tuple(parse_dim(d) for d in shape.split(",") if d)
    return Port(name, TensorType(dtype, dims))


def zeros(*shape: int, dtype: object = np.float32) -> np.ndarray:
    return np.zeros(shape, dtype)


def refused(feeds: Feeds, *arrays: object) -> str:
    with pytest.raises(FeedError) as info:
        feeds.bind(arrays)
    return str(info.value)


X = Feeds([port("x", "2,3")])


class TestElementTypes:
    def test_another_type_names_both_and_the_conversion(self):
        message = refused(X, zeros(2, 3, dtype=np.float64))
        assert message == "input 'x' is float64, expected float32. Convert it: x.astype(np.float32)"

    def test_the_conversion_for_types_that_numpy_lacks(self):
        assert "x.astype(ml_dtypes.bfloat16)" in refused(Feeds([port("x", "2", bfloat16)]), zeros(2))

    def test_a_safe_conversion_is_offered_and_done_on_request(self):
        ports = [port("x", "2", float64)]
        assert 'cast="safe"' in refused(Feeds(ports), zeros(2))
        (x,) = Feeds(ports, safe_cast=True).bind([np.array([1, 2], np.float32)])
        assert x.dtype == np.float64
        assert x.tolist() == [1, 2]

    def test_an_unsafe_conversion_is_never_done(self):
        message = refused(Feeds([port("x", "2,3")], safe_cast=True), zeros(2, 3, dtype=np.float64))
        assert "is float64, expected float32" in message

    def test_bfloat16(self):
        x = zeros(2, dtype=ml_dtypes.bfloat16)
        assert Feeds([port("x", "2", bfloat16)]).bind([x])[0] is x

    def test_object_arrays(self):
        assert "has dtype object, expected float32" in refused(X, np.array([[1, 2, 3], [4, 5, 6]], object))

    def test_structured_arrays(self):
        assert "expected float32" in refused(X, np.zeros((2, 3), [("a", "f4")]))

    def test_masked_arrays(self):
        masked = np.ma.masked_array(zeros(2, 3), mask=True)
        assert refused(X, masked) == "input 'x' is a masked array. Pass x.filled(value)"

    def test_big_endian_is_converted(self):
        (x,) = X.bind([np.arange(6, dtype=">f4").reshape(2, 3)])
        assert x.dtype == np.dtype("=f4")
        assert x.tolist() == [[0, 1, 2], [3, 4, 5]]

    def test_big_endian_of_another_type(self):
        assert "is float64, expected float32" in refused(X, zeros(2, 3, dtype=">f8"))


class TestWhatIsTaken:
    @pytest.mark.parametrize(
        "x",
        [
            np.arange(6, dtype=np.float32).reshape(3, 2).T,
            np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
            np.arange(12, dtype=np.float32).reshape(2, 6)[:, ::2],
            np.arange(6, dtype=np.float32).reshape(2, 3)[::-1, ::-1],
            np.broadcast_to(np.float32(1), (2, 3)),
        ],
        ids=["transposed", "fortran", "strided", "reversed", "broadcast"],
    )
    def test_any_layout(self, x: np.ndarray):
        assert X.bind([x])[0] is x

    def test_a_good_array_is_passed_on_without_copying(self):
        x = zeros(2, 3)
        assert X.bind([x])[0] is x

    def test_a_subclass_becomes_an_array(self):
        class Subclass(np.ndarray):
            pass

        (x,) = X.bind([zeros(2, 3).view(Subclass)])
        assert type(x) is np.ndarray

    def test_array_protocol(self):
        class Wrapper:
            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                return zeros(2, 3)

        assert X.bind([Wrapper()])[0].shape == (2, 3)

    def test_dlpack(self):
        class Wrapper:
            def __dlpack__(self, **options: object) -> object:
                return zeros(2, 3).__dlpack__()

            def __dlpack_device__(self) -> tuple[int, int]:
                return (1, 0)

        assert X.bind([Wrapper()])[0].shape == (2, 3)

    @pytest.mark.parametrize("error", [RuntimeError, NotImplementedError, LookupError])
    def test_an_array_protocol_that_fails(self, error: type[Exception]):
        class Broken:
            def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
                raise error("it is on another device")

        assert "is a Broken that cannot become an array: it is on another device" in refused(X, Broken())

    @pytest.mark.parametrize("x", [2.5, 2, np.float32(2.5), np.array(2.5, np.float32)])
    def test_numbers_for_rank_0(self, x: object):
        (got,) = Feeds([port("x", "")]).bind([x])
        assert got.dtype == np.float32
        assert got.shape == ()
        assert got == np.float32(x)

    def test_a_number_that_would_lose_its_fraction(self):
        assert "is float64, expected int64" in refused(Feeds([port("x", "", int64)]), 2.5)

    def test_a_number_that_does_not_fit(self):
        assert "does not fit in int8" in refused(Feeds([port("x", "", int8)]), 300)
        assert "does not fit in uint8" in refused(Feeds([port("x", "", uint8)]), -1)

    def test_a_number_is_no_flag(self):
        assert "expected bool" in refused(Feeds([port("x", "", bool_)]), 1)
        assert Feeds([port("x", "", bool_)]).bind([True])[0].dtype == np.bool_

    def test_a_number_for_a_higher_rank(self):
        assert "has rank 0, expected 2" in refused(X, 1.0)

    def test_nested_lists(self):
        (x,) = X.bind([[[1, 2, 3], [4.5, 5, 6]]])
        assert x.dtype == np.float32
        assert x.tolist() == [[1, 2, 3], [4.5, 5, 6]]

    def test_lists_of_arrays_keep_their_type(self):
        assert "is float64, expected float32" in refused(X, [np.zeros(3), np.zeros(3)])

    def test_ragged_lists(self):
        assert "cannot become an array" in refused(X, [[1, 2, 3], [4]])

    def test_none(self):
        assert "input 'x' is None" in refused(X, None)

    def test_a_dict(self):
        assert "input 'x'" in refused(X, {"a": 1})


class TestShapes:
    def test_rank(self):
        message = refused(Feeds([port("x", "n,3,8,8")]), zeros(3, 8, 8))
        assert message == (
            "input 'x' has rank 3, expected 4: got [3,8,8] for float32 [n,3,8,8]. Add the first dimension: x[None]"
        )
        assert "Drop the first dimension: x[0]" in refused(X, zeros(1, 2, 3))

    def test_size(self):
        message = refused(X, zeros(2, 4))
        assert message == "input 'x': dimension 1 is 4, expected 3: got [2,4] for float32 [2,3]"

    def test_layouts(self):
        images = Feeds([port("x", "n,3,8,8")])
        assert "channels last: x.transpose(0, 3, 1, 2)" in refused(images, zeros(1, 8, 8, 3))
        assert "x.T" in refused(X, zeros(3, 2))

    def test_an_empty_array_for_a_static_size(self):
        assert "dimension 0 is 0, expected 2" in refused(X, zeros(0, 3))

    def test_an_empty_array_for_a_symbol(self):
        assert Feeds([port("x", "n,3")]).bind([zeros(0, 3)])[0].shape == (0, 3)

    def test_unknown_rank(self):
        assert Feeds([port("x", None)]).bind([zeros(1, 2, 3)])[0].shape == (1, 2, 3)

    def test_symbols_agree(self):
        feeds = Feeds([port("a", "n,2"), port("b", "n")])
        feeds.bind([zeros(3, 2), zeros(3)])
        assert refused(feeds, zeros(2, 2), zeros(3)) == "sizes disagree: n is 2 (a) and 3 (b)"

    def test_symbols_agree_within_one_input(self):
        assert refused(Feeds([port("a", "n,n")]), zeros(2, 3)) == "sizes disagree: n is 2 (a) and 3 (a)"

    def test_expressions(self):
        feeds = Feeds([port("y", "2*n + m"), port("a", "n"), port("b", "m")])
        feeds.bind([zeros(7), zeros(3), zeros(1)])
        message = refused(feeds, zeros(8), zeros(3), zeros(1))
        assert message == "input 'y': dimension 0 is 8, expected m + 2*n = 7, as m is 1 (b), n is 3 (a)"

    def test_an_expression_gives_its_symbol(self):
        feeds = Feeds([port("a", "2*n"), port("b", "n + 1,2*n")])
        feeds.bind([zeros(6), zeros(4, 6)])
        assert refused(feeds, zeros(5), zeros(4, 6)) == "input 'a': dimension 0 is 5, which no n makes 2*n"
        assert refused(feeds, zeros(6), zeros(5, 6)) == "input 'b': dimension 0 is 5, expected n + 1 = 4, as n is 3 (a)"
        assert "which no n makes n + 1" in refused(Feeds([port("a", "n + 1")]), zeros(0))

    def test_a_floor_division(self):
        feeds = Feeds([port("a", "n"), port("b", "n//2")])
        feeds.bind([zeros(5), zeros(2)])
        assert "expected n//2 = 2" in refused(feeds, zeros(5), zeros(3))
        Feeds([port("b", "n//2")]).bind([zeros(3)])  # says nothing about n that could be wrong


class TestNames:
    feeds = Feeds([port("input_ids", "2"), port("mask", "2")])

    def refused(self, given: dict[str, object]) -> str:
        with pytest.raises(FeedError) as info:
            self.feeds.bind_names(given)
        return str(info.value)

    def test_any_order(self):
        ids, mask = zeros(2), zeros(2)
        bound = self.feeds.bind_names({"mask": mask, "input_ids": ids})
        assert bound[0] is ids
        assert bound[1] is mask

    def test_missing(self):
        assert self.refused({"mask": zeros(2)}) == "missing input 'input_ids'; got 'mask'"
        assert self.refused({}) == "missing input 'input_ids', 'mask'"

    def test_misspelt(self):
        message = self.refused({"mask": zeros(2), "inputs_id": zeros(2)})
        assert message == (
            "the model has no input 'inputs_id'. Did you mean 'input_ids'? It takes 2 inputs (input_ids, mask)"
        )

    def test_extra(self):
        message = self.refused({"mask": zeros(2), "input_ids": zeros(2), "q": zeros(1)})
        assert message == "the model has no input 'q'. It takes 2 inputs (input_ids, mask)"

    def test_a_name_that_is_no_string(self):
        assert "no input '3'" in self.refused({3: zeros(1)})  # type: ignore[dict-item]

    def test_the_number_of_positional_arrays(self):
        assert refused(self.feeds, zeros(2)) == "the model takes 2 inputs (input_ids, mask), got 1"

    def test_control_characters_are_escaped(self):
        assert "\x1b" not in refused(Feeds([port("a\x1b[31m", "2")]), zeros(3))


class TestStrings:
    feeds = Feeds([port("s", "2", string)])

    @pytest.mark.parametrize(
        "x", [["a", "b"], np.array(["a", "b"]), np.array([b"a", b"b"]), np.array(["a", "b"], object)]
    )
    def test_accepted(self, x: object):
        (got,) = self.feeds.bind([x])
        assert got.dtype == object
        assert got.tolist() == ["a", "b"]

    def test_refused(self):
        assert "is float32, expected strings" in refused(self.feeds, zeros(2))
        assert "at [1] is a int, expected a string" in refused(self.feeds, np.array(["a", 1], object))
        assert "at [0] is not UTF-8" in refused(self.feeds, np.array([b"\xff", b"a"]))


class TestContainers:
    def test_sequences(self):
        feeds = Feeds([Port("s", SequenceType(TensorType(float32, (parse_dim("n"),)))), port("x", "n")])
        (got, _) = feeds.bind([[zeros(3), zeros(3)], zeros(3)])
        assert [g.shape for g in got] == [(3,), (3,)]
        assert feeds.bind([[], zeros(3)])[0] == []
        assert "is a ndarray, expected a list: sequence of float32 [n]" in refused(feeds, zeros(2, 3), zeros(3))
        assert "n is 3 (s[0]) and 4 (s[1])" in refused(feeds, [zeros(3), zeros(4)], zeros(3))
        assert "input 's[1]' is float64" in refused(feeds, [zeros(3), zeros(3, dtype=float)], zeros(3))

    def test_maps(self):
        feeds = Feeds([Port("m", MapType(string, float32))])
        (got,) = feeds.bind([{"a": 1, "b": 2.5, np.str_("c"): 0.1}])
        assert got == {"a": 1.0, "b": 2.5, "c": float(np.float32(0.1))}
        assert {type(k) for k in got} == {str}
        assert {type(v) for v in got.values()} == {float}
        assert feeds.bind([{}])[0].type == MapType(string, float32)
        assert feeds.bind([{"a": np.float32(2)}]) == [{"a": 2.0}]
        assert "is a list, expected a dict: map of string to float32" in refused(feeds, [1.0])
        assert "input 'm' has the key 1, a int, expected string keys" in refused(feeds, {1: 1.0})
        assert "input 'm.values()' is float64, expected float32" in refused(feeds, {"a": np.float64(1)})
        assert "expected float32" in refused(feeds, {"a": "1"})
        assert "has arrays as values, expected single float32 values" in refused(feeds, {"a": [1.0]})

    def test_maps_from_integers(self):
        feeds = Feeds([Port("m", MapType(int64, string))])
        assert feeds.bind([{1: "a", np.int32(-2): "b"}]) == [{1: "a", -2: "b"}]
        assert "has the key True, a bool, expected int64 keys" in refused(feeds, {True: "a"})
        assert "has the key 9223372036854775808, which does not fit in int64" in refused(feeds, {1 << 63: "a"})
        assert "'m.values()' at [1] is a int, expected a string" in refused(feeds, {1: "a", 2: 3})

    def test_sequences_of_maps(self):
        feeds = Feeds([Port("s", SequenceType(MapType(int64, float64)))])
        assert feeds.bind([[{1: 2.0}, {}]]) == [[{1: 2.0}, {}]]
        assert "input 's[1]' is a int, expected a dict: map of int64 to float64" in refused(feeds, [{}, 3])
        assert "input 's' is a Map, expected a list: sequence of map of" in refused(feeds, feeds.bind([[{}]])[0][0])

    def test_optionals(self):
        feeds = Feeds([Port("o", OptionalType(TensorType(float32, (3,))))])
        assert feeds.bind([None]) == [None]
        assert feeds.bind_names({}) == [None]
        assert feeds.bind([zeros(3)])[0].shape == (3,)
        assert "dimension 0 is 2" in refused(feeds, zeros(2))
