"""Types of values between ONNX's TypeProto and graphc's `Type`; symbolic dimensions as text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import onnx

from graphc.dims import Dim, Symbol, SymDim, parse_dim, substitute, sym, unknown
from graphc.errors import InvalidModel, UnsupportedOp, escape
from graphc.limits import Limits
from graphc.types import MapType, OptionalType, SequenceType, TensorType, Type, int64, string

from .tensors import dtype_of_number

_MAX_TEXT = 256  # characters and operators up to which a dim_param is read as an expression: more could be a bomb
_MAX_OPERATORS = 16
_MAX_WRAPS = 16  # sequences of optionals of sequences …


class TypeReader:
    """Reads the declared types of one model; unknown sizes that the model names alike are one size."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._unknown: dict[str, Dim] = {}

    def read(self, proto: onnx.TypeProto, name: str) -> Type | None:
        """The declared type; None where nothing is declared. Raises `InvalidModel` or `UnsupportedOp`."""
        wraps: list[Callable[[Type], Type]] = []
        while (kind := proto.WhichOneof("value")) in ("sequence_type", "optional_type"):
            wraps.append(SequenceType if kind == "sequence_type" else OptionalType)
            proto = getattr(proto, str(kind)).elem_type
            if len(wraps) > _MAX_WRAPS:
                raise InvalidModel(f"the type of '{escape(name)}' nests deeper than {_MAX_WRAPS}", value=name)
        if kind is None:
            if not wraps:
                return None
            raise InvalidModel(f"the element type of '{escape(name)}' is missing", value=name)
        found = self._map(proto.map_type, name) if kind == "map_type" else self._plain(proto, name)
        if SequenceType in wraps and isinstance(found, TensorType) and found.shape is not None:
            sizes = tuple(d if isinstance(d, int) else unknown() for d in found.shape)  # each element has its own
            found = TensorType(found.dtype, sizes)
        for wrap in reversed(wraps):
            found = wrap(found)
        return found

    def _plain(self, proto: onnx.TypeProto, name: str) -> Type:
        kind = str(proto.WhichOneof("value"))
        if kind != "tensor_type":
            what = kind.removesuffix("_type").replace("_", " ")
            raise UnsupportedOp(
                f"'{escape(name)}' is a {what}; graphc has tensors, sequences, optionals and maps", value=name
            )
        return self._tensor(proto.tensor_type, name)

    def _map(self, proto: onnx.TypeProto.Map, name: str) -> MapType:
        """The values are single elements, whatever shape is declared: that is what all operators on maps take."""
        key = dtype_of_number(proto.key_type, f"the keys of '{escape(name)}'")
        if key not in (int64, string):
            raise UnsupportedOp(
                f"'{escape(name)}' is a map from {key}; graphc has maps from int64 and string", value=name
            )
        value = proto.value_type
        if value.WhichOneof("value") != "tensor_type":
            raise UnsupportedOp(f"the values of the map '{escape(name)}' are no tensors", value=name)
        return MapType(key, dtype_of_number(value.tensor_type.elem_type, f"the values of '{escape(name)}'"))

    def _tensor(self, proto: onnx.TypeProto.Tensor, name: str) -> TensorType:
        dtype = dtype_of_number(proto.elem_type, f"'{escape(name)}'")
        if not proto.HasField("shape"):
            return TensorType(dtype, None)
        self._limits.check(f"rank of '{escape(name)}'", len(proto.shape.dim), "max_rank")
        return TensorType(dtype, tuple(self._dim(d, name) for d in proto.shape.dim))

    def _dim(self, proto: onnx.TensorShapeProto.Dimension, name: str) -> Dim:
        kind = proto.WhichOneof("value")
        if kind == "dim_value":
            if proto.dim_value < 0:
                raise InvalidModel(
                    f"'{escape(name)}' has the size {proto.dim_value}, expected 0 or more",
                    value=name,
                    hint="A size that is not known has no dim_value",
                )
            return int(proto.dim_value)
        if kind is None or proto.dim_param in ("", "?"):
            return unknown()
        if not isinstance(proto.dim_param, str):
            raise InvalidModel(f"a dim_param of '{escape(name)}' is not UTF-8: {proto.dim_param!r}", value=name)
        return substitute(read_dim(proto.dim_param), self._rename)

    def _rename(self, symbol: Symbol) -> Dim | None:
        """`?3` in a file is not the unknown size `?3` of this process."""
        return self._unknown.setdefault(symbol.name, unknown()) if symbol.is_unknown else None


def read_dim(text: str) -> Dim:
    """The dimension that a dim_param means: an expression such as `2*n + 1` where it is one, else a symbol."""
    operators = len(re.findall(r"//|[-+*/(,]", text))
    if len(text) > _MAX_TEXT or operators > _MAX_OPERATORS:
        return sym(text)
    try:
        dim = parse_dim(text)
    except (ValueError, ZeroDivisionError):
        return sym(text)
    return sym(text) if isinstance(dim, int) and not 0 <= dim < 1 << 63 else dim


def write_type(type: Type, proto: onnx.TypeProto, name_dim: Callable[[SymDim], str]) -> None:
    """Fill `proto` with `type`; `name_dim` gives the dim_param of a symbolic size, "" for none."""
    while not isinstance(type, TensorType):
        if isinstance(type, MapType):
            proto.map_type.key_type = type.key.onnx
            proto = proto.map_type.value_type
            type = type.element
            continue
        proto = proto.sequence_type.elem_type if isinstance(type, SequenceType) else proto.optional_type.elem_type
        type = type.element
    proto.tensor_type.elem_type = type.dtype.onnx
    if type.shape is None:
        return
    proto.tensor_type.shape.SetInParent()
    for d in type.shape:
        dim = proto.tensor_type.shape.dim.add()
        if isinstance(d, SymDim):
            if text := name_dim(d):
                dim.dim_param = text
        else:
            dim.dim_value = d


def disagreement(declared: Type, inferred: Type) -> str | None:
    """What a declared type gets wrong: "dtype" (or kind), "shape" (rank or a known size), or None."""
    if isinstance(declared, TensorType) and isinstance(inferred, TensorType):
        if declared.dtype is not inferred.dtype:
            return "dtype"
        if declared.shape is None or inferred.shape is None:
            return None
        if len(declared.shape) != len(inferred.shape):
            return "shape"
        pairs = zip(declared.shape, inferred.shape, strict=True)
        return "shape" if any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs) else None
    if isinstance(declared, SequenceType) and isinstance(inferred, SequenceType):
        return disagreement(declared.element, inferred.element)
    if isinstance(declared, OptionalType) and isinstance(inferred, OptionalType):
        return disagreement(declared.element, inferred.element)
    return None if declared == inferred else "dtype"


def without_sizes(type: Type) -> Type:
    """`type` with nothing known of shapes."""
    if isinstance(type, TensorType):
        return TensorType(type.dtype, None)
    if isinstance(type, MapType):
        return type
    return replace(type, element=without_sizes(type.element))
